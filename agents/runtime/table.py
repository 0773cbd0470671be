"""State per partition, in memory, written behind to one compacted changelog topic.

The rule: a value changes in memory, its key is marked dirty, and the next flush writes each dirty key once. A value
read back from the changelog stays encoded until it is first touched, and one that no flush touched for a while is
encoded again, so recovery costs no decoding and an idle key costs its stored bytes only.

Each changelog record opens with a header that this layer owns:

    format (1 byte) | generation (4 bytes) | epoch (3 bytes) and revision (5 bytes) | payload

`epoch` grows with every owner that the partition has, and `revision` with every change of the value; recovery keeps the
highest of both, in this order, so a paused worker that wakes up after its partitions moved cannot put its state over
that of the next owner, however many changes it had made. What it wrote all the same is written anew by recovery, before
compaction could keep it. The owner notices such writes: it is alone, so each of its records must come where its last
one ended (`own_ends`). When one does not, it stops, and the recovery of its restart sees to the rest.

`generation` counts the flushes of the partition. The marker record (key MARKER_KEY) tells of the partition: its
generation is the last one whose outputs were acknowledged (after a crash, exactly the keys of later generations may
lack their outputs, and they are published again), its number of 8 bytes is the progress of the partition's time at the
last commit, and its payload, JSON, has its writer's epoch and by topic the input offsets that were about to be
committed: an input that ends before them was deleted and made anew. Beside them are the application's clock and
its notes on each input, and where the views ended: recovery publishes those again that were written after that.

A release that cannot read a partition must not write one either, so whatever changes the meaning of a stored byte has
a `FORMAT` of its own, and the marker too is a record that older releases refuse.

Outputs are of two kinds. An alert leaves with the flush that stores its state. A view, the record that shows what a
value is now, may wait: only the last one counts, and making one costs more than storing the state. A key is `outdated`
while its published view is, and `late` as soon as the state is stored; the marker stays behind the oldest late key.

A value may end for good (`bury`). Its record, a value under a key of the application's own that begins with NUL, is
written first, then the tombstone, then whatever is new under the old key: so what is found behind a record is newer.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from math import inf
from typing import Any

from faust.tables.table import Table
from faust.types import TP

from agents.runtime.foreign_writes import refuse_foreign
from agents.runtime.hooks import StateHooks, Value
from agents.runtime.producer import Ack, OutRecord
from service.errors import StateError

FORMAT = 2
READ_FORMATS = frozenset((1, FORMAT))  # 1: no epoch, or one in front of the revision as now; see `_told_by`
HEADER = struct.Struct(">BIQ")
GENERATION = slice(1, 5)
REVISION = slice(5, 13)  # with the epoch in front
EPOCH = slice(5, 8)
EPOCH_BYTES = 3
EPOCH_SHIFT = 40
MARKER_KEY = b"\x00marker2"  # of its own for format 2: to a release that reads 1 only it is a state of format 2
MARKER_KEYS = frozenset((b"\x00marker", MARKER_KEY))
OWN = 0  # the first byte of keys that no value of an input has
# A tombstone has no value, so who wrote it stands in a header.
EPOCH_HEADER = "epoch"
NO_GENERATION = bytes(4)
# Late keys that one commit looks at: more than any commit has the time to make views for.
LATE_KEYS_MAX = 10_000


class ViewBudget:
    """How long a flush may spend on making views; what is not made stays outdated and comes with a later one."""

    __slots__ = ("seconds_left",)

    def __init__(self, seconds: float = inf) -> None:
        self.seconds_left = seconds


class Partition:
    """The values of one owned partition; `lock` serialises its flushes."""

    __slots__ = (
        "buried",
        "clock",
        "data",
        "dirty",
        "epoch",
        "flushed",
        "generation",
        "hooks",
        "input_ends",
        "late",
        "live",
        "lock",
        "marked",
        "marker_epoch",
        "notes",
        "number",
        "outdated",
        "own_ends",
        "progress",
        "published_generation",
        "stale",
        "views_end",
    )

    def __init__(self, number: int, hooks: StateHooks, epoch: int = 0) -> None:
        """Begin empty; `epoch` is one that no owner before can have had, as far as the caller knows."""
        self.number = number
        self.hooks = hooks
        self.epoch = epoch
        self.marker_epoch = bytes(EPOCH_BYTES)
        self.stale: set[bytes] = set()  # keys whose last record is one of an owner before the marker's
        self.data: dict[bytes, Any] = {}
        self.dirty: set[bytes] = set()
        self.buried: dict[bytes, bytes | None] = {}  # by record to be written: the key whose tombstone comes next
        self.live: set[bytes] = set()  # keys whose values are decoded
        self.flushed: set[bytes] = set()  # keys flushed since the last `idle_keys`
        self.outdated: set[bytes] = set()  # keys whose published view is out of date
        self.late: dict[bytes, int] = {}  # outdated keys that are stored, oldest first, by generation
        self.lock = asyncio.Lock()
        self.input_ends: dict[str, int] = {}  # by topic: the offset after the last record that is in the state
        self.notes: dict[str, list[int]] = {}  # the application's own, by input topic, kept in the marker
        self.clock: str | None = None  # which time the values follow; the application's own, kept in the marker
        self.marked: dict[str, Any] | None = None  # what the marker in the changelog tells; None when there is none
        self.own_ends: dict[str, int] = {}  # by topic that only the owner writes: the offset after its last record
        self.views_end: int | None = None  # where the marker says that the views ended
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
        self.outdated.discard(key)
        self.late.pop(key, None)
        self.dirty.add(key)

    def bury(self, key: bytes, record_key: bytes, record: Value) -> None:
        """Remove a value for good; the next flush, of whatever keys, begins with the record and the tombstone."""
        self.delete(key)
        self.dirty.discard(key)
        self.put(record_key, record)
        self.buried[record_key] = key

    def bury_again(self, key: bytes, record_key: bytes, record: Value) -> None:
        """Begin the next flush with a recovered record; a value under the key is newer than the tombstone."""
        if key not in self.data:
            self.bury(key, record_key, record)
        else:
            self.put(record_key, record)
            self.buried[record_key] = None

    def payloads(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and encoded payload of every value not yet decoded."""
        size = HEADER.size
        for key, value in self.data.items():
            if type(value) is bytes:
                yield key, value[size:]

    def idle_keys(self) -> list[bytes]:
        """List the decoded values that no flush has touched since the last call, and whose view is published."""
        idle = list(self.live - self.flushed - self.dirty - self.outdated)
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
        """Take changelog records in offset order; the highest epoch and revision of a key wins."""
        data, stale = self.data, self.stale
        for record in records:
            key, value = record.key, record.value
            if value is None:
                self._apply_tombstone(record)
            elif value[0] not in READ_FORMATS:
                raise StateError(
                    f"changelog partition {self.number} offset {record.offset}: stored state has format {value[0]}, "
                    f"this version reads formats 1 to {FORMAT}; run the version that wrote it, or a newer one"
                )
            elif key in MARKER_KEYS:
                self._apply_marker(value)
            else:
                if value[EPOCH] < self.marker_epoch:
                    stale.add(key)  # a zombie's: the owner since then has read the events again that made it
                    continue
                known = data.get(key)
                if known is None or value[REVISION] >= known[REVISION]:
                    data[key] = value
                if stale:
                    stale.discard(key)
                if key[0] == OWN:
                    ended = self.hooks.ends(key, data[key][HEADER.size :])
                    if ended is not None:
                        data.pop(ended, None)

    def _apply_tombstone(self, record: Any) -> None:
        key = record.key
        if dict(record.headers).get(EPOCH_HEADER, self.marker_epoch) < self.marker_epoch:
            self.stale.add(key)  # a zombie's, as with states
            return
        self.data.pop(key, None)
        self.stale.discard(key)

    def _apply_marker(self, value: bytes) -> None:
        told = _told_by(value)
        epoch = int(told.get("epoch", 0)).to_bytes(EPOCH_BYTES, "big")
        _, generation, progress = HEADER.unpack_from(value)
        if epoch < self.marker_epoch:
            self.marked = {}  # a zombie's is the last one now: a true one must be written
            return
        self.marker_epoch = epoch
        self.published_generation, self.progress = generation, progress
        self.input_ends, self.notes = told.get("input_ends", {}), told.get("notes", {})
        self.views_end, self.clock = told.get("views_end"), told.get("clock")
        self.marked = self._told()

    def finish_recovery(self, doubtful: Collection[bytes] = ()) -> list[bytes]:
        """Set epoch and generation counter; return the keys whose last outputs, or newest states, may be missing.

        `doubtful` are the keys whose last view may be somebody else's. All are late until their outputs are made: a
        flush of other keys must not move the marker past them.
        """
        published = self.published_generation.to_bytes(4, "big")
        again = self.stale.union(doubtful)
        # Of a state whose owner came to no marker no output was published, whatever a zombie's marker counts.
        again = again.union(key for key, value in self.data.items() if value[EPOCH] > self.marker_epoch)
        unpublished = [key for key, value in self.data.items() if value[GENERATION] > published or key in again]
        self.dirty.update(again - self.data.keys())  # they have no value, and somebody else's may be their last record
        unpublished.sort(key=lambda key: self.data[key][GENERATION])
        self.late = {key: int.from_bytes(self.data[key][GENERATION], "big") for key in unpublished}
        last_epoch = max((value[EPOCH] for value in self.data.values()), default=self.marker_epoch)
        self.epoch = max(self.epoch, int.from_bytes(max(last_epoch, self.marker_epoch), "big") + 1)
        newest = max((value[GENERATION] for value in self.data.values()), default=NO_GENERATION)
        self.generation = max(int.from_bytes(newest, "big"), self.published_generation)
        return unpublished

    def needs_marker(self) -> bool:
        """Return whether a marker must be written though no key is dirty, as it does not tell what is true now."""
        return bool(self.input_ends or self.notes) and self.marked != self._told()

    def _told(self) -> dict[str, Any]:
        notes = {topic: list(told) for topic, told in self.notes.items()}
        more = {"notes": notes, "clock": self.clock}
        return {"input_ends": dict(self.input_ends), **{name: told for name, told in more.items() if told}}

    # -- flush -------------------------------------------------------------------------------------------

    def begin_commit(self) -> tuple[list[bytes], int]:
        """Return the keys that the commit must store or may publish, and the partition's progress right now."""
        keys = dict.fromkeys((*islice(self.late, LATE_KEYS_MAX), *self.dirty))
        return list(keys), self.hooks.progress(self)

    def encode_dirty(
        self, topic: str, keys: Iterable[bytes], budget: ViewBudget, progress: int | None = None
    ) -> tuple[list[OutRecord], dict[bytes, list[OutRecord]]]:
        """Encode those of the keys that are dirty as the next generation; return changelog records and outputs by key.

        A key's state and outputs are of the same instant: nothing awaits in between. `progress` is given with the last
        keys of a commit, once every key that was dirty at its begin is written or among these: after a crash a key that
        is not would be older than the partition's time.
        """
        if progress is not None:
            self.progress = progress
        self.generation += 1
        number, hooks, generation, dirty, outdated = self.number, self.hooks, self.generation, self.dirty, self.outdated
        epoch_bits = self.epoch << EPOCH_SHIFT
        records: list[OutRecord] = []
        outputs: dict[bytes, list[OutRecord]] = {}
        buried = self.buried
        for key in (*buried, *keys) if buried else keys:
            value = self.get(key)
            made: list[OutRecord] = []
            if key in dirty:
                dirty.discard(key)
                self.flushed.add(key)
                if value is None:
                    records.append(self._tombstone(topic, key))
                    if key[0] != OWN:
                        outputs[key] = [OutRecord(hooks.views_topic, number, key, None)]
                    continue
                stored = HEADER.pack(FORMAT, generation, epoch_bits | value.revision) + hooks.encode(value)
                records.append(OutRecord(topic, number, key, stored))
                if buried and (ended := buried.pop(key, None)) is not None:
                    records.append(self._tombstone(topic, ended))
                made = hooks.outputs(self, key, value)
            if key in outdated:
                if budget.seconds_left > 0:
                    begin = time.perf_counter()
                    made.append(hooks.view(self, key, value))
                    budget.seconds_left -= time.perf_counter() - begin
                    outdated.discard(key)
                    self.late.pop(key, None)
                else:
                    self.late.setdefault(key, generation)
            else:
                self.late.pop(key, None)
            if made:
                outputs[key] = made
        self.marked = self._told()
        views_end = self.own_ends.get(self.hooks.views_topic)
        told = json.dumps({"epoch": self.epoch, "views_end": views_end, **self.marked}).encode()
        marker = HEADER.pack(FORMAT, self.published_generation, self.progress) + told
        records.append(OutRecord(topic, number, MARKER_KEY, marker))
        return records, outputs

    def _tombstone(self, topic: str, key: bytes) -> OutRecord:
        epoch = self.epoch.to_bytes(EPOCH_BYTES, "big")
        return OutRecord(topic, self.number, key, None, ((EPOCH_HEADER, epoch),))

    def note_written(self, acks: Iterable[Ack]) -> None:
        """Note where records came to stand; raises ForeignWriteError when somebody else wrote in between."""
        for topic, offset, records in acks:
            if topic in self.own_ends:
                refuse_foreign(topic, self.number, self.own_ends[topic], offset)
                self.own_ends[topic] = offset + records

    def note_published(self) -> None:
        """Move the marker: every output made so far is acknowledged."""
        self.published_generation = next(iter(self.late.values()), self.generation + 1) - 1


def _told_by(marker: bytes) -> dict[str, Any]:
    """Read what a marker tells; those of format 1 told nothing at first, then input ends alone."""
    told: dict[str, Any] = json.loads(marker[HEADER.size :] or b"{}")
    return told if marker[0] == FORMAT or "epoch" in told else {"input_ends": told}


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

    def begin_recovery(self, number: int, epoch: int) -> None:
        """Begin a partition anew, empty and out of everybody's reach, for recovery to fill."""
        self.recovering[number] = Partition(number, self.hooks, epoch)

    def end_recovery(self, doubtful: Mapping[int, Collection[bytes]]) -> None:
        """Hand every recovered partition to the application; for `doubtful` see `Partition.finish_recovery`."""
        while self.recovering:
            number, partition = self.recovering.popitem()
            self.owned[number] = partition
            self.hooks.recovered(partition, partition.finish_recovery(doubtful.get(number, ())))

    def drop_partitions(self) -> None:
        """Let go of every partition: late work on one of them changes an orphan and is never flushed."""
        dropped = list(self.owned.values())
        self.owned, self.recovering = {}, {}
        for partition in dropped:
            self.hooks.revoked(partition)

    def persisted_offset(self, tp: TP) -> None:  # noqa: ARG002 - Faust's signature
        """Return None: nothing is kept on disk, recovery reads the changelog from its start."""
        return
