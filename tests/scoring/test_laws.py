"""The laws hold for generated logs: duplicates, late and shuffled events, instants exactly at midnight."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from service.scoring.events import Event
from tests.scoring import laws
from tests.scoring.budget import SHARES, cases
from tests.scoring.logs import logs
from tests.scoring.oracle_laws import core_agrees_with_the_oracle
from tests.scoring.scripts import SCRIPTS, swings
from tests.scoring.wire_logs import THEMES, Case
from tests.scoring.wire_logs import cases as oracle_cases

SILENCES = st.sampled_from([0, 1, 29, 30, 31, 60, 89, 90, 130])
ANY_THEME = st.one_of(*(oracle_cases(theme) for theme in sorted(THEMES)))


@cases(21, oracle_cases())
def test_core_agrees_with_the_oracle(case: Case) -> None:
    """Under a generated model, every figure, band and alert is that of an independent recount, after every step."""
    core_agrees_with_the_oracle(case)


@cases(20, ANY_THEME)
def test_core_agrees_with_the_oracle_on_one_theme(case: Case) -> None:
    """So it does when all events are of one kind, which reaches the bounds of what is kept."""
    core_agrees_with_the_oracle(case)


@cases(5, swings())
def test_core_agrees_with_the_oracle_on_swings(case: Case) -> None:
    """And when bands swing around their dwells and cool-downs."""
    core_agrees_with_the_oracle(case)


@cases(4, swings(is_acted_on=True))
def test_core_agrees_with_the_oracle_on_swings_that_are_acted_on(case: Case) -> None:
    """And when people snooze such an account and take up its alerts."""
    core_agrees_with_the_oracle(case)


@pytest.mark.parametrize("name", SCRIPTS)
def test_core_agrees_with_the_oracle_at_the_bounds(name: str) -> None:
    """And where more comes than is kept."""
    core_agrees_with_the_oracle(SCRIPTS[name])


@cases(5, logs(churn=True))
def test_applying_a_record_twice_changes_nothing(log: list[Event]) -> None:
    """A redelivered record and a repeated event leave aggregates, score and alerts alone."""
    laws.applying_twice_changes_nothing(log)


@cases(5, logs(span_days=89), st.integers(0, 1_000_000), SILENCES)
def test_order_does_not_matter(log: list[Event], seed: int, silent_days: int) -> None:
    """Late and shuffled events inside the ring end in the same aggregates and score."""
    laws.order_does_not_matter(log, seed, silent_days)


@cases(5, logs(churn=True), SILENCES)
def test_only_due_ticks_matter(log: list[Event], silent_days: int) -> None:
    """A worker that looks every midnight tells the same alerts as one that looks when an account is due."""
    laws.only_due_ticks_matter(log, silent_days)


@cases(5, logs(churn=True))
def test_stopping_is_not_noticed(log: list[Event]) -> None:
    """Storing and reading back after every record is lossless and changes nothing later."""
    laws.stopping_is_not_noticed(log)


@cases(5, logs(churn=True))
def test_score_is_the_sum_of_its_reasons(log: list[Event]) -> None:
    """Scores stay within 0..100 and equal the sum of their contributions, alerts' changes likewise."""
    laws.score_is_the_sum_of_its_reasons(log)


@cases(5, logs(churn=False))
def test_bands_keep_their_distance(log: list[Event]) -> None:
    """Bands change only across their own thresholds, and alerts carry gap-free numbers and distinct ids."""
    laws.bands_keep_their_distance(log)


@cases(5, logs(churn=True))
def test_cached_outputs_are_fresh(log: list[Event]) -> None:
    """Computing only what an event touched gives what computing everything gives."""
    laws.cached_outputs_are_fresh(log)


@cases(5, logs(churn=True))
def test_nothing_changes_before_it_is_due(log: list[Event]) -> None:
    """The due instant of an account is never too late, whatever its model reads."""
    laws.nothing_changes_before_it_is_due(log)


@cases(5, logs(churn=False), SILENCES)
def test_alerts_keep_their_cool_down(log: list[Event], silent_days: int) -> None:
    """Alerts of a kind are not repeated within the cool-down, and the last one told is the truth."""
    laws.alerts_keep_their_cool_down(log, silent_days)


@cases(5, logs(churn=True), st.integers(0, 100))
def test_another_model_is_silent(log: list[Event], at: int) -> None:
    """A model that changes in the middle of a log alerts nobody."""
    laws.another_model_is_silent(log, at)


def test_all_cases_are_shared_out() -> None:
    """The laws together are tried on all cases."""
    assert sum(SHARES.values()) == 100
