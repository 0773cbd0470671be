"""The real login log, where it is at hand, and a naive recount of it that shares no code with the product.

The log is not part of the project. It is looked for in the folder that VITALS_TEST_DATA names, else in `shared/data`
beside the checkout; tests that need it skip, with this as the reason, where it is absent.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("VITALS_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
LOGINS = FOLDER / "logins.csv.gz"
LOGIN_OPTIONS = ("--columns", "account=account,user=user,time=date", "--set", "type=login")

needs_logins = pytest.mark.skipif(
    not LOGINS.is_file(), reason=f"the real login log is not at {LOGINS}; set VITALS_TEST_DATA to its folder"
)


def logins_per_day() -> dict[str, Counter[date]]:
    """Count the rows of the log per account and day."""
    counts: dict[str, Counter[date]] = defaultdict(Counter)
    with gzip.open(LOGINS, "rt", newline="") as rows:
        for row in csv.DictReader(rows):
            counts[row["account"]][date.fromisoformat(row["date"])] += 1
    return dict(counts)


def window_sum(days: Counter[date], last: date, first_age: int, ages: int) -> int:
    """Sum the days that are `first_age` up to `first_age + ages - 1` days before `last`."""
    return sum(count for day, count in days.items() if first_age <= (last - day).days < first_age + ages)
