"""How values are written for people; a value that is missing is a dash, never a zero."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

NOTHING: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"
BANDS: Final = {"endangered": "Endangered", "at_risk": "At risk", "healthy": "Healthy", "unknown": "Unknown"}
MARKS: Final = {"endangered": "▲", "at_risk": "◆", "healthy": "●", "unknown": "○"}  # bands differ by form, too
TIERS: Final = {"high_touch": "High touch", "low_touch": "Low touch", "none": "No tier"}
STATES: Final = {"new": "New", "acknowledged": "Acknowledged", "snoozed": "Snoozed", "resolved": "Resolved"}
# Currencies whose minor unit is not a hundredth (ISO 4217).
_DIGITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"), 0),
    **dict.fromkeys(("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def money(minor: int | None, currency: str | None) -> str:
    """Write an amount of minor units in whole units, as `EUR 4,999`."""
    if minor is None:
        return NOTHING
    digits = minor_digits(currency)
    whole = (abs(minor) + 10**digits // 2) // 10**digits
    return f"{currency or ''} {MINUS if minor < 0 and whole else ''}{whole:,}".strip()


def minor_digits(currency: str | None) -> int:
    """Tell how many digits of an amount in minor units are below the whole unit."""
    return _DIGITS.get(currency or "", 2)


def sums(minor_by_currency: Mapping[str, int]) -> str:
    """Write amounts of several currencies, the largest first."""
    found = sorted(minor_by_currency.items(), key=lambda entry: -entry[1])
    return " · ".join(money(minor, currency) for currency, minor in found if minor) or NOTHING


def points(value: float | None) -> str:
    """Write points with one decimal."""
    return NOTHING if value is None else f"{value + 0.0:.1f}".replace("-0.0", "0.0").replace("-", MINUS)


def change(value: float | None) -> str:
    """Write points won or lost, with their sign."""
    if value is None:
        return NOTHING
    return points(value) if value < 0 or round(value, 1) == 0 else "+" + points(value)


def difference(value: int) -> str:
    """Write how many more or fewer, with its sign."""
    return f"{value:+,}".replace("-", MINUS)


def figure(value: float | None) -> str:
    """Write a signal's value with four digits."""
    return NOTHING if value is None else f"{value:.4g}".replace("-", MINUS)


def rate(per_second: float | None) -> str:
    """Write how many a second."""
    return NOTHING if per_second is None else f"{per_second:,.1f}"


def percent(share: float | None) -> str:
    """Write a share."""
    return NOTHING if share is None else f"{share:.0%}"


def moment(text: str | None) -> str:
    """Write a time of the API, to the minute."""
    return NOTHING if text is None else f"{datetime.fromisoformat(text):%-d %b %Y, %H:%M} UTC"


def clock(text: str) -> str:
    """Write the time of day of a time of the API."""
    return f"{datetime.fromisoformat(text):%H:%M}"


def date(text: str) -> str:
    """Write a day, or the day of a time."""
    return f"{datetime.fromisoformat(text):%-d %b %Y}"


def spaced(name: str) -> str:
    """Write a name of the API as words."""
    return name.replace("_", " ")


def kind(name: str) -> str:
    """Write the kind of an alert."""
    return BANDS.get(name) or spaced(name).capitalize()
