"""What a run left behind: every topic read whole, the changelog compacted by hand, the group's offsets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from agents.runtime.table import HEADER, MARKER_KEY, REVISION
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

    def stored(self, *, by_revision: bool) -> dict[str, bytes]:
        """Compact the changelog: the highest revision of a key, as recovery does, or its last record, as brokers do."""
        found: dict[str, bytes] = {}
        for record in self.records[self.topics.changelog]:
            if record.key == MARKER_KEY:
                continue
            account = record.key.decode()
            known = found.get(account)
            if record.value is None:
                found.pop(account, None)
            elif not by_revision or known is None or record.value[REVISION] >= known[REVISION]:
                found[account] = record.value
        return found

    def stale_writes(self) -> int:
        """Count the changelog records that are older than one before them: what zombies wrote."""
        newest: dict[bytes, bytes] = {}
        stale = 0
        for record in self.records[self.topics.changelog]:
            if record.key == MARKER_KEY or record.value is None:
                continue
            stale += record.value[REVISION] < newest.get(record.key, b"")
            newest[record.key] = max(newest.get(record.key, b""), record.value[REVISION])
        return stale

    def payloads(self) -> dict[str, bytes]:
        """Return every account's stored state without the table's header."""
        return {account: value[HEADER.size :] for account, value in self.stored(by_revision=True).items()}


def observe(bootstrap: str, topics: TopicNames, group: str) -> Observed:
    """Read everything that a deployment has; nothing may be written meanwhile."""
    inputs = [*topics.inputs, topics.rekeyed]
    letters = [topics.dead_letters(kind) for kind in TOPIC_KINDS]
    names = [*inputs, *letters, topics.alerts, topics.scores, topics.changelog]
    records = {name: read_topic(bootstrap, name) for name in names}
    committed = asyncio.run(committed_offsets(bootstrap, group))
    return Observed(topics, records, committed, asyncio.run(end_offsets(bootstrap, inputs)))
