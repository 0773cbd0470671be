"""The signals of money: payments, revenue, and purchases of accounts that buy rather than log in.

Pure functions of the state at its own day, like those of usage.
"""

from __future__ import annotations

from typing import Final

from service.scoring.recording import PART_FACTS, PART_PAYMENTS, PART_PURCHASES
from service.scoring.records import NEVER
from service.scoring.signal import (
    NO_DAY,
    TREND_MAX,
    Words,
    count_of,
    growing_next,
    leaving,
    signal,
)
from service.scoring.state import DAY_MS, RING_DAYS, WINDOW_DAYS, AccountState, Purchases

MIN_PURCHASE_DAYS: Final = 4  # purchase days from which a habit is told
_VALUE_DAYS: Final = RING_DAYS + RING_DAYS


# -- payments --------------------------------------------------------------------------------------------


def failed_payments(state: AccountState) -> float | None:
    """Count the failed payments of the last 30 days; None when no payment event was ever seen."""
    more = state.more
    if more is None or not more.has_payments:
        return None
    return float(sum(count for day, count in more.failures.items() if state.day - day < WINDOW_DAYS))


def _failed_days(state: AccountState, *, failing: bool) -> list[int]:
    """List the days of the latest failure of each invoice that failed in the last 30 days."""
    if state.more is None:
        return []
    days = [
        invoice.failed_ms // DAY_MS
        for invoice in state.more.invoices.values()
        if invoice.failed_ms != NEVER and invoice.is_failing == failing
    ]
    return [day for day in days if state.day - day < WINDOW_DAYS]


def failing_invoices(state: AccountState) -> float | None:
    """Count the invoices whose charge failed in the last 30 days and that were not paid since."""
    if state.more is None or not state.more.has_payments:
        return None
    return float(len(_failed_days(state, failing=True)))


def recovered_payments(state: AccountState) -> float | None:
    """Count the invoices whose charge failed in the last 30 days and that were paid since."""
    if state.more is None or not state.more.has_payments:
        return None
    return float(len(_failed_days(state, failing=False)))


def _failures_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None:
        return NO_DAY
    days = [*state.more.failures, *_failed_days(state, failing=True), *_failed_days(state, failing=False)]
    return leaving(state, days, WINDOW_DAYS)


def _payment_words(state: AccountState) -> Words:
    failing, failed = round(failing_invoices(state) or 0), round(failed_payments(state) or 0)
    return {
        "failures": count_of(failed, "failed payment"),
        "failing": f"{count_of(failing, 'invoice')} failing to be paid" if failing else "No failing payment",
    }


def _overdue_days(state: AccountState) -> list[int]:
    if state.more is None:
        return []
    return [invoice.since_ms // DAY_MS for invoice in state.more.invoices.values() if invoice.is_overdue]


def overdue_days(state: AccountState) -> float | None:
    """Count the days that the longest overdue invoice is overdue, 0 without one; None without any payment event."""
    if state.more is None or not state.more.has_payments:
        return None
    return float(max((state.day - since for since in _overdue_days(state)), default=0))


def _overdue_next(state: AccountState, low: float, high: float) -> int:
    since = min(_overdue_days(state), default=None)
    return NO_DAY if since is None else growing_next(since, state.day, low, high)


def _overdue_words(state: AccountState) -> Words:
    count = len(_overdue_days(state))
    longest = count_of(round(overdue_days(state) or 0), "day")
    overdue = f"{count_of(count, 'overdue invoice')}, the longest for {longest}" if count else "No overdue invoice"
    return {"invoices": count_of(count, "overdue invoice"), "longest": longest, "overdue": overdue}


def mrr_change(state: AccountState) -> float | None:
    """Compare the MRR with that of 90 days ago, at most +1; None without a fact or when it was 0."""
    if state.more is None or not state.more.mrr_facts:
        return None
    facts = state.more.mrr_facts
    before = [mrr for time_ms, mrr in facts if time_ms // DAY_MS <= state.day - RING_DAYS]
    base = before[-1] if before else facts[0][1]
    return min(facts[-1][1] / base - 1.0, 1.0) if base else None


def _mrr_next(state: AccountState, _low: float, _high: float) -> int:
    if state.more is None:
        return NO_DAY
    return leaving(state, (time_ms // DAY_MS for time_ms, _ in state.more.mrr_facts), RING_DAYS)


def _mrr_words(state: AccountState) -> Words:
    change = mrr_change(state) or 0.0
    return {"mrr_change": f"{'rose' if change > 0 else 'fell'} by {abs(change):.0%}" if change else "is unchanged"}


# -- purchases -------------------------------------------------------------------------------------------


def _purchases_since(state: AccountState, wait_days: int) -> Purchases | None:
    purchases = state.more.purchases if state.more is not None else None
    return None if purchases is None or state.day - purchases.first_day < wait_days else purchases


def purchases(state: AccountState) -> float | None:
    """Count the purchases of the last 90 days; None until 90 days are known."""
    bought = _purchases_since(state, RING_DAYS - 1)
    if bought is None:
        return None
    return float(sum(count for day, (count, _) in bought.days.items() if state.day - day < RING_DAYS))


def _purchases_next(state: AccountState, _low: float, _high: float) -> int:
    return _purchase_windows_next(state, RING_DAYS - 1)


def _purchase_windows_next(state: AccountState, wait_days: int) -> int:
    bought = _purchases_since(state, 0)
    if bought is None:
        return NO_DAY
    if state.day < bought.first_day + wait_days:
        return bought.first_day + wait_days
    return min(leaving(state, bought.days, RING_DAYS), leaving(state, bought.days, _VALUE_DAYS))


def purchase_days(state: AccountState) -> float | None:
    """Count whole UTC days since the latest purchase."""
    bought = _purchases_since(state, 0)
    return None if bought is None else float(state.day - max(bought.days))


def _purchase_days_next(state: AccountState, low: float, high: float) -> int:
    bought = _purchases_since(state, 0)
    return NO_DAY if bought is None else growing_next(max(bought.days), state.day, low, high)


def _purchase_gap(state: AccountState) -> tuple[int, float] | None:
    """Give the day of the latest purchase and the usual gap between purchase days."""
    bought = _purchases_since(state, 0)
    if bought is None or len(bought.days) < MIN_PURCHASE_DAYS:
        return None
    first, last = min(bought.days), max(bought.days)
    return last, max(1.0, (last - first) / (len(bought.days) - 1))


def purchase_gaps(state: AccountState) -> float | None:
    """Measure the time since the latest purchase in usual gaps; None with fewer than 4 purchase days."""
    known = _purchase_gap(state)
    return None if known is None else (state.day - known[0]) / known[1]


def _purchase_gaps_next(state: AccountState, low: float, high: float) -> int:
    known = _purchase_gap(state)
    return NO_DAY if known is None else growing_next(known[0], state.day, low, high, known[1])


def purchase_value_trend(state: AccountState) -> float | None:
    """Compare the amounts of the last 90 days with those of the 90 before, at most 2; None until both are full."""
    bought = _purchases_since(state, _VALUE_DAYS - 1)
    if bought is None or len(bought.days) < MIN_PURCHASE_DAYS:
        return None
    names = {name for _, amounts in bought.days.values() for name in amounts}
    if not names:
        return None
    currency = (state.attributes.currency if state.attributes is not None else None) or min(names)
    sums = [0, 0]
    for day, (_, amounts) in bought.days.items():
        if (age := (state.day - day) // RING_DAYS) < len(sums):
            sums[age] += amounts.get(currency, 0)
    if not sums[1]:
        return TREND_MAX if sums[0] else 0.0
    return min(sums[0] / sums[1], TREND_MAX)


def _purchase_value_next(state: AccountState, _low: float, _high: float) -> int:
    return _purchase_windows_next(state, _VALUE_DAYS - 1)


def _purchase_words(state: AccountState) -> Words:
    known = _purchase_gap(state)
    days = round(purchase_days(state) or 0)
    return {
        "bought": "today" if days == 0 else f"{count_of(days, 'day')} ago",
        "purchase_gap": "unknown" if known is None else f"{known[1]:.0f} days",
    }


MONEY_SIGNALS: Final = (
    signal(failed_payments, PART_PAYMENTS, _failures_next, _payment_words),
    signal(failing_invoices, PART_PAYMENTS, _failures_next, _payment_words),
    signal(recovered_payments, PART_PAYMENTS, _failures_next, _payment_words),
    signal(overdue_days, PART_PAYMENTS, _overdue_next, _overdue_words),
    signal(mrr_change, PART_FACTS, _mrr_next, _mrr_words),
    signal(purchases, PART_PURCHASES, _purchases_next, _purchase_words),
    signal(purchase_days, PART_PURCHASES, _purchase_days_next, _purchase_words),
    signal(purchase_gaps, PART_PURCHASES, _purchase_gaps_next, _purchase_words),
    signal(purchase_value_trend, PART_PURCHASES, _purchase_value_next, _purchase_words),
)
