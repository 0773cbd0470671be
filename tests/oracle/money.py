"""Payments, recurring revenue and purchases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tests.oracle.usage import usual_gap
from tests.oracle.wire import Wire, day_of, instant, kind_of, stated

PAYMENT_EVENTS = frozenset({"invoice_paid", "payment_failed", "invoice_overdue", "subscription_changed"})
INVOICES_MAX = 32
MRR_FACTS_MAX = 16
PURCHASE_DAYS_MAX = 96
BEFORE_ALL = -1


@dataclass
class Invoice:
    """The latest time of each kind of news about one invoice."""

    paid_ms: int = BEFORE_ALL
    failed_ms: int = BEFORE_ALL
    overdue_ms: int = BEFORE_ALL
    since_ms: int = BEFORE_ALL

    @property
    def is_overdue(self) -> bool:
        return self.overdue_ms > self.paid_ms

    @property
    def is_failing(self) -> bool:
        return self.failed_ms > self.paid_ms

    @property
    def is_settled(self) -> bool:
        return not self.is_overdue and not self.is_failing

    @property
    def news_ms(self) -> int:
        return max(self.paid_ms, self.failed_ms, self.overdue_ms)

    @property
    def began_ms(self) -> int:
        """Since when it is open: overdue since, else its latest failure."""
        return self.since_ms if self.is_overdue else self.failed_ms


class Payments:
    """Invoices and failed payments."""

    def __init__(self) -> None:
        self.any = False
        self.failures: Counter[int] = Counter()
        self.invoices: dict[str, Invoice] = {}

    def count(self, event: Wire, today: int) -> None:
        """Count one payment event that arrives on day `today`."""
        self.any = True
        time_ms, kind = instant(event["time"]), kind_of(event)
        if kind == "subscription_changed":
            return
        self.forget(today)
        invoice = self.invoices.setdefault(stated(event, "invoice") or "", Invoice())
        if kind == "invoice_paid":
            invoice.paid_ms = max(invoice.paid_ms, time_ms)
        elif kind == "payment_failed":
            self.failures[day_of(time_ms)] += 1
            invoice.failed_ms = max(invoice.failed_ms, time_ms)
        else:
            due = stated(event, "due")
            since_ms = time_ms if due is None else min(time_ms, instant(due))
            if time_ms == invoice.overdue_ms:
                invoice.since_ms = min(invoice.since_ms, since_ms)
            elif time_ms > invoice.overdue_ms:
                invoice.overdue_ms, invoice.since_ms = time_ms, since_ms
        while len(self.invoices) > INVOICES_MAX:
            self._drop_one()

    def forget(self, today: int) -> None:
        """Forget settled invoices whose latest news is 90 days old."""
        for number, invoice in list(self.invoices.items()):
            if invoice.is_settled and today - day_of(invoice.news_ms) >= 90:
                del self.invoices[number]

    def _drop_one(self) -> None:
        settled = [(one.news_ms, number) for number, one in self.invoices.items() if one.is_settled]
        opened = [(-one.began_ms, number) for number, one in self.invoices.items() if not one.is_settled]
        del self.invoices[min(settled or opened)[1]]


def _failed_payments(payments: Payments, today: int) -> float | None:
    return sum(payments.failures[day] for day in range(today - 29, today + 1)) if payments.any else None


def _failed_lately(invoice: Invoice, today: int) -> bool:
    return invoice.failed_ms != BEFORE_ALL and today - day_of(invoice.failed_ms) < 30


def _failing_invoices(payments: Payments, today: int) -> float | None:
    known = payments.invoices.values()
    return sum(one.is_failing and _failed_lately(one, today) for one in known) if payments.any else None


def _recovered_payments(payments: Payments, today: int) -> float | None:
    known = payments.invoices.values()
    return sum(not one.is_failing and _failed_lately(one, today) for one in known) if payments.any else None


def _overdue_days(payments: Payments, today: int) -> float | None:
    days = [today - day_of(one.since_ms) for one in payments.invoices.values() if one.is_overdue]
    return max(days, default=0) if payments.any else None


PAYMENT_SIGNALS: dict[str, Callable[[Payments, int], float | None]] = {
    "failed_payments": _failed_payments,
    "failing_invoices": _failing_invoices,
    "recovered_payments": _recovered_payments,
    "overdue_days": _overdue_days,
}


class Revenue:
    """The account's MRR over time, as facts of their instants."""

    def __init__(self) -> None:
        self.facts: dict[int, int] = {}

    def take(self, event: Wire, today: int) -> None:
        """Take an MRR that the event states; it arrives on day `today`."""
        mrr = stated(event, "mrr_minor")
        if mrr is None:
            return
        time_ms = instant(event["time"])
        self.facts[time_ms] = min(mrr, self.facts.get(time_ms, mrr))
        for old in sorted(time for time in self.facts if day_of(time) <= today - 90)[:-1]:
            del self.facts[old]
        while len(self.facts) > MRR_FACTS_MAX:
            times = sorted(self.facts)
            repeats = [now for before, now in pairwise(times) if self.facts[before] == self.facts[now]]
            del self.facts[min(repeats, default=times[0])]


def mrr_change(revenue: Revenue, today: int) -> float | None:
    """Compare the latest MRR with that in force at the end of day D-90."""
    if not revenue.facts:
        return None
    old = [time for time in revenue.facts if day_of(time) <= today - 90]
    base = revenue.facts[max(old) if old else min(revenue.facts)]
    return min(1.0, revenue.facts[max(revenue.facts)] / base - 1) if base else None


class Purchases:
    """Purchases and their amounts, per day."""

    def __init__(self) -> None:
        self.first_day: int | None = None
        self.counts: Counter[int] = Counter()
        self.amounts: dict[int, Counter[str]] = {}

    def count(self, event: Wire) -> None:
        """Count one purchase in its own day."""
        day = day_of(instant(event["time"]))
        self.first_day = day if self.first_day is None else min(self.first_day, day)
        self.counts[day] += 1
        if stated(event, "amount_minor") is not None:
            self.amounts.setdefault(day, Counter())[stated(event, "currency")] += stated(event, "amount_minor")
        latest = max(self.counts)
        kept = sorted(day for day in self.counts if latest - day < 365)[-PURCHASE_DAYS_MAX:]
        self.counts = Counter({day: self.counts[day] for day in kept})
        self.amounts = {day: amount for day, amount in self.amounts.items() if day in kept}


def _purchases(bought: Purchases, today: int, _currency: str | None) -> float | None:
    if bought.first_day is None or today - bought.first_day < 89:
        return None
    return sum(bought.counts[day] for day in range(today - 89, today + 1))


def _purchase_days(bought: Purchases, today: int, _currency: str | None) -> float | None:
    return None if bought.first_day is None else today - max(bought.counts)


def _purchase_gaps(bought: Purchases, today: int, _currency: str | None) -> float | None:
    return (today - max(bought.counts)) / usual_gap(bought.counts) if len(bought.counts) >= 4 else None


def _purchase_value_trend(bought: Purchases, today: int, currency: str | None) -> float | None:
    if bought.first_day is None or today - bought.first_day < 179 or len(bought.counts) < 4:
        return None
    known = sorted({name for amounts in bought.amounts.values() for name in amounts})
    if not known:
        return None
    chosen = currency or known[0]
    value = {day: amounts[chosen] for day, amounts in bought.amounts.items()}
    recent = sum(value.get(day, 0) for day in range(today - 89, today + 1))
    before = sum(value.get(day, 0) for day in range(today - 179, today - 89))
    if before == 0:
        return 2.0 if recent else 0.0
    return min(2.0, recent / before)


PURCHASE_SIGNALS: dict[str, Callable[[Purchases, int, str | None], float | None]] = {
    "purchases": _purchases,
    "purchase_days": _purchase_days,
    "purchase_gaps": _purchase_gaps,
    "purchase_value_trend": _purchase_value_trend,
}
