"""One account: what is counted of its events, and how it stands at every instant."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracle import money, support, usage
from tests.oracle.alerts import Telling
from tests.oracle.bands import LEVELS, Band, milliseconds, target_of, worse_of
from tests.oracle.facts import Facts
from tests.oracle.model import Document, Scored, holds, profile_of, score
from tests.oracle.wire import DAY_MS, Wire, day_of, instant, kind_of, stated

RING_DAYS = 90
DAILY_SCORES = 31


class Counted:
    """Everything that counts since the account began or returned."""

    def __init__(self, first_day: int | None = None) -> None:
        self.first_day = first_day
        self.usage = usage.Usage()
        self.payments = money.Payments()
        self.revenue = money.Revenue()
        self.purchases = money.Purchases()
        self.tickets = support.Tickets()
        self.surveys = support.Surveys()
        self.opinion = support.Opinion()


class Oracle:
    """An account under a model; tell it events and instants, and compare."""

    def __init__(self, account: str, model: Document) -> None:
        self.model = model
        self.facts = Facts()
        self.counted = Counted()
        self.clock_ms = -1
        self.seen: list[tuple[str, int]] = []
        self.applied: dict[int, int] = {}
        self.returned_ms: int | None = None
        self.late = 0
        self.duplicates = 0
        self._restart()
        self.telling = Telling(account)

    def _restart(self) -> None:
        self.scored: Scored | None = None
        self.scored_by: Document | None = None
        self.model_changed = False
        self.band = Band()
        self.published = "unknown"
        self.rules: set[str] = set()
        self.daily: dict[int, float] = {}

    # -- what the account is told ------------------------------------------------------------------------

    @property
    def today(self) -> int:
        return day_of(self.clock_ms)

    @property
    def is_churned(self) -> bool:
        return bool(self.facts.get("stage") == "churned")

    def apply(self, source: int, offset: int, event: Wire, as_of_ms: int) -> None:
        """Take one record: time moves first, then the event counts."""
        if offset <= self.applied.get(source, -1):
            return
        self.applied[source] = offset
        self.pass_time(max(as_of_ms, instant(event["time"])))
        if self._is_duplicate(event):
            self.duplicates += 1
            return
        self._take(event)

    def pass_time(self, until_ms: int) -> None:
        """Walk to an instant, looking at every midnight and at every end of a wait."""
        while self.clock_ms >= 0 and not self.is_churned:
            following = min(self._waits(), default=None)
            midnight = (self.today + 1) * DAY_MS
            following = midnight if following is None else min(following, midnight)
            if following > until_ms:
                break
            if following == midnight:
                self._end_day()
            self.clock_ms = following
            self._evaluate()
        self.clock_ms = max(self.clock_ms, until_ms)

    def use_model(self, model: Document) -> None:
        """Score by another model from now on."""
        self.model = model
        if self.clock_ms >= 0 and not self.is_churned:
            self._evaluate()

    def _waits(self) -> list[int]:
        ends = []
        if self.band.better_since_ms is not None:
            ends.append(self.band.ends_ms(self.model))
        for kind in self.telling.held:
            rule = self.model.get("rules", {}).get(kind, {})
            days = rule.get("cool_down_days", self.model["bands"]["cool_down_days"])
            ends.append(self.telling.sent_ms[kind] + milliseconds(days))
        override = self.facts.get("override")
        if override is not None:
            ends.append(override[2])
        return [end_ms for end_ms in ends if end_ms > self.clock_ms]

    # -- what counts -------------------------------------------------------------------------------------

    def _is_duplicate(self, event: Wire) -> bool:
        key = f"{event['source']} {event['id']}"
        if any(name == key and self.clock_ms - seen_ms <= 3_600_000 for name, seen_ms in self.seen):
            return True
        self.seen.append((key, self.clock_ms))
        return False

    def _take(self, event: Wire) -> None:
        was_churned = self.is_churned
        self.facts.take(event)
        if was_churned and not self.is_churned:
            self.returned_ms = self.facts.since_ms("stage")
            self.counted = Counted(day_of(self.returned_ms))
            self._restart()
            self.telling.start_afresh()
        self.counted.usage.list_key_users(self.facts.get("key_users") or ())
        if self.is_churned:
            return
        if self._count(event):
            self._evaluate()

    def _count(self, event: Wire) -> bool:
        kind, time_ms = kind_of(event), instant(event["time"])
        counted = self.counted
        if kind in {"account_updated", "subscription_changed"}:
            counted.revenue.take(event, self.today)
        if kind == "account_updated":
            counted.opinion.take(event)
        elif self._is_late(time_ms):
            self.late += 1
            return kind == "subscription_changed"
        if self.returned_ms is None or time_ms >= self.returned_ms:
            counted.first_day = day_of(time_ms) if counted.first_day is None else min(counted.first_day, day_of(time_ms))
        if kind in usage.EVENTS:
            counted.usage.count(event, day_of(time_ms), self.model.get("key_features", []))
        elif kind in money.PAYMENT_EVENTS:
            counted.payments.count(event, self.today)
        elif kind == "purchase":
            counted.purchases.count(event)
        elif kind in support.TICKET_EVENTS:
            counted.tickets.count(event, self.today)
        elif kind == "survey_answered":
            counted.surveys.count(event)
        return True

    def _is_late(self, time_ms: int) -> bool:
        is_before_return = self.returned_ms is not None and time_ms < self.returned_ms
        return self.today - day_of(time_ms) >= RING_DAYS or is_before_return

    # -- what follows ------------------------------------------------------------------------------------

    def signal(self, name: str) -> float | None:
        """Read a signal from what was counted."""
        counted, today = self.counted, self.today
        if name in usage.SIGNALS:
            return usage.SIGNALS[name](counted.usage, today)
        if name in money.PAYMENT_SIGNALS:
            return money.PAYMENT_SIGNALS[name](counted.payments, today)
        if name in money.PURCHASE_SIGNALS:
            return money.PURCHASE_SIGNALS[name](counted.purchases, today, self.facts.get("currency"))
        if name in support.TICKET_SIGNALS:
            counted.tickets.forget(today)
            return support.TICKET_SIGNALS[name](counted.tickets, today) if counted.tickets.any else None
        if name in support.SURVEY_SIGNALS:
            answers = counted.surveys.of_last_90(today)
            return support.SURVEY_SIGNALS[name](answers) if answers else None
        return _OTHERS[name](self)

    def change_of(self, days: int) -> float | None:
        """Compare the score with that at the end of the day `days` ago, in hundredths."""
        now, before = self._rounded(), self.daily.get(self.today - days)
        return None if now is None or before is None else round(now - before, 2)

    def _rounded(self) -> float | None:
        return None if self.scored is None or self.scored.score is None else round(self.scored.score, 2)

    def _end_day(self) -> None:
        rounded = self._rounded()
        if self.scored is not None and rounded is not None and self.scored.coverage >= self.model["min_coverage"]:
            self.daily[self.today] = rounded
        self.daily.pop(self.today - DAILY_SCORES, None)

    def _read_for_rules(self, name: str) -> float | None:
        if name == "score":
            return self._rounded()
        if name.startswith("score_change_"):
            return self.change_of(int(name.removeprefix("score_change_")))
        if name == "band_level":
            return LEVELS.get(self.published)
        return self.signal(name)

    def _evaluate(self) -> None:
        is_new_model = self.scored_by is not None and self.scored_by is not self.model
        self.model_changed = is_new_model
        self.scored_by = self.model
        if is_new_model:
            self.band.forget()
            self.daily = {}
        profile = profile_of(self.model, self.facts.get("tier"), self.facts.get("stage"))
        self.scored = score(self.model, profile, self.signal)
        before = self.published
        cap = self._follow_score()
        override = self.facts.get("override")
        is_by_hand = override is not None and self.clock_ms < override[2]
        self.published = override[0] if is_by_hand else self.band.computed
        rules = self.model.get("rules", {})
        self.rules = {name for name, rule in rules.items() if holds(rule, self._read_for_rules)}
        if is_new_model:
            self._take_as_told()
        else:
            decided_by = None if is_by_hand else cap
            self.telling.tell(self.model, self.scored, self.published, before, self.rules, decided_by, self.clock_ms)

    def _follow_score(self) -> str | None:
        """Move the computed band; names the rule whose cap decided the target."""
        assert self.scored is not None
        if self.scored.score is None or self.scored.coverage < self.model["min_coverage"]:
            self.band.forget()
            return None
        target = target_of(self.model, self.band.computed, self.scored.score)
        decided_by = None
        for name, rule in self.model.get("rules", {}).items():
            if rule.get("cap") is not None and holds(rule, self._read_for_rules):
                if LEVELS[rule["cap"]] > LEVELS[target]:
                    decided_by = name
                target = worse_of(target, rule["cap"])
        self.band.move(self.model, target, self.clock_ms)
        return decided_by

    def _take_as_told(self) -> None:
        if self.published != "unknown":
            self.telling.told = self.published
        self.telling.held = set()
        self.telling.told_rules = set(self.rules)
        assert self.scored is not None
        self.telling.baseline = self.scored if self.published != "unknown" and self.scored.score is not None else None


def _renewal_days(oracle: Oracle) -> float | None:
    renewal_ms = oracle.facts.get("renewal_ms")
    return None if renewal_ms is None else day_of(renewal_ms) - oracle.today


def _tenure_days(oracle: Oracle) -> float | None:
    first = oracle.counted.first_day
    return None if first is None else oracle.today - first


_OTHERS: dict[str, Callable[[Oracle], float | None]] = {
    "mrr_change": lambda oracle: money.mrr_change(oracle.counted.revenue, oracle.today),
    "csm_sentiment": lambda oracle: support.csm_sentiment(oracle.counted.opinion, oracle.today),
    "key_features_used": lambda oracle: usage.key_features_used(
        oracle.counted.usage, oracle.today, oracle.model.get("key_features", [])
    ),
    "key_features_unused": lambda oracle: usage.key_features_unused(
        oracle.counted.usage, oracle.model.get("key_features", [])
    ),
    "renewal_days": _renewal_days,
    "tenure_days": _tenure_days,
    "onboarding": lambda oracle: float(oracle.facts.get("stage") in {None, "onboarding"}),
}


def key_users_named(event: Wire) -> bool:
    """Tell whether the event puts a list of key users in force."""
    return stated(event, "key_users") is not None
