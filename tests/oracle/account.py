"""One account: what is counted of its events, and how it stands at every instant."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracle import money, support, usage
from tests.oracle.actions import ACTIONS, Actions, as_account_update
from tests.oracle.alerts import Telling
from tests.oracle.bands import LEVELS, Band, milliseconds, target_of, worse_of
from tests.oracle.facts import Facts
from tests.oracle.model import Document, Scored, holds, profile_of, score
from tests.oracle.recent import RecentIds
from tests.oracle.wire import DAY_MS, Wire, day_of, instant, kind_of

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


class Oracle:
    """An account under a model; tell it events and instants, and compare."""

    def __init__(self, account: str, model: Document) -> None:
        self.model = model
        self.facts = Facts()
        self.counted = Counted()
        self.clock_ms = -1
        self.today = -1  # stands still while the account is churned
        self.recent = RecentIds()
        self.applied: dict[int, int] = {}
        self.returned_ms: int | None = None
        self.late = 0
        self.duplicates = 0
        self.telling = Telling(account)
        self.actions = Actions()
        self._read_today: dict[str, float | None] = {}
        self._restart()

    def _restart(self) -> None:
        self.scored: Scored | None = None
        self.is_model_new = False
        self.band = Band()
        self.published = "unknown"
        self.rules: set[str] = set()
        self.daily: dict[int, int] = {}

    # -- what the account is told ------------------------------------------------------------------------

    @property
    def is_churned(self) -> bool:
        return bool(self.facts.get("stage") == "churned")

    def apply(self, source: int, offset: int, event: Wire, as_of_ms: int) -> None:
        """Take one record: time moves first, then the event counts."""
        if offset <= self.applied.get(source, -1):
            return
        self.applied[source] = offset
        self.pass_time(max(as_of_ms, instant(event["time"])))
        if not self.recent.is_new(event, self.clock_ms):
            self.duplicates += 1
        elif kind_of(event) not in ACTIONS:
            self._take(event)
        elif self.actions.is_known(event):
            self.duplicates += 1
        else:
            self._act(event)

    def pass_time(self, until_ms: int) -> None:
        """Walk to an instant, looking at every midnight and at every end of a wait."""
        while self.clock_ms >= 0 and not self.is_churned:
            midnight = (self.today + 1) * DAY_MS
            following = min([midnight, *self._waits()])
            if following > until_ms:
                break
            if following == midnight:
                self._end_day()
            self._move_clock(following)
            self._evaluate()
        self._move_clock(max(self.clock_ms, until_ms))

    def use_model(self, model: Document) -> None:
        """Score by another model from now on."""
        if self.model is model:
            return
        self.model = model
        self._read_today = {}
        self.is_model_new = self.counted.first_day is not None
        self._evaluate()

    def _move_clock(self, clock_ms: int) -> None:
        self.clock_ms = clock_ms
        if not self.is_churned and day_of(clock_ms) != self.today:
            self.today = day_of(clock_ms)
            self._read_today = {}

    def _waits(self) -> list[int]:
        ends = []
        if self.band.better_since_ms is not None:
            ends.append(self.band.ends_ms(self.model))
        for kind in self.telling.held:
            rule = self.model.get("rules", {}).get(kind, {})
            days = rule.get("cool_down_days", self.model["bands"]["cool_down_days"])
            if kind in self.telling.sent_ms:
                ends.append(self.telling.sent_ms[kind] + milliseconds(days))
        ends.append(self.actions.snoozed_until_ms)
        override = self.facts.override
        if override is not None:
            ends.append(override[1])
        return [end_ms for end_ms in ends if end_ms > self.clock_ms]

    # -- what people do ----------------------------------------------------------------------------------

    def _act(self, event: Wire) -> None:
        """Apply an action or refuse it, and note the outcome either way."""
        refusal = self.actions.refusal(event, self.telling.seq, is_churned=self.is_churned)
        kind = kind_of(event)
        if refusal is None and kind == "snooze_alerts":
            if self.actions.snooze(event):
                self._evaluate()
            else:
                refusal = "superseded"
        if refusal is None and kind in {"override_band", "set_sentiment"}:
            self._take(as_account_update(event))
            field = "override" if kind == "override_band" else "csm_sentiment"
            refusal = None if self.facts.is_latest(field, as_account_update(event)) else "superseded"
        self.actions.note(event, refusal, self.clock_ms, self.telling.seq)

    # -- what counts -------------------------------------------------------------------------------------

    def _take(self, event: Wire) -> None:
        was_churned = self.is_churned
        self.facts.take(event)
        self._forget_readings(event)
        if self.is_churned and not was_churned:
            self._hear_of(event)
        if self.is_churned:
            self._evaluate()
            return
        if was_churned:
            self._return()
        self.counted.usage.list_key_users(self.facts.get("key_users") or ())
        if kind_of(event) in {"account_updated", "subscription_changed"}:
            self._hear_of(event)
            self.counted.revenue.take(event, self.today)
        if kind_of(event) != "account_updated":
            if self._is_late(event):
                self.late += kind_of(event) != "subscription_changed"
            else:
                self._hear_of(event)
                self._count(event)
        self._evaluate()

    def _forget_readings(self, event: Wire) -> None:
        is_usage = kind_of(event) in usage.EVENTS  # which changes no signal of money or support
        kept = {*money.PAYMENT_SIGNALS, *money.PURCHASE_SIGNALS, *support.TICKET_SIGNALS, *support.SURVEY_SIGNALS}
        readings = self._read_today.items()
        self._read_today = {name: value for name, value in readings if is_usage and name in kept}

    def _return(self) -> None:
        self.returned_ms = self.facts.since_ms("stage")
        self.counted = Counted(day_of(self.returned_ms))
        self._read_today = {}
        self._restart()
        self.telling.start_afresh()
        self._move_clock(self.clock_ms)

    def _hear_of(self, event: Wire) -> None:
        time_ms, first = instant(event["time"]), self.counted.first_day
        if self.returned_ms is None or time_ms >= self.returned_ms:
            self.counted.first_day = day_of(time_ms) if first is None else min(first, day_of(time_ms))

    def _is_late(self, event: Wire) -> bool:
        time_ms = instant(event["time"])
        is_before_return = self.returned_ms is not None and time_ms < self.returned_ms
        return self.today - day_of(time_ms) >= RING_DAYS or is_before_return

    def _count(self, event: Wire) -> None:
        kind, counted = kind_of(event), self.counted
        if kind in usage.EVENTS:
            counted.usage.count(event, self.model.get("key_features", []))
        elif kind in money.PAYMENT_EVENTS:
            counted.payments.count(event, self.today)
        elif kind == "purchase":
            counted.purchases.count(event)
        elif kind in support.TICKET_EVENTS:
            counted.tickets.count(event, self.today)
        elif kind == "survey_answered":
            counted.surveys.count(event)

    # -- what follows ------------------------------------------------------------------------------------

    def signal(self, name: str) -> float | None:
        """Read a signal from what was counted; the answer holds for today until something else counts."""
        if name not in self._read_today:
            self._read_today[name] = self._read(name)
        return self._read_today[name]

    def _read(self, name: str) -> float | None:
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

    def trend(self, days: int) -> float | None:
        """Compare the score with that at the end of the day `days` ago, in hundredths."""
        now, before = self._hundredths(), self.daily.get(self.today - days)
        return None if now is None or before is None else (now - before) / 100

    def _hundredths(self) -> int | None:
        return None if self.scored is None or self.scored.score is None else round(self.scored.score * 100)

    def _end_day(self) -> None:
        score_then = self._hundredths()
        if self.scored is not None and score_then is not None and self.scored.coverage >= self.model["min_coverage"]:
            self.daily[self.today] = score_then
        self.daily.pop(self.today - DAILY_SCORES, None)

    def _read_for_rules(self, name: str) -> float | None:
        if name == "score":
            score_now = self._hundredths()
            return None if score_now is None else score_now / 100
        if name.startswith("score_change_"):
            return self.trend(int(name.removeprefix("score_change_")))
        if name == "band_level":
            return LEVELS.get(self.published)
        return self.signal(name)

    def _evaluate(self) -> None:
        if self.counted.first_day is None:
            return  # nothing counts yet
        is_new_model, self.is_model_new = self.is_model_new, False
        profile = profile_of(self.model, self.facts.get("tier"), self.facts.get("stage"))
        self.scored = score(self.model, profile, self.signal)
        if self.is_churned:
            return
        if is_new_model:
            self.band.forget()
            self.daily = {}
        before = self.published
        cap = self._follow_score()
        override = self.facts.override
        is_by_hand = override is not None and self.clock_ms < override[1]
        self.published = override[0] if override is not None and is_by_hand else self.band.computed
        rules = self.model.get("rules", {})
        self.rules = {name for name, rule in rules.items() if holds(rule, self._read_for_rules)}
        if is_new_model:
            self._take_as_told()
        else:
            forced = cap if cap is not None and rules[cap]["cap"] == self.published else None
            self.telling.is_snoozed = self.clock_ms < self.actions.snoozed_until_ms
            self.telling.tell(self.model, self.scored, self.published, before, self.rules, forced, self.clock_ms)

    def _follow_score(self) -> str | None:
        """Move the computed band; names the rule whose cap decided the target."""
        assert self.scored is not None
        if self.scored.score is None or self.scored.coverage < self.model["min_coverage"]:
            self.band.forget()
            return None
        target = target_of(self.model, self.band.computed, self.scored.score)
        decided_by = None
        for name, rule in self.model.get("rules", {}).items():
            if "cap" in rule and LEVELS[rule["cap"]] > LEVELS[target] and holds(rule, self._read_for_rules):
                target, decided_by = worse_of(target, rule["cap"]), name
        self.band.move(self.model, target, self.clock_ms)
        return decided_by

    def _take_as_told(self) -> None:
        assert self.scored is not None
        if self.published != "unknown":
            self.telling.told = self.published
        self.telling.held = set()
        self.telling.told_rules = set(self.rules)
        self.telling.baseline = self.scored if self.published != "unknown" and self.scored.score is not None else None


def _renewal_days(oracle: Oracle) -> float | None:
    renewal_ms = oracle.facts.get("renewal_ms")
    return None if renewal_ms is None else day_of(renewal_ms) - oracle.today


def _tenure_days(oracle: Oracle) -> float | None:
    first = oracle.counted.first_day
    return None if first is None else oracle.today - first


def _csm_sentiment(oracle: Oracle) -> float | None:
    word = oracle.facts.csm_sentiment
    return None if word is None or oracle.today - day_of(oracle.facts.since_ms("csm_sentiment")) >= 90 else word


_OTHERS: dict[str, Callable[[Oracle], float | None]] = {
    "mrr_change": lambda oracle: money.mrr_change(oracle.counted.revenue, oracle.today),
    "csm_sentiment": _csm_sentiment,
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
SIGNALS = (
    *usage.SIGNALS,
    *money.PAYMENT_SIGNALS,
    *money.PURCHASE_SIGNALS,
    *support.TICKET_SIGNALS,
    *support.SURVEY_SIGNALS,
    *_OTHERS,
)
