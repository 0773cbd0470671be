"""Sends dead letters back to the topics that they came from, each at most once.

Idempotence is remembered in the dead-letter partition itself (docs/decisions/0012-redrive-notes.md), in chunks:

    1  a `begin` note: where each source partition ends now
    2  what others wrote meanwhile is read: who finds another run at work retires
    3  the records are published, each with a header that names its source and the run, and every one is acknowledged
    4  a `done` note: the source offsets that are settled

A `begin` without `done` is a run that died or still works. After LEASE_SECONDS without news it counts as dead, and what
it published is found by those headers, from the noted end on. A run stops publishing well before its lease is over.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.outputs import ATTEMPTS_HEADER
from service.adapters.clients import Partition, client_options
from service.adapters.cluster_facts import read_topics
from service.adapters.topic_reader import Bounds, ConsumedRecord, TopicReader, open_reader
from service.dead_letters import (
    REDRIVEN_FROM_HEADER,
    Filters,
    Letter,
    Note,
    Settled,
    SourcePlace,
    dead_letter_partitions,
    letter_of,
    note_of,
    original_headers,
)
from service.errors import DependencyError, RecordRejected
from service.ingest import Decoder
from service.topic_catalogue import TopicKind, TopicNames

ATTEMPTS_MAX: Final = 3
CHUNK_RECORDS: Final = 500
CHUNK_BYTES: Final = 4 * 1024 * 1024
LEASE_SECONDS: Final = 15.0
PUBLISH_SECONDS: Final = 8.0
# A request that waited this long is given up, so that nothing of a failed chunk is written after its lease.
REQUEST_TIMEOUT_MS: Final = 5_000
# A dead letter of the largest size that topics take, and its headers.
REQUEST_MAX_BYTES: Final = 6 * 1024 * 1024
WAIT_SECONDS: Final = 0.5

FaultPoint = Callable[[str], None]


@dataclass(slots=True)
class RedriveSummary:
    """What a redrive did, or would do, in records; `selected` are those that the filters mean, each counted once."""

    selected: int = 0
    published: int = 0
    already_redriven: int = 0
    attempts_used_up: int = 0
    refused_again: Counter[str] = field(default_factory=Counter)  # by the reason that the decoder gives now
    too_large_for_topic: int = 0
    foreign: int = 0  # from a topic that is no input of this deployment, or from another partition
    unreadable: int = 0  # not selected: records in the dead-letter topics without the headers of a dead letter

    @property
    def left(self) -> int:
        """How many of the selected were not published, now or before."""
        return self.attempts_used_up + self.refused_again.total() + self.too_large_for_topic + self.foreign


@dataclass(frozen=True, slots=True)
class RedriveOptions:
    """What is redriven and how; `lease_seconds` and `fault_point` are for tests."""

    filters: Filters
    dry_run: bool = False
    progress: Callable[[int, int], None] = lambda _done, _total: None  # records read and published, of how many
    waiting: Callable[[float], None] = lambda _seconds: None  # told once, before a run that may be dead is waited for
    lease_seconds: float = LEASE_SECONDS
    fault_point: FaultPoint = lambda _point: None


@dataclass(slots=True)
class _Chosen:
    """A dead letter to publish: its offset in the dead-letter partition, and where it came from."""

    offset: int
    value_bytes: int
    source: SourcePlace


class _Partition:
    """One dead-letter partition: what is settled, what is chosen, and how far its log is known."""

    def __init__(self, place: Partition, kind: TopicKind, bounds: Bounds) -> None:
        self.topic, self.number = place
        self.kind = kind
        self.start, self.known_end = bounds
        self.settled = Settled()
        self.chosen: dict[SourcePlace, _Chosen] = {}


async def redrive(
    bootstrap: str, names: TopicNames, options: RedriveOptions, now_ms: Callable[[], int]
) -> RedriveSummary:
    """Publish the dead letters that are meant, as they came; returns when every one is acknowledged and noted.

    Raises DependencyError when the brokers fail or another redrive is at work; what was noted stays done.
    """
    partitions = await dead_letter_partitions(bootstrap, names)
    async with open_reader(bootstrap) as reader, _open_producer(bootstrap) as producer:
        run = _Redrive(reader, producer, names, options, now_ms)
        return await run.run(bootstrap, partitions)


@asynccontextmanager
async def _open_producer(bootstrap: str) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(
        **client_options(bootstrap),
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_request_size=REQUEST_MAX_BYTES,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


class _Redrive:
    """One run over all dead-letter partitions."""

    def __init__(
        self, reader: TopicReader, producer: Any, names: TopicNames, options: RedriveOptions, now_ms: Callable[[], int]
    ) -> None:
        self._reader = reader
        self._producer = producer
        self._names = names
        self._options = options
        self._decoder = Decoder(now_ms)
        self._sources = {*names.inputs, names.rekeyed}
        self._summary = RedriveSummary()
        self._size_limits: dict[str, int] = {}
        self._done = 0
        self._total = 0

    async def run(self, bootstrap: str, counts: dict[TopicKind, int]) -> RedriveSummary:
        kinds = {
            (self._names.dead_letters(kind), number): kind for kind, count in counts.items() for number in range(count)
        }
        self._size_limits = {
            topic.name: topic.max_message_bytes for topic in await read_topics(bootstrap, self._sources)
        }
        found = await self._reader.all_bounds(kinds)
        partitions = [_Partition(place, kinds[place], bounds) for place, bounds in found.items()]
        self._total = sum(partition.known_end - partition.start for partition in partitions)
        for partition in partitions:
            await self._look_at(partition)
        await self._settle_dead_runs([partition for partition in partitions if partition.settled.open_runs])
        for partition in partitions:
            chosen = [one for source, one in partition.chosen.items() if not partition.settled.has(source)]
            self._summary.already_redriven += len(partition.chosen) - len(chosen)
            self._total += len(chosen)
            for chunk in _chunks(chosen):
                await self._publish(partition, chunk)
                self._advance(len(chunk))
        return self._summary

    # -- choosing ------------------------------------------------------------------------------------------

    async def _look_at(self, partition: _Partition) -> None:
        """Read a partition whole: notes, and which dead letters are meant and may go."""
        seen: set[SourcePlace] = set()
        refused: dict[SourcePlace, str] = {}
        async for records in self._reader.read(partition.topic, partition.number, partition.start, partition.known_end):
            for record in records:
                if (note := note_of(record)) is not None:
                    partition.settled.add(note)
                elif (letter := letter_of(record)) is None:
                    self._summary.unreadable += 1
                elif self._options.filters.take(letter) and letter.source not in seen:
                    seen.add(letter.source)
                    if (why := self._why_not(partition.kind, letter)) is not None:
                        refused[letter.source] = why
                    else:
                        chosen = _Chosen(record.offset, letter.value_bytes, letter.source)
                        partition.chosen[letter.source] = chosen
            self._advance(len(records))
        self._summary.selected += len(seen)
        for source, why in refused.items():
            if partition.settled.has(source):
                self._summary.already_redriven += 1
            elif why == "attempts":
                self._summary.attempts_used_up += 1
            elif why == "foreign":
                self._summary.foreign += 1
            else:
                self._summary.refused_again[why] += 1

    def _advance(self, records: int) -> None:
        self._done += records
        self._options.progress(self._done, self._total)

    def _why_not(self, kind: TopicKind, letter: Letter) -> str | None:
        """Say why a dead letter stays: foreign, attempts, or the reason for which it would be refused again."""
        if letter.source.topic not in self._sources or letter.source.partition != letter.record.partition:
            return "foreign"
        if letter.told.attempts >= ATTEMPTS_MAX:
            return "attempts"
        if self._options.filters.reasons:
            return None  # asked for by its reason: whoever asks may know better, and attempts are counted
        try:
            self._decoder.decode(kind, letter.record.key, letter.record.value, _redriven_headers(letter, "0" * 32))
        except RecordRejected as rejected:
            return rejected.reason
        return None

    # -- runs that did not end -----------------------------------------------------------------------------

    async def _settle_dead_runs(self, partitions: list[_Partition]) -> None:
        """Wait for runs that may still work; of those that do not end, find what they published."""
        if not partitions or self._options.dry_run:
            return
        self._options.waiting(self._options.lease_seconds)
        deadline = time.monotonic() + self._options.lease_seconds
        waited_for = {run for partition in partitions for run in partition.settled.open_runs}
        while time.monotonic() < deadline and any(partition.settled.open_runs for partition in partitions):
            await asyncio.sleep(min(WAIT_SECONDS, self._options.lease_seconds))
            for partition in partitions:
                await self._read_news(partition)
        for partition in partitions:
            for note in list(partition.settled.open_runs.values()):
                if note.run not in waited_for:
                    raise _busy(partition)
                await self._settle(partition, note)

    async def _settle(self, partition: _Partition, note: Note) -> None:
        offsets: dict[str, list[int]] = {}
        for topic, end in (note.ends or {}).items():
            now = await self._reader.bounds(topic, partition.number)
            async for records in self._reader.read(topic, partition.number, max(end, now.start), now.end):
                for record in records:
                    source = _redriven_from(record, note.run)
                    if source is not None and source.partition == partition.number:
                        offsets.setdefault(source.topic, []).append(source.offset)
        await self._note(partition, Note(note.run, offsets=offsets))

    async def _read_news(self, partition: _Partition) -> None:
        """Take the notes that were written since the partition was last read."""
        end = (await self._reader.bounds(partition.topic, partition.number)).end
        async for records in self._reader.read(partition.topic, partition.number, partition.known_end, end):
            for record in records:
                if (note := note_of(record)) is not None:
                    partition.settled.add(note)
        partition.known_end = max(partition.known_end, end)

    # -- publishing ----------------------------------------------------------------------------------------

    async def _publish(self, partition: _Partition, chosen: list[_Chosen]) -> None:
        """Publish one chunk, in the four steps of the module."""
        if self._options.dry_run:
            self._summary.published += len(chosen)
            return
        letters = await self._fetch(partition, chosen)
        topics = {letter.source.topic for letter in letters}
        ends = {topic: (await self._reader.bounds(topic, partition.number)).end for topic in sorted(topics)}
        run = uuid.uuid4().hex
        deadline = asyncio.get_running_loop().time() + PUBLISH_SECONDS
        await self._note(partition, Note(run, ends=ends))
        self._options.fault_point("begun")
        await self._read_news(partition)
        if set(partition.settled.open_runs) != {run}:
            await self._note(partition, Note(run, offsets={}))
            raise _busy(partition)
        settled_meanwhile = [letter for letter in letters if partition.settled.has(letter.source)]
        self._summary.already_redriven += len(settled_meanwhile)
        letters = [letter for letter in letters if not partition.settled.has(letter.source)]
        try:
            _refuse_late(deadline)
            async with asyncio.timeout_at(deadline):
                done = await self._send(letters, run)
        except (KafkaError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise DependencyError(
                f"the redrive of {partition.topic}/{partition.number} stopped ({reason}); run it again: it goes on "
                "where it stopped"
            ) from error
        self._options.fault_point("published")
        offsets: dict[str, list[int]] = {}
        for source in done:
            offsets.setdefault(source.topic, []).append(source.offset)
        await self._note(partition, Note(run, offsets=offsets))
        self._summary.published += len(done)
        self._summary.too_large_for_topic += len(letters) - len(done)

    async def _fetch(self, partition: _Partition, chosen: list[_Chosen]) -> list[Letter]:
        wanted = {one.offset for one in chosen}
        letters: list[Letter] = []
        async for records in self._reader.read(
            partition.topic, partition.number, chosen[0].offset, chosen[-1].offset + 1
        ):
            found = (letter_of(record) for record in records if record.offset in wanted)
            letters.extend(letter for letter in found if letter is not None)
        return letters

    async def _send(self, letters: list[Letter], run: str) -> list[SourcePlace]:
        """Send the records as they came; return those acknowledged: all but what no longer fits into its topic."""
        acks: list[tuple[list[SourcePlace], Any]] = []
        for topic, batch, sources in self._batches(letters, run):
            if batch.size() <= self._size_limits[topic]:
                acks.append((sources, await self._producer.send_batch(batch, topic, partition=sources[0].partition)))
                self._options.fault_point("sent a batch")
        done: list[SourcePlace] = []
        for sources, ack in acks:
            await ack
            done += sources
        return done

    def _batches(self, letters: list[Letter], run: str) -> Iterator[tuple[str, Any, list[SourcePlace]]]:
        """Pack records by topic, in order; one that is larger than a batch gets one to itself."""
        for topic in sorted({letter.source.topic for letter in letters}):
            batch, sources = self._producer.create_batch(), list[SourcePlace]()
            for letter in letters:
                if letter.source.topic != topic:
                    continue
                if not _append(batch, letter, run):
                    yield topic, batch, sources
                    batch, sources = self._producer.create_batch(), []
                    _append(batch, letter, run)
                sources.append(letter.source)
            yield topic, batch, sources

    async def _note(self, partition: _Partition, note: Note) -> None:
        await self._producer.send_and_wait(
            partition.topic, note.value(), partition=partition.number, headers=note.headers()
        )
        if note.offsets is not None:
            partition.settled.add(note)


def _chunks(chosen: list[_Chosen]) -> list[list[_Chosen]]:
    """Cut into chunks of a bounded number of records and bytes, in order."""
    chunks: list[list[_Chosen]] = []
    size_bytes = 0
    for one in chosen:
        if not chunks or len(chunks[-1]) >= CHUNK_RECORDS or size_bytes + one.value_bytes > CHUNK_BYTES:
            chunks.append([])
            size_bytes = 0
        chunks[-1].append(one)
        size_bytes += one.value_bytes
    return chunks


def _append(batch: Any, letter: Letter, run: str) -> bool:
    """Add a record to a batch; False when it has no room. An empty batch takes any."""
    record = letter.record
    headers = _redriven_headers(letter, run)
    return batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


def _redriven_headers(letter: Letter, run: str) -> list[tuple[str, bytes]]:
    """Return the publisher's headers, how often the record failed, and where it comes from."""
    return [
        *original_headers(letter.record.headers),
        (ATTEMPTS_HEADER, str(letter.told.attempts).encode()),
        (REDRIVEN_FROM_HEADER, f"{letter.source} {run}".encode()),
    ]


def _redriven_from(record: ConsumedRecord, run: str) -> SourcePlace | None:
    """Read where a redriven record came from; None for a record that this run did not publish."""
    told = next((text for name, text in reversed(record.headers) if name == REDRIVEN_FROM_HEADER), None) or b""
    place, _, told_run = told.decode("utf-8", "replace").partition(" ")
    return SourcePlace.parse(place) if told_run == run else None


def _refuse_late(deadline: float) -> None:
    """Publish nothing after the lease: whoever slept that long was taken for dead."""
    if asyncio.get_running_loop().time() >= deadline:
        raise TimeoutError("it took too long to begin")


def _busy(partition: _Partition) -> DependencyError:
    return DependencyError(
        f"another redrive is at work on {partition.topic}/{partition.number}: let it end, then run this one again"
    )
