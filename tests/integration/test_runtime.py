"""The runtime layer on a real broker: counts stay exact whoever dies, and a stop leaves nothing uncommitted."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.runtime.table import HEADER, MARKER_KEY
from agents.runtime.versions import TESTED_VERSIONS, check_versions
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.topic_admin import committed_offsets
from service.errors import ConfigError
from tests.integration.kafka_tools import TestedProcess, produce, read_topic, wait_caught_up

CHUNK_RECORDS = 5_000
KEYS = 500
READY = "Worker ready"


class Counting:
    """One deployment of the counting application."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.app_id = f"{prefix}counting"
        self.input, self.changelog, self.output = f"{prefix}in", f"{prefix}changelog", f"{prefix}out"
        self.folder = folder
        self.started = 0
        asyncio.run(self._create_topics())

    async def _create_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        compact = {"cleanup.policy": "compact"}
        await admin.create_topics(
            [
                NewTopic(self.input, 4, 1),
                NewTopic(self.changelog, 4, 1, topic_configs=compact),
                NewTopic(self.output, 4, 1),
            ]
        )
        await admin.close()

    def start(self) -> TestedProcess:
        """Start one worker."""
        self.started += 1
        return TestedProcess(
            self.folder / f"worker-{self.started}.log",
            "tests.integration.counting_app",
            self.bootstrap,
            self.app_id,
            self.input,
            self.changelog,
            self.output,
        )

    @contextmanager
    def filling(self, chunks: int) -> Iterator[Counter[bytes]]:
        """Produce chunks of records, twice a second, during the block; gives how often each key occurs."""
        expected: Counter[bytes] = Counter()

        def fill() -> None:
            for _ in range(chunks):
                keys = [f"key-{number % KEYS}".encode() for number in range(CHUNK_RECORDS)]
                produce(self.bootstrap, self.input, ((key, b"x" * 100) for key in keys))
                expected.update(keys)
                time.sleep(0.5)

        filler = threading.Thread(target=fill)
        filler.start()
        try:
            yield expected
        finally:
            filler.join()

    def finish(self) -> None:
        """Run one last worker until everything is committed."""
        with self.start() as worker:
            worker.wait_for(READY)
            wait_caught_up(self.bootstrap, self.app_id, [self.input], worker)
            assert worker.terminate() == 0

    def stored(self) -> dict[bytes, int]:
        """Return every key's total as the changelog has it."""
        return {
            record.key: json.loads(record.value[HEADER.size :])[1]
            for record in read_topic(self.bootstrap, self.changelog)
            if record.key != MARKER_KEY
        }

    def published(self) -> dict[bytes, int]:
        """Return every key's last published total."""
        return {record.key: int(record.value) for record in read_topic(self.bootstrap, self.output)}


@pytest.fixture
def counting(broker: EmbeddedKafka, topic_prefix: str, tmp_path: Path) -> Counting:
    """Make a deployment of its own for a test."""
    return Counting(broker.bootstrap, topic_prefix, tmp_path)


@pytest.mark.kafka
def test_counts_stay_exact_when_the_worker_is_killed(counting: Counting) -> None:
    """Three kills in the middle of the work change no count and lose no output."""
    rng = random.Random(1)
    with counting.filling(chunks=20) as expected:
        for _ in range(3):
            worker = counting.start()
            worker.wait_for(READY)
            time.sleep(0.5 + rng.random())
            worker.kill()
    counting.finish()
    assert counting.stored() == expected
    assert counting.published() == expected


@pytest.mark.kafka
def test_counts_stay_exact_while_workers_come_and_go(counting: Counting) -> None:
    """Rebalances by a joining, a killed and a stopping worker change no count."""
    with counting.filling(chunks=25) as expected:
        first = counting.start()
        first.wait_for(READY)
        second = counting.start()
        second.wait_for(READY)
        time.sleep(1)
        first.kill()
        third = counting.start()
        third.wait_for(READY)
        assert second.terminate() == 0
        assert third.terminate() == 0
    counting.finish()
    assert counting.stored() == expected
    assert counting.published() == expected


@pytest.mark.kafka
def test_a_stop_leaves_everything_committed(counting: Counting) -> None:
    """After SIGTERM in the middle of the work the changelog holds exactly the records before the committed offsets."""
    with counting.filling(chunks=8):
        worker = counting.start()
        worker.wait_for(READY)
        deadline = time.monotonic() + 60
        while not counting.stored():
            assert time.monotonic() < deadline, "nothing is stored"
            time.sleep(0.3)
        started = time.monotonic()
        assert worker.terminate() == 0
        assert time.monotonic() - started < 10
    committed = asyncio.run(committed_offsets(counting.bootstrap, counting.app_id))
    assert sum(counting.stored().values()) == sum(committed.values()) > 0


def test_an_unknown_version_of_faust_is_refused() -> None:
    """The layer names the part and the version that it does not know."""
    installed = {name: versions[0] for name, versions in TESTED_VERSIONS.items()}
    check_versions(installed)
    with pytest.raises(ConfigError, match=r"faust-streaming 0\.99\.0 is installed"):
        check_versions({**installed, "faust-streaming": "0.99.0"})
