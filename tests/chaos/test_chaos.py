"""Every short scenario on real brokers, with fixed seeds; `make chaos` runs the long ones with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.run import Place
from tests.chaos.runner import run_scenario
from tests.chaos.scenarios import SCENARIOS, Scenario

SEED = 1
ON_ONE_BROKER = [scenario for scenario in SCENARIOS.values() if scenario.brokers == 1 and not scenario.cut]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("scenario", ON_ONE_BROKER, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_doubled_or_missing(scenario: Scenario, broker: EmbeddedKafka, tmp_path: Path) -> None:
    """After the fault, states, alerts, scores, dead letters and offsets are those of the replayed log."""
    result = run_scenario(scenario, scenario.short, SEED, Place(broker.bootstrap, broker.bootstrap), tmp_path)
    assert result.passed, result.told()
