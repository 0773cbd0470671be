"""Simulated lives by the thousand, each judged by the same oracle as real runs.

The named points are those of the workers under test (`splits.py`), as far as a world without a network has them: "to be
sent" loses the produce request that is next, "half of it sent" writes it and loses the acknowledgement.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

from service.model.loader import load_model
from service.topic_catalogue import TopicNames
from tests.chaos.compare import Bounds, Verdict, compare
from tests.chaos.logs import LogRecord, live_log, with_erasures
from tests.chaos.oracle import CoreAccounting, expected_outcome
from tests.chaos.simulation import ListBroker, simulate
from tests.chaos.splits import COMMIT_POINTS, SPLIT_POINTS

MODEL = load_model(Path(__file__).parent / "live.yaml")
TOPICS = TopicNames()
LIVES = 6
LOGS = 5
ERASED_ACCOUNTS = 6
POINTS = (*COMMIT_POINTS, *SPLIT_POINTS)


@dataclass
class Simulated:
    """One simulated run."""

    point: str
    name: str
    """What its chance came from."""
    deaths: int
    """How often a world ended where it should."""
    verdict: Verdict
    history: list[str]


@functools.cache
def log_of(number: int) -> list[LogRecord]:
    """Draw one of a few logs; few are enough, as what happens to them differs."""
    return live_log(number, accounts=24, ticket_rounds=3)


def outcome(name: str, *, zombies: float = 0.0, point: str = "") -> Simulated:
    """Let a simulated worker die several times, at one point if one is named, and judge what is left."""
    rng = Random(f"lives/{name}")
    number = rng.randrange(LOGS)
    broker = ListBroker(TOPICS, with_erasures(number, ERASED_ACCOUNTS, log_of(number)))
    deaths, history = asyncio.run(simulate(broker, MODEL, rng, lives=LIVES, zombies=zombies, point=point))
    observed = broker.observed()
    accountings = [CoreAccounting(MODEL)]
    expected = expected_outcome(TOPICS, "wall", accountings, observed.records, observed.rekeyed_offsets())
    verdict = compare(expected, observed, Bounds(crashes=LIVES, zombies=LIVES if zombies else 0))
    return Simulated(point, name, deaths, verdict, history)


def outcomes_at_points(seed: int, runs: int, processes: int) -> Iterator[Simulated]:
    """Let `runs` simulated workers die at each point, on so many processes."""
    names = [(point, f"{seed}/{point}/{number}") for point in POINTS for number in range(runs)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, names, chunksize=50)


def _one(chosen: tuple[str, str]) -> Simulated:
    point, name = chosen
    return outcome(name, point=point)
