"""The oracle notices bugs that are put into the core: each is found within a fixed search of at most 600 cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from service.scoring import (
    IS_COMPILED,
    acting,
    alerts,
    bands,
    effects,
    engine,
    evaluation,
    people,
    recent_ids,
    recording,
    signal,
    state,
    support_signals,
    telling,
    usage_signals,
)
from service.scoring.events import Action
from service.scoring.model import Curve, Plan
from service.scoring.records import NEVER, Invoice
from service.scoring.state import AccountState
from service.scoring.views import Band
from tests.scoring.budget import search
from tests.scoring.oracle_laws import core_agrees_with_the_oracle
from tests.scoring.scripts import SCRIPTS, swings
from tests.scoring.test_laws_bite import (
    cool_down_forgotten,
    coverage_ignored,
    dwell_end_not_due,
    dwell_forgotten,
    held_alerts_dropped,
    inverted_hysteresis,
    last_account_arrival_wins,
    last_survey_arrival_wins,
    last_ticket_arrival_wins,
    late_event_in_todays_bucket,
    lost_renormalisation,
    model_change_told,
    silence_never_due,
    ticks_run_late,
    window_end_one_day_late,
)
from tests.scoring.wire_logs import cases

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]


def window_one_day_longer(patch: Patch) -> None:
    """Take 31 days for the last 30 when days pass."""
    patch.setattr(state, "WINDOW_DAYS", 31)


def ring_accepts_one_day_too_old(patch: Patch) -> None:
    """Put an event of 90 days ago into the bucket of today."""
    patch.setattr(engine, "RING_DAYS", 91)


def trend_without_second_window(patch: Patch) -> None:
    """Judge the trend before its windows are full."""
    patch.setattr(usage_signals, "WINDOW_DAYS", 29)


def longer_limit(module: Any, name: str, value: int) -> Bug:
    """Keep one more than the page says."""

    def bug(patch: Patch) -> None:
        patch.setattr(module, name, value)

    bug.__name__ = f"{name}_{value}"
    return bug


def dwell_one_ms_too_long(patch: Patch) -> None:
    """Leave a band a millisecond late."""
    patch.setattr(evaluation, "move_band", lambda account, target, dwell: bands.move_band(account, target, dwell + 1))


def daily_score_of_the_wrong_day(patch: Patch) -> None:
    """Compare with the day before the right one."""
    right = state.score_before
    patch.setattr(evaluation, "score_before", lambda account, days: right(account, days + 1))


def blame_for_others_weight(patch: Patch) -> None:
    """Give a factor that came or went the points of its weight."""
    patch.setattr(alerts, "_common_output", lambda _pairs, _score: 0.0)


def threshold_belongs_below(patch: Patch) -> None:
    """Enter a band at exactly its threshold."""
    right = bands.target_band

    def wrong(band: Any, score: float | None, coverage: float, edges: Any) -> Any:
        return right(band, None if score is None else score - 1e-9, coverage, edges)

    patch.setattr(evaluation, "target_band", wrong)


def curve_flat_one_segment_early(patch: Patch) -> None:
    """Read a curve at its last point but one as if it ended there."""

    def wrong(curve: Curve, x: float) -> float:
        return curve.ys[-1] if x >= curve.xs[-2] else curve.ys[0]

    patch.setattr(Curve, "at", wrong)


def payment_of_the_same_instant_loses(patch: Patch) -> None:
    """Let a failure win over the payment of its instant."""
    patch.setattr(Invoice, "is_failing", property(lambda invoice: 0 <= invoice.paid_ms <= invoice.failed_ms))


def renamed_key_users_keep_counts(patch: Patch) -> None:
    """Keep the counts of key users who left the list."""

    def wrong(account: AccountState, names: tuple[str, ...]) -> None:
        more = recording._more(account)
        more.key_users = {**dict.fromkeys(names[: people.MAX_KEY_USERS]), **more.key_users}

    patch.setattr(recording, "_list_key_users", wrong)


def override_not_due(patch: Patch) -> None:
    """Publish an override beyond its end."""
    right = evaluation.timers_due_ms

    def wrong(account: AccountState, plan: Plan) -> int | None:
        facts = account.attributes
        due_ms = right(account, plan)
        return (
            None if facts is not None and facts.override is not None and due_ms == facts.override.until_ms else due_ms
        )

    patch.setattr(engine, "timers_due_ms", wrong)


def ids_known_for_half_an_hour(patch: Patch) -> None:
    """Forget event ids after half of their window."""
    patch.setattr(recent_ids, "HOUR_MS", state.HOUR_MS // 2)


def cool_down_one_ms_too_long(patch: Patch) -> None:
    """Hold an alert back at exactly the end of its cool-down."""
    right = telling._may_go

    def wrong(account: AccountState, kind: str, plan: Plan) -> bool:
        sent_ms = account.told_ms.get(kind)
        at_end = sent_ms is not None and account.clock_ms - sent_ms == plan.model.cool_downs[kind]
        return right(account, kind, plan) and not at_end

    patch.setattr(telling, "_may_go", wrong)


def worst_of_a_dwell_forgotten(patch: Patch) -> None:
    """Jump to the best band that was seen during a dwell."""
    right = bands.move_band

    def wrong(account: AccountState, target: Any, dwell_ms: int) -> None:
        account.better_band = target
        right(account, target, dwell_ms)

    patch.setattr(evaluation, "move_band", wrong)


def suppressed_never_reset(patch: Patch) -> None:
    """Tell the same suppressed alerts again and again."""
    right = telling._note_sent

    def wrong(account: AccountState, kind: str) -> None:
        kept = account.suppressed
        right(account, kind)
        account.suppressed = kept

    patch.setattr(telling, "_note_sent", wrong)


def snooze_not_due(patch: Patch) -> None:
    """Leave what a snooze held back to whatever happens next."""
    patch.setattr(evaluation, "snooze_end_ms", lambda _: NEVER)


def snooze_without_effect(patch: Patch) -> None:
    """Tell a snoozed account's alerts as they come."""
    patch.setattr(telling, "snooze_end_ms", lambda _: NEVER)


def last_snooze_arrival_wins(patch: Patch) -> None:
    """Let the snooze that came last be in force, whenever the person said it."""

    def wrong(account: AccountState, action: Action) -> bool:
        known = acting.acting_of(account)
        known.snoozed_ms, known.snoozed_until_ms = action.time_ms, action.until_ms or 0
        return True

    patch.setattr(engine, "snooze", wrong)


def lifted_snooze_lets_nothing_out(patch: Patch) -> None:
    """Take a snooze that ends at once without a look at what the earlier one held back."""
    patch.setattr(engine, "_let_out", lambda _: effects.SCORED)


def resolved_alert_taken_up_again(patch: Patch) -> None:
    """Let anything be done about a resolved alert."""
    right = acting.why_refused

    def wrong(account: AccountState, action: Action) -> Any:
        refusal = right(account, action)
        return None if refusal == "resolved_alert" else refusal

    patch.setattr(engine, "why_refused", wrong)


def superseded_fact_told_as_applied(patch: Patch) -> None:
    """Say that an override was applied though a later one is in force."""
    patch.setattr(engine, "holds", lambda _account, _action: True)


def repeated_action_counted_again(patch: Patch) -> None:
    """Know an action for as long as other events only."""
    patch.setattr(acting.Acting, "is_new", lambda _known, _event_id: True)


def return_keeps_what_was_told(patch: Patch) -> None:
    """Let a returning account start with the band that it was told before."""
    right = AccountState.start_afresh

    def wrong(account: AccountState) -> None:
        told: Band = getattr(account, "told", "healthy")
        right(account)
        account.told = told

    patch.setattr(AccountState, "start_afresh", wrong)


CASES: Iterable[tuple[Bug, tuple[str, ...]]] = [
    (window_one_day_longer, ("usage",)),
    (ring_accepts_one_day_too_old, ("usage",)),
    (trend_without_second_window, ("usage",)),
    (late_event_in_todays_bucket, ("usage",)),
    (window_end_one_day_late, ("usage",)),
    (silence_never_due, ("usage",)),
    (ticks_run_late, ("usage",)),
    (renamed_key_users_keep_counts, ("people",)),
    (longer_limit(recording, "MAX_INVOICES", 33), ("payments",)),
    (payment_of_the_same_instant_loses, ("payments",)),
    (longer_limit(recording, "MAX_MRR_FACTS", 17), ("revenue",)),
    (longer_limit(recording, "MAX_TICKETS", 65), ("tickets",)),
    (longer_limit(support_signals, "RING_DAYS", 91), ("tickets",)),
    (last_ticket_arrival_wins, ("tickets",)),
    (longer_limit(recording, "MAX_SURVEYS", 17), ("surveys",)),
    (last_survey_arrival_wins, ("surveys",)),
    (last_account_arrival_wins, ("account",)),
    (override_not_due, ("account",)),
    (longer_limit(signal, "TREND_MAX", 3), ("usage",)),
    (lost_renormalisation, ()),
    (coverage_ignored, ()),
    (inverted_hysteresis, ()),
    (threshold_belongs_below, ()),
    (curve_flat_one_segment_early, ()),
    (dwell_forgotten, ()),
    (dwell_one_ms_too_long, ()),
    (dwell_end_not_due, ()),
    (daily_score_of_the_wrong_day, ()),
    (blame_for_others_weight, ()),
    (model_change_told, ()),
    (last_snooze_arrival_wins, ("acting",)),
    (resolved_alert_taken_up_again, ("acting",)),
    (superseded_fact_told_as_applied, ("acting",)),
    (repeated_action_counted_again, ("acting",)),
]


PLAIN_ONLY = pytest.mark.skipif(
    IS_COMPILED, reason="compiled code takes no seeded bug; test_compiled runs these in plain Python"
)

AT_BOUNDS: Iterable[tuple[Bug, str]] = [
    (longer_limit(people, "MAX_USERS", 65), "users"),
    (longer_limit(people, "MAX_DAILY_LOGINS", 7), "busy key user"),
    (longer_limit(recording, "MAX_PURCHASE_DAYS", 97), "purchases"),
    (ids_known_for_half_an_hour, "ids of an hour"),
    (longer_limit(recent_ids, "_FULL_BYTES", 128 * 8), "many ids"),
]
ON_SWINGS: Iterable[Bug] = [
    dwell_one_ms_too_long,
    worst_of_a_dwell_forgotten,
    cool_down_forgotten,
    cool_down_one_ms_too_long,
    held_alerts_dropped,
    suppressed_never_reset,
    return_keeps_what_was_told,
]
ON_ACTED_SWINGS: Iterable[Bug] = [snooze_not_due, snooze_without_effect, lifted_snooze_lets_nothing_out]


@PLAIN_ONLY
@pytest.mark.parametrize(("bug", "script"), AT_BOUNDS, ids=lambda part: getattr(part, "__name__", ""))
def test_the_oracle_notices_a_seeded_bug_at_a_bound(bug: Bug, script: str, monkeypatch: Patch) -> None:
    """With the bug in place, core and oracle differ where more comes than is kept."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        core_agrees_with_the_oracle(SCRIPTS[script])


@PLAIN_ONLY
@pytest.mark.parametrize("bug", ON_SWINGS, ids=lambda bug: bug.__name__)
def test_the_oracle_notices_a_seeded_bug_of_waits(bug: Bug, monkeypatch: Patch) -> None:
    """With the bug in place, core and oracle differ for an account whose band swings."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        search(core_agrees_with_the_oracle, swings())


@PLAIN_ONLY
@pytest.mark.parametrize("bug", ON_ACTED_SWINGS, ids=lambda bug: bug.__name__)
def test_the_oracle_notices_a_seeded_bug_of_snoozes(bug: Bug, monkeypatch: Patch) -> None:
    """With the bug in place, core and oracle differ for such an account that is snoozed."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        search(core_agrees_with_the_oracle, swings(is_acted_on=True))


@PLAIN_ONLY
@pytest.mark.parametrize(("bug", "themes"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_the_oracle_notices_a_seeded_bug(bug: Bug, themes: tuple[str, ...], monkeypatch: Patch) -> None:
    """With the bug in place, core and oracle differ."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        search(core_agrees_with_the_oracle, cases(*themes))
