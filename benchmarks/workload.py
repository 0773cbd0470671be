"""The events that the benchmarks publish: the same for the same seed, but for the instant they lead up to.

Every event is one that the worker scores: of a kind that the model reads, inside the accepted lateness, not in the
future, with an id of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from schemas.catalogue import INPUTS, InputKind
from schemas.codec import encode_input
from service.input_files import FileEvent
from service.scoring.events import Usage

DAY_MS: Final = 86_400_000
HISTORY_DAYS: Final = 75  # both login windows of the default model are full
LOGIN_EVERY_DAYS: Final = 5
SOURCE: Final = "/app"
SEVERITIES: Final = ("low", "low", "normal", "normal", "high", "urgent")
FEATURES: Final = ("reports", "exports", "alerts", "search", "billing", "sharing", "imports", "dashboards")

# How often each type comes among a thousand live events.
LIVE_MIX: Final[dict[str, int]] = {
    "login": 560,
    "feature_used": 240,
    "session": 110,
    "invoice_paid": 15,
    "payment_failed": 3,
    "invoice_overdue": 2,
    "subscription_changed": 2,
    "purchase": 18,
    "ticket_opened": 12,
    "ticket_updated": 13,
    "ticket_solved": 12,
    "survey_answered": 8,
    "account_updated": 5,
}
TROUBLED_EVERY: Final = 50
HOT_ACCOUNT: Final = 1  # one that has no trouble
TROUBLES: Final[dict[str, dict[str, Any]]] = {
    "ticket_opened": {"severity": "urgent"},
    "survey_answered": {"score": 0.0},
    "payment_failed": {},
}


def account_name(number: int) -> str:
    """Name an account as CRMs do: a prefix and digits."""
    return f"acct-{number:08d}"


class Workload:
    """Makes events; one random generator behind all of them. Every so manieth live event is of one hot account."""

    def __init__(self, seed: int, hot_every: int | None = None) -> None:
        self._random = random.Random(seed)
        self._hot_every = hot_every

    def history(self, accounts: int, end_ms: int) -> Iterator[FileEvent]:
        """Yield, account by account, 20 events of the last 75 days that give the factors of the model their data.

        Only logins come later than the first day: inputs are read side by side, so an invoice of yesterday might be
        scored before the logins of the months before it, as silence.
        """
        for number in range(accounts):
            account = account_name(number)
            first_ms = end_ms - HISTORY_DAYS * DAY_MS
            yield self.event("account_updated", account, first_ms)
            yield self.event("invoice_paid", account, first_ms)
            yield self.event("ticket_opened", account, first_ms, severity="low")
            yield self.event("survey_answered", account, first_ms, score=9.0)
            for age_days in range(HISTORY_DAYS, -1, -LOGIN_EVERY_DAYS):
                yield self.event("login", account, end_ms - age_days * DAY_MS)

    def small_accounts(self, accounts: int, end_ms: int) -> Iterator[FileEvent]:
        """Yield five events of the last days for each of many accounts: facts, an invoice, three logins."""
        for number in range(accounts):
            account = account_name(number)
            yield self.event("account_updated", account, end_ms - 3 * DAY_MS)
            yield self.event("invoice_paid", account, end_ms - 3 * DAY_MS)
            for age_days in (2, 1, 0):
                yield self.event("login", account, end_ms - age_days * DAY_MS)

    def live(self, accounts: int, events: int, begin_ms: int, end_ms: int) -> Iterator[FileEvent]:
        """Yield events of the live mix, evenly over an interval, each of an account drawn at random.

        Every 50th account has nothing but trouble, which takes it into At-Risk.
        """
        shorts = self._random.choices(list(LIVE_MIX), list(LIVE_MIX.values()), k=events)
        for number, short in enumerate(shorts):
            is_hot = self._hot_every is not None and number % self._hot_every == 0
            account_number = HOT_ACCOUNT if is_hot else self._random.randrange(accounts)
            trouble = account_number % TROUBLED_EVERY == 0
            what = self._random.choice(list(TROUBLES)) if trouble else short
            time_ms = begin_ms + (end_ms - begin_ms) * number // events
            yield self.event(what, account_name(account_number), time_ms, **(TROUBLES[what] if trouble else {}))

    def event(self, short: str, account: str, time_ms: int, **changes: Any) -> FileEvent:
        """Make one event; `changes` replace fields of its data."""
        kind: InputKind = INPUTS[short].kind
        event_id = f"{self._random.getrandbits(128):032x}"
        data = {**self._data(short, account), **changes}
        value = encode_input(short, data, event_id=event_id, source=SOURCE, account=account, time_ms=time_ms)
        return FileEvent(kind, value, Usage(account, event_id, time_ms, "login", ""))  # publishing reads the account

    def _data(self, short: str, account: str) -> dict[str, Any]:
        roll = self._random.randrange(1_000)
        if INPUTS[short].kind == "usage":
            data: dict[str, Any] = {"user": f"user-{roll % 40:05d}@{account}.example.com", "role": "member"}
            if short == "feature_used":
                data["feature"] = FEATURES[roll % len(FEATURES)]
            if short == "session":
                data["duration_seconds"] = 30.0 + roll
            return data
        if INPUTS[short].kind == "ticket":
            return {"ticket": f"T-{roll % 4}", "severity": SEVERITIES[roll % len(SEVERITIES)], "tags": ["web"]}
        if short == "survey_answered":
            return {"kind": "nps", "response": f"R-{roll % 3}", "score": 4.0 + roll % 7}
        if short == "account_updated":
            return self._facts(account, roll)
        return self._money(short, roll)

    def _money(self, short: str, roll: int) -> dict[str, Any]:
        if short == "subscription_changed":
            return {"mrr_minor": 10_000 + 100 * roll, "currency": "EUR"}
        data: dict[str, Any] = {"amount_minor": 10_000 + 100 * roll, "currency": "EUR"}
        return data if short == "purchase" else {**data, "invoice": f"2026-{roll % 4:06d}"}

    def _facts(self, account: str, roll: int) -> dict[str, Any]:
        return {
            "name": f"{account.title()} Incorporated",
            "tier": "low_touch" if roll % 5 else "high_touch",
            "mrr_minor": 10_000 + 100 * roll,
            "currency": "EUR",
            "owner": f"csm-{roll % 20:02d}@example.com",
            "stage": "active",
        }
