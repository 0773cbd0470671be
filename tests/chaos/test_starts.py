"""The short form of `make starts`: eight starts and stops on a busy machine while topics are being made."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.starts import busy_machine, rounds, topics_being_made

ROUNDS = 8

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.chaos]


def test_workers_start_and_stop_on_a_busy_machine(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """Every worker becomes ready and ends with 0, each in its time, with fresh topics and with old ones."""
    with busy_machine(), topics_being_made(broker.bootstrap):
        figures = rounds(broker.bootstrap, tmp_path, ROUNDS, 2, lambda _: None)
    assert not figures.failures, "\n".join(figures.failures)
    assert len(figures.ready_seconds) == ROUNDS
