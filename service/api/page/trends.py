"""The portfolio day after day: accounts and monthly revenue by band, as plots and as the table that says the same.

A day that nobody saw is a gap. Amounts of different currencies are never added up: each has a plot of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from service.api.overview import portfolio_of
from service.api.page.words import BANDS, minor_digits

PLOTS_OF_MONEY_MAX: Final = 3  # the currencies with most revenue on the last day; the table has all


class PortfolioDay(NamedTuple):
    """One day as it ended, or as it stands: accounts by band, revenue by band and currency in minor units."""

    day: int
    accounts: Mapping[str, int]
    mrr_minor: Mapping[str, Mapping[str, int]]


class Plot(NamedTuple):
    """One plot: of accounts, or of a currency in whole units; a value for each day and band."""

    currency: str | None
    values: dict[str, list[float]]


def portfolio_day(day: int, sums: Mapping[str, int]) -> PortfolioDay:
    """Read the copy's sums of a day by band."""
    by_band: Mapping[str, Any] = portfolio_of(dict(sums))["by_band"]
    return PortfolioDay(
        day,
        {band: found["accounts"] for band, found in by_band.items()},
        {band: found["mrr_minor"] for band, found in by_band.items()},
    )


def plots(days: Sequence[PortfolioDay]) -> list[Plot]:
    """Give what is drawn of days, oldest first; nothing before there are two."""
    if len(days) < 2:  # a line has two ends
        return []
    accounts = Plot(None, {band: [day.accounts.get(band, 0) for day in days] for band in BANDS})
    return [accounts, *(_plot_of_money(days, currency) for currency in _currencies(days)[:PLOTS_OF_MONEY_MAX])]


def _currencies(days: Sequence[PortfolioDay]) -> list[str]:
    """List the currencies with any revenue, those with most on the last day first."""
    known = {currency for day in days for sums in day.mrr_minor.values() for currency, minor in sums.items() if minor}
    last: Counter[str] = Counter()
    for sums in days[-1].mrr_minor.values():
        last.update({currency: minor / 10 ** minor_digits(currency) for currency, minor in sums.items()})
    return sorted(known, key=lambda currency: (-last[currency], currency))


def _plot_of_money(days: Sequence[PortfolioDay], currency: str) -> Plot:
    unit = 10 ** minor_digits(currency)
    values = {band: [day.mrr_minor.get(band, {}).get(currency, 0) / unit for day in days] for band in BANDS}
    return Plot(currency, values)
