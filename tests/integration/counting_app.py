"""The smallest application on the runtime layer: counts the records of each key; tests run it as a process.

Run as `python -m tests.integration.counting_app BOOTSTRAP APP_ID TOPIC CHANGELOG OUTPUT`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import dataclass, field
from typing import Any

from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.batch import RecordBatch
from agents.runtime.producer import OutRecord
from agents.runtime.runner import run_app
from agents.runtime.table import Partition


@dataclass(slots=True)
class Count:
    """How many records of a key were applied, and the offset of the last one."""

    revision: int = 0
    total: int = 0
    applied_offset: int = -1
    published: int = field(default=0)


class CountingHooks:
    """State hooks of the counting application: every hundredth count of a key goes to the output topic."""

    def __init__(self, output: str) -> None:
        self.views_topic = output

    def encode(self, value: Any) -> bytes:
        """Encode as JSON."""
        return json.dumps([value.revision, value.total, value.applied_offset]).encode()

    def decode(self, key: bytes, payload: bytes) -> Count:
        """Decode from JSON."""
        return Count(*json.loads(payload))

    def progress(self, partition: Partition) -> int:
        """Nothing moves with time."""
        return 0

    def ends(self, key: bytes, payload: bytes) -> bytes | None:
        """Nothing is ever ended."""
        return None

    def outputs(self, partition: Partition, key: bytes, value: Any) -> list[OutRecord]:
        """Nothing that could not wait."""
        return []

    def view(self, partition: Partition, key: bytes, value: Any) -> OutRecord:
        """Publish the total."""
        return OutRecord(self.views_topic, partition.number, key, str(value.total).encode())

    def published(self, partition: Partition, key: bytes, value: Any, outputs: list[OutRecord]) -> bool:
        """Nothing to note."""
        return False

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        """Publish again what may be missing."""
        partition.dirty.update(unpublished)
        partition.outdated.update(unpublished)

    def revoked(self, partition: Partition) -> None:
        """Nothing to let go of."""


def build(bootstrap: str, app_id: str, topic: str, changelog: str, output: str) -> RuntimeApp:
    """Build the counting app."""
    app = RuntimeApp(
        RuntimeOptions(
            app_id=app_id,
            bootstrap=bootstrap,
            changelog_topic=changelog,
            commit_interval_seconds=0.2,
            batch_max_records=500,
            session_timeout_seconds=6.0,
        ),
        CountingHooks(output),
    )

    async def count(batch: RecordBatch) -> None:
        partition = batch.state
        if app.state_table.partition(batch.tp.partition) is not partition:
            return
        for record in batch.records:
            value = partition.get(record.key) or Count()
            if record.offset > value.applied_offset:
                value.revision += 1
                value.total += 1
                value.applied_offset = record.offset
                partition.put(record.key, value)
                partition.outdated.add(record.key)
        batch.ack()

    app.add_batch_agent(topic, "count", count)
    return app


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr)
    sys.exit(asyncio.run(run_app(lambda: build(*sys.argv[1:]))))
