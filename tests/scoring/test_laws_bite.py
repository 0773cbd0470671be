"""Each important law fails when the bug it guards against is put into the core."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from service.scoring import (
    IS_COMPILED,
    bands,
    engine,
    evaluation,
    recording,
    state_codec,
    telling,
    usage_signals,
)
from service.scoring.events import AccountUpdate, Event, Survey, Ticket, Usage
from service.scoring.model import Bands, Model, Plan, Thresholds
from service.scoring.records import Attributes, SurveyAnswer, TicketRecord
from service.scoring.signal import NO_DAY
from service.scoring.state import AccountState
from tests.scoring import laws
from tests.scoring.budget import search
from tests.scoring.logs import logs

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

_silences = st.sampled_from([0, 1, 29, 30, 31, 60, 89, 90, 130])
_any_log = logs(churn=True)
_short_log = logs(span_days=89)


def late_event_in_todays_bucket(patch: Patch) -> None:
    """Count a late login on the day it arrives."""
    right = recording.record

    def wrong(account: AccountState, event: Event, features: Any) -> int:
        if isinstance(event, Usage):
            event = Usage(event.account, event.event_id, account.clock_ms, event.action, event.user)
        return right(account, event, features)

    patch.setattr(engine, "record", wrong)


def lost_renormalisation(patch: Patch) -> None:
    """Count factors without data as zero."""

    def wrong(outputs: array[float], plan: Plan) -> tuple[float | None, float]:
        present = [(w, out) for w, out in zip(plan.weights, outputs, strict=True) if out >= 0.0]
        if not present:
            return None, 0.0
        total = sum(w * out for w, out in present)
        return total / plan.total_weight, sum(w for w, _ in present) / plan.total_weight

    patch.setattr(evaluation, "score_outputs", wrong)


def _swapped(edges: Thresholds) -> Thresholds:
    return Thresholds(edges.leave, edges.enter)


def inverted_hysteresis(patch: Patch) -> None:
    """Swap the thresholds to enter and to leave."""
    right = bands.target_band

    def wrong(band: Any, score: float | None, coverage: float, edges: Bands) -> Any:
        swapped = (edges.min_coverage, _swapped(edges.at_risk), _swapped(edges.endangered), 0, 0)
        return right(band, score, coverage, Bands(*swapped))

    patch.setattr(evaluation, "target_band", wrong)


def coverage_ignored(patch: Patch) -> None:
    """Give a band to an account of which almost nothing is known."""
    right = bands.target_band
    patch.setattr(evaluation, "target_band", lambda band, score, _coverage, edges: right(band, score, 1.0, edges))


def dwell_forgotten(patch: Patch) -> None:
    """Leave a band as soon as the score is better."""
    patch.setattr(evaluation, "move_band", lambda account, target, _dwell_ms: bands.move_band(account, target, 0))


def caps_forgotten(patch: Patch) -> None:
    """Let a rule hold without its cap."""
    patch.setattr(evaluation, "capped", lambda target, _cap: target)


def cool_down_forgotten(patch: Patch) -> None:
    """Tell again at once."""
    patch.setattr(telling, "_may_go", lambda _state, _kind, _plan: True)


def held_alerts_dropped(patch: Patch) -> None:
    """Take an alert that was held back as told."""
    right = telling._hold

    def wrong(account: AccountState, kind: str) -> int:
        account.told = account.band
        return right(account, kind)

    patch.setattr(telling, "_hold", wrong)


def model_change_told(patch: Patch) -> None:
    """Treat the jump of a new model as the customer's."""
    right = evaluation.evaluate

    def wrong(account: AccountState, plan: Plan, *, is_changed: bool, is_new_model: bool = False) -> int:
        return right(account, plan, is_changed=is_changed)

    patch.setattr(engine, "evaluate", wrong)


def window_end_one_day_late(patch: Patch) -> None:
    """Expect everything to leave its window a day later than it does."""
    right = usage_signals._active_windows_next
    patch.setattr(usage_signals, "_active_windows_next", lambda account: min(right(account) + 1, NO_DAY))


def dwell_end_not_due(patch: Patch) -> None:
    """Never wake an account at the end of a dwell or cool-down."""
    patch.setattr(engine, "timers_due_ms", lambda _state, _plan: None)


def event_ids_forgotten(patch: Patch) -> None:
    """Recognise no event id."""
    patch.setattr(engine, "remember", lambda _state, _event_id: True)


def offsets_forgotten(patch: Patch) -> None:
    """Apply a redelivered record again."""
    patch.setattr(
        engine,
        "apply_record",
        lambda account, source, offset, event, as_of, model: engine.step(account, event, as_of, model),
    )


def last_ticket_arrival_wins(patch: Patch) -> None:
    """Let a ticket's facts follow arrival, not event time."""
    right = TicketRecord.merge

    def wrong(record: TicketRecord, event: Ticket) -> None:
        record.status_ms = record.severity_ms = record.tags_ms = record.sentiment_ms = -1
        right(record, event)

    patch.setattr(TicketRecord, "merge", wrong)


def last_survey_arrival_wins(patch: Patch) -> None:
    """Let an answer overwrite its edit when it arrives later."""

    def wrong(account: AccountState, event: Survey) -> int:
        percent = 100.0 * (event.score - event.scale_min) / (event.scale_max - event.scale_min)
        more = recording._more(account)
        more.surveys = {**more.surveys, event.response: SurveyAnswer(event.time_ms, percent, event.kind)}
        return recording.PART_SURVEYS

    patch.setattr(recording, "_record_survey", wrong)


def last_account_arrival_wins(patch: Patch) -> None:
    """Let an old fact about the account overwrite a newer one."""
    right = Attributes.merge

    def wrong(attributes: Attributes, event: AccountUpdate) -> set[str]:
        attributes.times = array("q", [-1] * len(attributes.FIELDS))
        return right(attributes, event)

    patch.setattr(Attributes, "merge", wrong)


def ticks_run_late(patch: Patch) -> None:
    """Run everything due at the instant somebody looks."""

    def wrong(account: AccountState, as_of_ms: int, model: Model) -> int:
        if account.next_due_ms is None or account.next_due_ms > as_of_ms:
            return 0
        return engine._tick_at(account, as_of_ms, model)

    patch.setattr(engine, "advance", wrong)


def silence_never_due(patch: Patch) -> None:
    """Never look at an account without events."""
    patch.setattr(engine, "_set_next_due", lambda _state, _plan: None)
    patch.setattr(engine, "_come_due_sooner", lambda _state, _readings: None)


def codec_loses_the_alarm(patch: Patch) -> None:
    """Forget to store what was told last."""
    right = state_codec.decode

    def wrong(account: str, value: bytes) -> AccountState:
        recovered = right(account, value)
        recovered.told = "healthy"
        return recovered

    patch.setattr(state_codec, "decode", wrong)


def codec_narrows_the_ring(patch: Patch) -> None:
    """Cut the count of a busy day when it is stored."""
    right = state_codec.encode

    def wrong(account: AccountState) -> bytes:
        kept = account.logins
        account.logins = array("B", [min(1, count) for count in kept])
        value = right(account)
        account.logins = kept
        return value

    patch.setattr(state_codec, "encode", wrong)


def login_touches_nothing(patch: Patch) -> None:
    """Count a login without computing again the factors that read logins."""
    right = recording.record
    patch.setattr(engine, "record", lambda *parts: right(*parts) & ~recording.PART_LOGINS)


def duplicates_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.applying_twice_changes_nothing(log)


def ticks_law(log: list[Event], _seed: int, days: int) -> None:
    laws.only_due_ticks_matter(log, days)


def stop_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.stopping_is_not_noticed(log)


def sum_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.score_is_the_sum_of_its_reasons(log)


def band_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.bands_keep_their_distance(log)


def fresh_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.cached_outputs_are_fresh(log)


def due_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.nothing_changes_before_it_is_due(log)


def cool_down_law(log: list[Event], _seed: int, days: int) -> None:
    laws.alerts_keep_their_cool_down(log, days)


def model_law(log: list[Event], seed: int, _days: int) -> None:
    laws.another_model_is_silent(log, seed)


Law = Callable[[list[Event], int, int], None]
CASES: list[tuple[Bug, Law, st.SearchStrategy[list[Event]]]] = [
    (lost_renormalisation, sum_law, _any_log),
    (inverted_hysteresis, band_law, _any_log),
    (coverage_ignored, band_law, _any_log),
    (dwell_forgotten, band_law, _any_log),
    (caps_forgotten, band_law, _any_log),
    (cool_down_forgotten, cool_down_law, logs()),
    (held_alerts_dropped, cool_down_law, logs()),
    (model_change_told, model_law, _any_log),
    (window_end_one_day_late, due_law, _any_log),
    (dwell_end_not_due, ticks_law, _any_log),
    (event_ids_forgotten, duplicates_law, _any_log),
    (offsets_forgotten, duplicates_law, _any_log),
    (last_ticket_arrival_wins, laws.order_does_not_matter, _short_log),
    (last_survey_arrival_wins, laws.order_does_not_matter, _short_log),
    (last_account_arrival_wins, laws.order_does_not_matter, _short_log),
    (late_event_in_todays_bucket, laws.order_does_not_matter, _short_log),
    (ticks_run_late, ticks_law, _any_log),
    (silence_never_due, ticks_law, _any_log),
    (codec_loses_the_alarm, stop_law, _any_log),
    (codec_narrows_the_ring, stop_law, _any_log),
    (login_touches_nothing, fresh_law, _any_log),
]


@pytest.mark.skipif(IS_COMPILED, reason="compiled code takes no seeded bug; test_compiled runs these in plain Python")
@pytest.mark.parametrize(("bug", "law", "generated"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_a_seeded_bug_breaks_its_law(
    bug: Bug, law: Law, generated: st.SearchStrategy[list[Event]], monkeypatch: Patch
) -> None:
    """With the bug in place, a fixed search of at most 600 cases finds one that breaks the law."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        search(law, generated, st.integers(0, 1_000_000), _silences)
