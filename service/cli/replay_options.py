"""The options of every command that replays files: when it ends, and how late events may come."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from service.csv_events import time_or_date_ms
from service.errors import UsageError

UntilOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="date or RFC 3339 time of the end; default: the latest event")
]
LatenessOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="how late events may come to be put in order, such as 2d or 6h")
]
DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def until_ms(text: str | None) -> int | None:
    """Read --until; raises UsageError."""
    return time_option_ms("--until", text)


def time_option_ms(option: str, text: str | None) -> int | None:
    """Read an option that is a date or a time; raises UsageError."""
    if text is None:
        return None
    try:
        return time_or_date_ms(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def lateness_ms(text: str | None) -> int:
    """Read --lateness; raises UsageError."""
    if text is None:
        return 0
    match = DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"--lateness {text}: expected a number and a unit, like 2d, 6h, 30m or 45s")
    return int(match[1]) * UNIT_MS[match[2]]
