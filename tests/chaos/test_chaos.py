"""Short scenarios on a real broker, with fixed seeds; `make chaos` runs all of them, longer, with other seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.run import Place
from tests.chaos.runner import run_scenario
from tests.chaos.scenarios import SCENARIOS, Scenario

SEED = 1
# Those that together pass every step of a commit, of a recovery and of a rebalance, within six minutes.
NAMES = ["F1", "F1e", "F3", "F4", "F4e", "F7p", "F7k", "F11f", "F13", "F15", "F20"]
CHOSEN = [SCENARIOS[name] for name in NAMES]
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.chaos]


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_doubled_or_missing(scenario: Scenario, broker: EmbeddedKafka, tmp_path: Path) -> None:
    """After the fault, states, alerts, scores, dead letters and offsets are those of the replayed log."""
    result = run_scenario(scenario, scenario.short, SEED, Place(broker.bootstrap, broker.bootstrap), tmp_path)
    assert result.passed, result.told()
