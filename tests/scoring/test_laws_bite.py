"""Each important law fails when the bug it guards against is put into the core."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.scoring import bands, engine, recording, signals, state, state_codec
from service.scoring.events import AccountUpdate, Event, Survey, Ticket, Usage
from service.scoring.model import Model, Thresholds
from service.scoring.records import Attributes, SurveyAnswer, TicketRecord
from service.scoring.state import AccountState
from tests.scoring import laws
from tests.scoring.logs import login_logs, logs

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

_silences = st.sampled_from([0, 1, 29, 30, 31, 60, 89, 90, 130])
_any_log = logs(churn=True)
_short_log = logs(span_days=89)


def window_one_day_longer(patch: Patch) -> None:
    """Take 31 days for the last 30 when days pass."""
    patch.setattr(state, "WINDOW_DAYS", 31)


def late_event_in_todays_bucket(patch: Patch) -> None:
    """Count a late login on the day it arrives."""
    right = recording.record

    def wrong(account: AccountState, event: Event) -> int:
        if isinstance(event, Usage):
            event = Usage(event.account, event.event_id, account.clock_ms, event.action, event.user)
        return right(account, event)

    patch.setattr(engine, "record", wrong)


def ring_accepts_one_day_too_old(patch: Patch) -> None:
    """Put an event of 90 days ago into the bucket of today."""
    patch.setattr(engine, "RING_DAYS", 91)


def lost_renormalisation(patch: Patch) -> None:
    """Count factors without data as zero."""

    def wrong(outputs: array[float], model: Model) -> tuple[float | None, float]:
        present = [(w, out) for w, out in zip(model.weights, outputs, strict=True) if out >= 0.0]
        if not present:
            return None, 0.0
        total = sum(w * out for w, out in present)
        return total / model.total_weight, sum(w for w, _ in present) / model.total_weight

    patch.setattr(engine, "score_outputs", wrong)


def inverted_hysteresis(patch: Patch) -> None:
    """Swap the thresholds to enter and to leave."""
    right = bands.next_band

    def wrong(band: Any, score: float | None, coverage: float, model: Model) -> Any:
        at_risk, endangered = model.at_risk, model.endangered
        swapped = Model(
            model.version,
            model.min_coverage,
            Thresholds(at_risk.leave, at_risk.enter),
            Thresholds(endangered.leave, endangered.enter),
            model.factors,
        )
        return right(band, score, coverage, swapped)

    patch.setattr(engine, "next_band", wrong)


def coverage_ignored(patch: Patch) -> None:
    """Give a band to an account of which almost nothing is known."""
    right = bands.next_band
    patch.setattr(engine, "next_band", lambda band, score, _coverage, model: right(band, score, 1.0, model))


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
        account.surveys = {**account.surveys, event.response: SurveyAnswer(event.time_ms, percent, event.kind)}
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
    patch.setattr(engine, "_set_next_due", lambda _state, _model: None)


def codec_loses_the_alarm(patch: Patch) -> None:
    """Forget to store what was told last."""
    right = state_codec.decode

    def wrong(account: str, value: bytes) -> AccountState:
        recovered = right(account, value)
        recovered.alarm = "healthy"
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
    patch.setattr(engine, "record", lambda account, event: right(account, event) & ~recording.PART_LOGINS)


def trend_without_second_window(patch: Patch) -> None:
    """Judge the trend before its windows are full."""
    patch.setattr(signals, "WINDOW_DAYS", 29)


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


def oracle_law(log: list[Event], _seed: int, _days: int) -> None:
    laws.usage_agrees_with_the_oracle(log)


Law = Callable[[list[Event], int, int], None]
CASES: list[tuple[Bug, Law, st.SearchStrategy[list[Event]]]] = [
    (window_one_day_longer, oracle_law, login_logs()),
    (late_event_in_todays_bucket, oracle_law, login_logs()),
    (ring_accepts_one_day_too_old, oracle_law, login_logs()),
    (trend_without_second_window, oracle_law, login_logs()),
    (lost_renormalisation, sum_law, _any_log),
    (inverted_hysteresis, band_law, _any_log),
    (coverage_ignored, band_law, _any_log),
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


@pytest.mark.parametrize(("bug", "law", "generated"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_a_seeded_bug_breaks_its_law(
    bug: Bug, law: Law, generated: st.SearchStrategy[list[Event]], monkeypatch: Patch
) -> None:
    """With the bug in place, a fixed search of at most 600 cases finds one that breaks the law."""
    bug(monkeypatch)

    @settings(
        max_examples=600,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(generated, st.integers(0, 1_000_000), _silences)
    def search(log: list[Event], seed: int, silent_days: int) -> None:
        law(log, seed, silent_days)

    with pytest.raises(AssertionError):
        search()
