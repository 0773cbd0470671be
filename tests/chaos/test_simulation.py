"""Crashes at every step of flush, publish, mark and commit, by the thousand, judged by the same oracle as real runs."""

from __future__ import annotations

import asyncio
import os
from random import Random

import pytest

from tests.chaos.compare import Bounds, compare
from tests.chaos.oracle import CoreAccounting, expected_outcome
from tests.chaos.simulated import LIVES, MODEL, POINTS, TOPICS, log_of, outcome
from tests.chaos.simulation import ListBroker, simulate

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


def test_an_alert_that_comes_again_more_often_than_workers_died_is_noticed() -> None:
    """In a short log, too, where the sum of the repeated alerts is not bounded, one crash repeats an alert once."""
    broker = ListBroker(TOPICS, log_of(0))
    asyncio.run(simulate(broker, MODEL, Random(0), lives=1, zombies=0))
    observed = broker.observed()
    expected = expected_outcome(TOPICS, "wall", [CoreAccounting(MODEL)], observed.records, observed.rekeyed_offsets())
    alerts, bounds = observed.records[TOPICS.alerts], Bounds(crashes=1, counts_repeats=False)
    alerts += alerts[-60:]
    assert compare(expected, observed, bounds).passed
    alerts.append(alerts[-1])
    assert compare(expected, observed, bounds).kinds == {"alert repeats"}
