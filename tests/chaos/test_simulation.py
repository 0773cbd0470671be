"""Crashes at every step of flush, publish, mark and commit, by the thousand, judged by the same oracle as real runs."""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from random import Random

import pytest

from service.model.loader import load_model
from service.topic_catalogue import TopicNames
from tests.chaos.compare import Bounds, Verdict, compare
from tests.chaos.logs import LogRecord, live_log
from tests.chaos.oracle import CoreAccounting, expected_outcome
from tests.chaos.simulation import ListBroker, simulate

MODEL = load_model(Path(__file__).parent / "live.yaml")
TOPICS = TopicNames()
SEEDS = int(os.environ.get("CHAOS_SEEDS", "60"))
LIVES = 6


@functools.cache
def log_of(seed: int) -> list[LogRecord]:
    """Draw the log of a seed; few are enough, as what happens to them differs."""
    return live_log(seed, accounts=24, ticket_rounds=3)


def outcome(seed: int, zombies: float) -> tuple[Verdict, list[str]]:
    """Let a simulated worker die several times, and judge what is left."""
    broker = ListBroker(TOPICS, log_of(seed % 5))
    history = asyncio.run(simulate(broker, MODEL, Random(f"lives/{seed}"), LIVES, zombies))
    observed = broker.observed()
    accountings = [CoreAccounting(MODEL)]
    expected = expected_outcome(TOPICS, "wall", accountings, observed.records, observed.rekeyed_offsets())
    return compare(expected, observed, Bounds(crashes=LIVES, zombies=LIVES)), history


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_crash_at_any_step_changes_nothing(seed: int) -> None:
    """Killed six times at any step, the worker leaves what it would have left without."""
    verdict, history = outcome(seed, zombies=0)
    assert verdict.passed, (history, verdict.differences[:1])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_zombie_that_wakes_up_at_any_step_changes_nothing(seed: int) -> None:
    """Frozen at any step and woken while its successor works, a worker changes no state, alert or score for good."""
    verdict, history = outcome(seed, zombies=0.5)
    assert verdict.passed, (history, verdict.differences[:1])
