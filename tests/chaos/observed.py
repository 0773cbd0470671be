"""What a run left behind: every topic read whole, the changelog compacted by hand, the group's offsets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from agents.runtime.table import EPOCH, EPOCH_BYTES, EPOCH_HEADER, HEADER, MARKER_KEYS, OWN, REVISION
from service.adapters.topic_admin import committed_offsets, end_offsets
from service.topic_catalogue import TOPIC_KINDS, TopicNames
from tests.integration.kafka_tools import read_topic


@dataclass
class Observed:
    """Raw records by topic, and where the group stands."""

    topics: TopicNames
    records: dict[str, list[Any]]
    committed: dict[tuple[str, int], int]
    ends: dict[tuple[str, int], int]

    def rekeyed_offsets(self) -> dict[str, int]:
        """Return the offset of each account's last copy in the re-keyed topic."""
        return {record.key.decode(): record.offset for record in self.records[self.topics.rekeyed]}

    def stored(self, *, as_recovered: bool) -> dict[str, bytes]:
        """Compact the changelog: as recovery does, or to the last record of a key, as brokers do.

        Recovery takes the highest epoch and revision, and nothing of an epoch below that of a marker before it.
        """
        found: dict[str, bytes] = {}
        epochs: dict[int, bytes] = {}
        for record in self.records[self.topics.changelog]:
            epoch = epochs.get(record.partition, b"")
            if record.key in MARKER_KEYS:
                told = json.loads(record.value[HEADER.size :] or b"{}")
                epochs[record.partition] = max(epoch, int(told.get("epoch", 0)).to_bytes(EPOCH_BYTES, "big"))
                continue
            if record.key[0] == OWN:
                continue
            account = record.key.decode()
            known = found.get(account)
            if record.value is None:
                if not as_recovered or dict(record.headers).get(EPOCH_HEADER, epoch) >= epoch:
                    found.pop(account, None)
            elif as_recovered and record.value[EPOCH] < epoch:
                continue
            elif not as_recovered or known is None or record.value[REVISION] >= known[REVISION]:
                found[account] = record.value
        return found

    def last_scores(self) -> dict[str, bytes]:
        """Return the last score of every account that none was taken back of since."""
        last = {record.key.decode(): record.value for record in self.records[self.topics.scores]}
        return {account: value for account, value in last.items() if value is not None}

    def stale_writes(self) -> int:
        """Count the changelog records of former owners after those of a later one, and older states after newer."""
        newest: dict[bytes, bytes] = {}
        owners: dict[int, bytes] = {}
        stale = 0
        for record in self.records[self.topics.changelog]:
            if record.key in MARKER_KEYS or record.value is None:
                continue
            owner = owners.get(record.partition, b"")
            stale += record.value[EPOCH] < owner or record.value[REVISION] < newest.get(record.key, b"")
            owners[record.partition] = max(owner, record.value[EPOCH])
            newest[record.key] = max(newest.get(record.key, b""), record.value[REVISION])
        return stale

    def payloads(self) -> dict[str, bytes]:
        """Return every account's stored state without the table's header."""
        return {account: value[HEADER.size :] for account, value in self.stored(as_recovered=True).items()}


def observe(bootstrap: str, topics: TopicNames, group: str) -> Observed:
    """Read everything that a deployment has; nothing may be written meanwhile."""
    inputs = [*topics.inputs, topics.rekeyed]
    letters = [topics.dead_letters(kind) for kind in TOPIC_KINDS]
    names = [*inputs, *letters, topics.alerts, topics.audit, topics.scores, topics.changelog]
    records = {name: read_topic(bootstrap, name) for name in names}
    committed = asyncio.run(committed_offsets(bootstrap, group))
    return Observed(topics, records, committed, asyncio.run(end_offsets(bootstrap, inputs)))
