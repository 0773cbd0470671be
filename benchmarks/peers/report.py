"""The page and the plot of the comparison, written from the stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).with_name("results.json")


def write_page(stored: dict[str, Any]) -> None:
    """Write page and plot."""
