"""Crashes at every step of flush, publish, mark and commit, by the thousand, judged by the same oracle as real runs."""

from __future__ import annotations

import os

import pytest

from tests.chaos.simulated import LIVES, POINTS, outcome

SEEDS = int(os.environ.get("CHAOS_SEEDS", "60"))
SEEDS_PER_POINT = 4


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_crash_at_any_step_changes_nothing(seed: int) -> None:
    """Killed six times at any step, the worker leaves what it would have left without."""
    run = outcome(str(seed))
    assert run.verdict.passed, (run.history, run.verdict.differences[:1])


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_named_point_changes_nothing(point: str) -> None:
    """Killed at one named point, again and again, the worker leaves what it would have left without."""
    runs = [outcome(f"{point}/{seed}", point=point) for seed in range(SEEDS_PER_POINT)]
    assert sum(run.deaths for run in runs) >= LIVES
    for run in runs:
        assert run.verdict.passed, (run.history, run.verdict.differences[:1])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_zombie_that_wakes_up_at_any_step_changes_nothing(seed: int) -> None:
    """Frozen at any step and woken while its successor works, a worker changes no state, alert or score for good."""
    run = outcome(str(seed), zombies=0.5)
    assert run.verdict.passed, (run.history, run.verdict.differences[:1])
