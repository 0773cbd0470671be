"""State per partition, in memory, written behind to one compacted changelog topic.

The rule: a value changes in memory, its key is marked dirty, and the next flush writes each dirty key once. A value
read back from the changelog stays encoded until it is first touched, and one that no flush touched for a while is
encoded again, so recovery costs no decoding and an idle key costs its stored bytes only.

Each changelog record opens with a header that this layer owns:

    format (1 byte) | generation (4 bytes) | revision (8 bytes) | payload

`revision` grows with every change of the value; recovery keeps the highest, so a paused worker that wakes up after its
partitions moved cannot put an older state over a newer one. `generation` counts the flushes of the partition. The
marker record (key MARKER_KEY) tells of the partition: its generation is the last one whose outputs were acknowledged
(after a crash, exactly the keys of later generations may lack their outputs, and they are published again), its
revision is the progress of the partition's time at the last flush of every dirty key, and its payload, JSON by topic,
the input offsets that were about to be committed: an input that ends before them was deleted and made anew.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from faust.tables.table import Table
from faust.types import TP

from agents.runtime.producer import OutRecord
from service.errors import StateError

FORMAT = 1
HEADER = struct.Struct(">BIQ")
GENERATION = slice(1, 5)
REVISION = slice(5, 13)
MARKER_KEY = b"\x00marker"
NO_GENERATION = bytes(4)


class Value(Protocol):
    """What a table holds: anything whose `revision` grows with each change."""

    revision: int


class StateHooks(Protocol):
    """What the table asks its application for; everything but `recovered` must be free of awaits and of I/O."""

    def encode(self, value: Any) -> bytes:
        """Serialise a value."""

    def decode(self, key: bytes, payload: bytes) -> Any:
        """Read a value back; raises StateError for a format it does not know."""

    def progress(self, partition: Partition) -> int:
        """Return how far the partition's time is, a number >= 0; recovery hands back that of the last whole flush."""

    def outputs(self, partition: Partition, key: bytes, value: Any) -> list[OutRecord]:
        """Make the records that may leave once this very state of the value is durable."""

    def published(self, partition: Partition, key: bytes, value: Any, outputs: list[OutRecord]) -> bool:
        """Note that the outputs of a flushed value are acknowledged; return whether that must be stored at once."""

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        """Take over a recovered partition; `unpublished` keys may lack outputs of their last flush."""

    def revoked(self, partition: Partition) -> None:
        """Let go of a partition; its values must not be touched any more."""


class Partition:
    """The values of one owned partition."""

    __slots__ = (
        "data",
        "dirty",
        "flushed",
        "generation",
        "hooks",
        "input_ends",
        "live",
        "number",
        "progress",
        "published_generation",
    )

    def __init__(self, number: int, hooks: StateHooks) -> None:
        self.number = number
        self.hooks = hooks
        self.data: dict[bytes, Any] = {}
        self.dirty: set[bytes] = set()
        self.live: set[bytes] = set()  # keys whose values are decoded
        self.flushed: set[bytes] = set()  # keys flushed since the last `idle_keys`
        self.input_ends: dict[str, int] = {}  # by topic: the offset after the last record that is in the state
        self.generation = 0
        self.published_generation = 0
        self.progress = 0

    def get(self, key: bytes) -> Any | None:
        """Return the live value of a key, decoding it at the first touch."""
        value = self.data.get(key)
        if type(value) is bytes:
            value = self.data[key] = self.hooks.decode(key, value[HEADER.size :])
            self.live.add(key)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Add or replace a value and mark it dirty."""
        self.data[key] = value
        self.live.add(key)
        self.dirty.add(key)

    def delete(self, key: bytes) -> None:
        """Remove a value; the next flush writes its tombstone."""
        self.data.pop(key, None)
        self.live.discard(key)
        self.dirty.add(key)

    def payloads(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and encoded payload of every value not yet decoded."""
        size = HEADER.size
        for key, value in self.data.items():
            if type(value) is bytes:
                yield key, value[size:]

    def idle_keys(self) -> list[bytes]:
        """List the decoded values that no flush has touched since the last call."""
        idle = list(self.live - self.flushed - self.dirty)
        self.flushed = set()
        return idle

    def encode_idle(self, keys: Iterable[bytes]) -> None:
        """Turn values that are still idle back into their stored bytes."""
        for key in keys:
            if key in self.live and key not in self.dirty and key not in self.flushed:
                value = self.data[key]
                self.data[key] = HEADER.pack(FORMAT, 0, value.revision) + self.hooks.encode(value)
                self.live.discard(key)

    # -- recovery ----------------------------------------------------------------------------------------

    def apply_changelog(self, records: Iterable[Any]) -> None:
        """Take changelog records in offset order; the highest revision of a key wins."""
        data = self.data
        for record in records:
            key, value = record.key, record.value
            if key == MARKER_KEY:
                _, self.published_generation, self.progress = HEADER.unpack_from(value)
                self.input_ends = json.loads(value[HEADER.size :] or b"{}")
            elif value is None:
                data.pop(key, None)
            elif value[0] != FORMAT:
                raise StateError(
                    f"changelog partition {self.number} offset {record.offset}: stored state has format {value[0]}, "
                    f"this version reads format {FORMAT}; run the version that wrote it, or a newer one"
                )
            else:
                known = data.get(key)
                if known is None or value[REVISION] >= known[REVISION]:
                    data[key] = value

    def finish_recovery(self) -> list[bytes]:
        """Set the generation counter; return the keys whose last outputs may be missing."""
        published = self.published_generation.to_bytes(4, "big")
        unpublished = [key for key, value in self.data.items() if value[GENERATION] > published]
        newest = max((value[GENERATION] for value in self.data.values()), default=NO_GENERATION)
        self.generation = max(int.from_bytes(newest, "big"), self.published_generation)
        return unpublished

    # -- flush -------------------------------------------------------------------------------------------

    def encode_dirty(self, topic: str, keys: list[bytes]) -> tuple[list[OutRecord], dict[bytes, list[OutRecord]]]:
        """Encode the given dirty keys as the next generation; return changelog records and outputs by key.

        State and outputs are of the same instant: nothing awaits in between. Progress is taken when every dirty key is
        among them: after a crash the other keys would be older than it.
        """
        if len(keys) == len(self.dirty):
            self.progress = self.hooks.progress(self)
        self.generation += 1
        number, hooks, generation = self.number, self.hooks, self.generation
        records: list[OutRecord] = []
        outputs: dict[bytes, list[OutRecord]] = {}
        for key in keys:
            value = self.get(key)
            if value is None:
                records.append(OutRecord(topic, number, key, None))
                continue
            stored = HEADER.pack(FORMAT, generation, value.revision) + hooks.encode(value)
            records.append(OutRecord(topic, number, key, stored))
            outputs[key] = hooks.outputs(self, key, value)
        marker = HEADER.pack(FORMAT, self.published_generation, self.progress) + json.dumps(self.input_ends).encode()
        records.append(OutRecord(topic, number, MARKER_KEY, marker))
        self.dirty.difference_update(keys)
        self.flushed.update(keys)
        return records, outputs


class PartitionedTable(Table[bytes, Any]):
    """A Faust table whose contents live in `Partition` objects, one for each owned partition."""

    def __init__(self, app: Any, *, hooks: StateHooks, **options: Any) -> None:
        super().__init__(app, **options)
        self.hooks = hooks
        self.owned: dict[int, Partition] = {}
        self.recovering: dict[int, Partition] = {}

    async def on_start(self) -> None:
        """Start nothing: Faust's store stays empty, and the changelog is made by `vitals topics apply`."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Refuse Faust's own write path: it would write one changelog record per change."""
        raise TypeError("write through the table's partitions, not through the table")

    def partition(self, number: int) -> Partition | None:
        """Return an owned and recovered partition, or None."""
        return self.owned.get(number)

    def begin_recovery(self, number: int) -> None:
        """Begin a partition anew, empty and out of everybody's reach, for recovery to fill."""
        self.recovering[number] = Partition(number, self.hooks)

    def end_recovery(self) -> None:
        """Hand every recovered partition to the application."""
        while self.recovering:
            number, partition = self.recovering.popitem()
            self.owned[number] = partition
            self.hooks.recovered(partition, partition.finish_recovery())

    def drop_partitions(self) -> None:
        """Let go of every partition: late work on one of them changes an orphan and is never flushed."""
        dropped = list(self.owned.values())
        self.owned = {}
        self.recovering = {}
        for partition in dropped:
            self.hooks.revoked(partition)

    def persisted_offset(self, tp: TP) -> None:  # noqa: ARG002 - Faust's signature
        """Return None: nothing is kept on disk, recovery reads the changelog from its start."""
        return
