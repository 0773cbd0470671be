"""One account held by the core and by the oracle at once: both are told the same, and must stand the same.

Events go to the oracle as they cross the wire, and to the core through the service's own decoder.
"""

from __future__ import annotations

import json
from math import isclose
from typing import Any

from service.ingest import Decoder
from service.model.build import build_model
from service.model.file_format import ModelFile
from service.scoring import effects, engine, state_codec
from service.scoring.acting import snooze_end_ms
from service.scoring.bands import override_in_force
from service.scoring.evaluation import holding_rules, score_change
from service.scoring.model import Model, plan_of
from service.scoring.records import NEVER
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState, score_before
from service.scoring.views import ActionTaken, Alert
from tests.oracle import Oracle, alerts
from tests.oracle.actions import Outcome
from tests.scoring.logs import DAY
from tests.scoring.wire_logs import text_of

SOURCE = 0
FAR_FUTURE_MS = 4_102_444_800_000
Wire = dict[str, Any]
Document = dict[str, Any]


def compile_model(document: Document) -> Model:
    """Build the core's model of a document; its version names the document, not a hash."""
    return build_model(ModelFile.model_validate(document), document["version"])


class Pair:
    """The core's account and the oracle's."""

    def __init__(self, document: Document, account: str = "acme") -> None:
        self.model = compile_model(document)
        self.state = AccountState(account)
        self.oracle = Oracle(account, document)
        self.decoder = Decoder(lambda: FAR_FUTURE_MS)
        self.offset = 0
        self.compared = 0

    def apply(self, event: Wire, as_of_ms: int = 0) -> None:
        """Tell both an event."""
        late, duplicates = self.oracle.late, self.oracle.duplicates
        core_event = self.decoder.decode_value(None, json.dumps(event).encode())
        done = engine.apply_record(self.state, SOURCE, self.offset, core_event, as_of_ms, self.model)
        self.oracle.apply(SOURCE, self.offset, event, as_of_ms)
        self.offset += 1
        assert bool(done & effects.LATE) == (self.oracle.late > late)
        assert bool(done & effects.DUPLICATE) == (self.oracle.duplicates > duplicates)

    def redeliver(self, event: Wire) -> None:
        """Tell both a record again."""
        core_event = self.decoder.decode_value(None, json.dumps(event).encode())
        offset = self.offset - 1
        assert engine.apply_record(self.state, SOURCE, offset, core_event, 0, self.model) == effects.SKIPPED
        self.oracle.apply(SOURCE, offset, event, 0)

    def pass_time(self, until_ms: int) -> None:
        """Let time pass in both: in the core only at due instants, in the oracle at every midnight."""
        engine.tick(self.state, until_ms, self.model)
        self.oracle.pass_time(until_ms)

    def walk(self, until_ms: int) -> None:
        """Let time pass and compare at every midnight."""
        while self.state.clock_ms < until_ms:
            self.pass_time(min(until_ms, (self.state.clock_ms // DAY + 1) * DAY))
            self.compare()

    def use_model(self, document: Document) -> None:
        """Give both another model."""
        self.model = compile_model(document)
        engine.use_model(self.state, self.model)
        self.oracle.use_model(document)

    def stop_and_recover(self) -> None:
        """Store the core's account and read it back."""
        self.state = state_codec.decode(self.state.account, state_codec.encode(self.state))
        engine.use_model(self.state, self.model)

    def compare(self) -> None:
        """Hold all that the core says of the account against the oracle."""
        self._compare_signals()
        self._compare_score()
        self._compare_bands()
        self._compare_alerts()
        self._compare_actions()

    def _same(self, what: str, core: object, oracle: object) -> None:
        if core != oracle:
            raise AssertionError(f"{what} at {self.state.clock_ms}: the core has {core!r}, the oracle {oracle!r}")

    def _compare_signals(self) -> None:
        for name, signal in SIGNALS.items():
            self._same(name, signal.read(self.state), self.oracle.signal(name))

    def _compare_score(self) -> None:
        state, scored = self.state, self.oracle.scored
        if scored is None:
            self._same("score", state.score, None)
            return
        plan = plan_of(state)
        self._same("profile", plan.name, scored.profile)
        parts = zip(plan.factors, state.outputs, strict=True)
        outputs = {factor.name: output for factor, output in parts if output >= 0}
        self._same("outputs", outputs, {name: part.output for name, part in scored.factors.items()})
        self._same("score", state.score, scored.score)
        self._same("coverage", state.coverage, scored.coverage)

    def _compare_bands(self) -> None:
        state, oracle = self.state, self.oracle
        self._same("computed band", state.computed_band, oracle.band.computed)
        self._same("band", state.band, oracle.published)
        self._same("told", state.told, oracle.telling.told)
        self._same("suppressed", state.suppressed, oracle.telling.suppressed)
        self._same("return", state.returned_ms if state.returned_ms >= 0 else None, oracle.returned_ms)
        self._same("churned", state.is_churned, oracle.is_churned)
        if oracle.is_churned or state.day < 0:
            return
        self._same("rules", set(holding_rules(state, plan_of(state))), oracle.rules)
        self._same("trend_7", score_change(state, 7), oracle.trend(7))
        self._same("trend_30", score_change(state, 30), oracle.trend(30))
        for age in range(1, 32):
            self._same(f"score {age} days ago", score_before(state, age), oracle.daily.get(oracle.today - age))
        override = oracle.facts.override
        is_by_hand = override is not None and oracle.clock_ms < override[1]
        self._same("override", override_in_force(state) is not None, is_by_hand)

    def _compare_alerts(self) -> None:
        core, oracle = self.state.unsent[self.compared :], self.oracle.telling.alerts[self.compared :]
        self._same("alerts", [_main_facts(alert) for alert in core], [_main_facts(alert) for alert in oracle])
        for mine, right in zip(core, oracle, strict=True):
            points = {part.name: part.points_change for part in mine.factors}
            expected = dict.fromkeys(points) if right.points is None else right.points
            self._same("factors of an alert", points.keys(), expected.keys())
            for name, value in points.items():
                wanted = expected[name]
                if value is None or wanted is None or not isclose(value, wanted, abs_tol=1e-9):
                    self._same(f"points of {name} in alert {mine.seq}", value, wanted)
        self.compared = len(self.state.unsent)

    def _compare_actions(self) -> None:
        acting, oracle = self.state.acting, self.oracle.actions
        snooze_ms = snooze_end_ms(self.state)
        is_snoozed = self.oracle.clock_ms < oracle.snoozed_until_ms
        self._same("snooze", snooze_ms, oracle.snoozed_until_ms if is_snoozed else NEVER)
        if acting is None:
            self._same("actions", 0, len(oracle.outcomes))
            return
        self._same("actions", acting.seq, len(oracle.outcomes))
        self._same("alert states", dict(acting.alerts), oracle.alert_states)
        self._same("outcomes", [_outcome(taken) for taken in acting.unsent], oracle.outcomes)


def _outcome(taken: ActionTaken) -> Outcome:
    said = {"band": taken.band, "reason": taken.reason, "sentiment": taken.sentiment, "note": taken.note}
    said |= {"alert_seq": taken.alert_seq, "until": None if taken.until_ms is None else text_of(taken.until_ms)}
    return Outcome(
        taken.seq,
        taken.action_id,
        taken.action,
        taken.actor,
        taken.acted_ms,
        taken.time_ms,
        taken.refusal,
        taken.alert_state,
        {name: value for name, value in said.items() if value is not None},
    )


def _main_facts(alert: Alert | alerts.Alert) -> tuple[object, ...]:
    head = (alert.kind, alert.time_ms, alert.seq, alert.id, alert.band, alert.previous_band, alert.rule)
    return (*head, alert.score, alert.previous_score, alert.coverage, alert.suppressed)
