"""What stands in the dead-letter topics: records set aside, and the notes of `vitals dlq redrive` between them.

Reading only. A dead letter is known by its source place: after a crash of the worker the same record may have been set
aside twice. A note is a record with one header, `vitals.redrive`; a dead letter has more, and whatever its publisher
sent, it ends with those that the worker added.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from schemas.outputs import ATTEMPTS_HEADER, DEAD_LETTER_PREFIX, DeadLetter
from schemas.times import time_text
from service.adapters.clients import Partition
from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import Bounds, ConsumedRecord, Headers, TopicReader
from service.errors import UsageError
from service.topic_catalogue import TOPIC_KINDS, TopicKind, TopicNames

NOTE_HEADER: Final = "vitals.redrive"
REDRIVEN_FROM_HEADER: Final = DEAD_LETTER_PREFIX + "redriven_from"
ADDED_HEADERS: Final = frozenset(
    DEAD_LETTER_PREFIX + (of.alias or name) for name, of in DeadLetter.model_fields.items()
)

# What lets a refused record pass later; nothing does for the other reasons.
_PASSES: Final[dict[str, str]] = {
    "future_time": "once the time has come",
    "unknown_type": "after the worker's upgrade",
    "unknown_version": "after the worker's upgrade",
}


def cure_of(reason: str) -> str:
    """Say what to do about records that were refused for a reason."""
    when = _PASSES.get(reason)
    return f"passes {when}" if when else "mend the publisher"


class SourcePlace(NamedTuple):
    """Where a record stood that was set aside."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> SourcePlace:
        """Read `topic/partition/offset`; raises UsageError."""
        topic, _, numbers = text.partition("/")
        partition, _, offset = numbers.partition("/")
        if not topic or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in (partition, offset)):
            raise UsageError(f"{text}: expected TOPIC/PARTITION/OFFSET, as `vitals dlq list --records` shows it")
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the record as it stands, and what its headers tell."""

    record: ConsumedRecord
    told: DeadLetter

    @property
    def source(self) -> SourcePlace:
        """Where its record came from."""
        return SourcePlace(self.told.topic, self.told.partition, self.told.offset)

    @property
    def value_bytes(self) -> int:
        """How large its value is."""
        return len(self.record.value or b"")

    def as_json(self) -> dict[str, Any]:
        """Return all but payload and headers, ready for JSON."""
        told, record = self.told, self.record
        return {
            "reason": told.reason,
            "detail": told.detail,
            "topic": told.topic,
            "partition": told.partition,
            "offset": told.offset,
            "failed_at": time_text(told.failed_at_ms),
            "app_version": told.app_version,
            "attempts": told.attempts,
            "dead_letter": f"{record.topic}/{record.partition}/{record.offset}",
            "key": key_text(record.key),
            "size": self.value_bytes,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """What a redrive wrote beside the dead letters: `ends` when it begins a chunk, `offsets` when the chunk is done.

    Both by source topic: the end of the partition before anything was published, and the source offsets settled.
    """

    run: str
    ends: dict[str, int] | None = None
    offsets: dict[str, list[int]] | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the one header of a note."""
        return [(NOTE_HEADER, b"begin" if self.offsets is None else b"done")]

    def value(self) -> bytes:
        """Write the record's value."""
        told = {"run": self.run, "ends": self.ends, "offsets": self.offsets}
        return orjson.dumps({name: part for name, part in told.items() if part is not None})


@dataclass(frozen=True, slots=True)
class Filters:
    """Which dead letters are meant; an empty or missing filter means all."""

    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def take(self, letter: Letter) -> bool:
        """Tell whether a dead letter is meant."""
        told = letter.told
        return (
            (not self.reasons or told.reason in self.reasons)
            and (not self.topics or told.topic in self.topics)
            and (self.since_ms is None or told.failed_at_ms >= self.since_ms)
            and (self.until_ms is None or told.failed_at_ms < self.until_ms)
        )


@dataclass(slots=True)
class Settled:
    """What the notes of a partition say: source offsets by topic that are done, and runs that began and did not end."""

    offsets: dict[str, set[int]] = field(default_factory=dict)
    open_runs: dict[str, Note] = field(default_factory=dict)

    def add(self, note: Note) -> None:
        """Take the next note in offset order."""
        if note.offsets is None:
            self.open_runs[note.run] = note
            return
        self.open_runs.pop(note.run, None)
        for topic, offsets in note.offsets.items():
            self.offsets.setdefault(topic, set()).update(offsets)

    def has(self, source: SourcePlace) -> bool:
        """Tell whether a source record was published again."""
        return source.offset in self.offsets.get(source.topic, ())


def note_of(record: ConsumedRecord) -> Note | None:
    """Read a note; None for any other record."""
    if len(record.headers) != 1 or record.headers[0][0] != NOTE_HEADER:
        return None
    try:
        told = orjson.loads(record.value or b"")
        return Note(str(told["run"]), _checked(told.get("ends"), int), _checked(told.get("offsets"), list))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(told: Any, kind: type) -> Any:
    if told is not None and not all(isinstance(part, kind) for part in told.values()):
        raise ValueError("no note of a redrive")
    return told


def letter_of(record: ConsumedRecord) -> Letter | None:
    """Read a dead letter; None for a record whose headers are not those of one."""
    try:
        return Letter(record, DeadLetter.from_headers(record.headers))
    except ValueError:
        return None


def original_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """Return the headers that the publisher sent: without those of the worker, at the end, and of a redrive."""
    kept = list(headers)
    added = set(ADDED_HEADERS)
    while kept and kept[-1][0] in added:
        added.remove(kept.pop()[0])
    return [header for header in kept if header[0] not in {ATTEMPTS_HEADER, REDRIVEN_FROM_HEADER}]


def payload_json(record: ConsumedRecord) -> dict[str, Any]:
    """Return a record's value, ready for JSON."""
    return {"value_base64": base64.b64encode(record.value or b"").decode()}


def record_json(record: ConsumedRecord) -> dict[str, Any]:
    """Return a record that was not set aside without payload and headers, ready for JSON."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "dead_letter": None,
        "key": key_text(record.key),
        "size": len(record.value or b""),
    }


def key_text(key: bytes | None) -> str:
    """Put a key into words; not yet safe for a terminal."""
    return (key or b"").decode("utf-8", "backslashreplace")


async def dead_letter_partitions(bootstrap: str, names: TopicNames) -> dict[TopicKind, int]:
    """Return the partition count of each kind's dead-letter topic; raises DependencyError when one is missing."""
    counts = await existing_partitions(bootstrap, [names.dead_letters(kind) for kind in TOPIC_KINDS])
    return {kind: counts[names.dead_letters(kind)] for kind in TOPIC_KINDS}


def source_topics(names: TopicNames, given: Sequence[str]) -> frozenset[str]:
    """Check the source topics of a filter; raises UsageError that names the ones there are."""
    known = [*names.inputs, names.rekeyed]
    wanted = frozenset(topic.removesuffix(".dlq") for topic in given)
    if unknown := sorted(wanted - set(known)):
        raise UsageError(f"--topic {unknown[0]}: no input topic; the inputs are {', '.join(known)}")
    return wanted


@dataclass(slots=True)
class Counted:
    """Dead letters of one reason and source topic."""

    reason: str
    topic: str
    records: int = 0
    redriven: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def open(self) -> int:
        """How many were not sent back."""
        return self.records - self.redriven


@dataclass(slots=True)
class Listing:
    """What a look at all dead letters found; `letters` only when they were asked for."""

    counts: dict[tuple[str, str], Counted] = field(default_factory=dict)
    letters: list[tuple[dict[str, Any], bool]] = field(default_factory=list)
    unreadable: int = 0


async def list_letters(
    reader: TopicReader, names: TopicNames, partitions: dict[TopicKind, int], filters: Filters, *, with_records: bool
) -> Listing:
    """Look at all dead letters that are meant; the ones set aside twice count once."""
    listing = Listing()
    places = [(names.dead_letters(kind), number) for kind, count in partitions.items() for number in range(count)]
    for place, bounds in (await reader.all_bounds(places)).items():
        await _list_partition(reader, place, bounds, filters, listing, with_records=with_records)
    listing.letters.sort(key=lambda entry: entry[0]["failed_at"])
    return listing


async def _list_partition(
    reader: TopicReader, place: Partition, bounds: Bounds, filters: Filters, listing: Listing, *, with_records: bool
) -> None:
    settled = Settled()
    found: dict[SourcePlace, tuple[str, int, dict[str, Any] | None]] = {}
    async for record in read_partition(reader, place, bounds, filters.since_ms):
        if (note := note_of(record)) is not None:
            settled.add(note)
        elif (letter := letter_of(record)) is None:
            listing.unreadable += 1
        elif filters.take(letter):
            shown = letter.as_json() if with_records else None
            found.setdefault(letter.source, (letter.told.reason, letter.told.failed_at_ms, shown))
    for source, (reason, failed_at_ms, shown) in found.items():
        counted = listing.counts.setdefault((reason, source.topic), Counted(reason, source.topic))
        counted.records += 1
        counted.redriven += settled.has(source)
        counted.first_ms = min(counted.first_ms or failed_at_ms, failed_at_ms)
        counted.last_ms = max(counted.last_ms, failed_at_ms)
        if shown is not None:
            listing.letters.append((shown, settled.has(source)))


async def read_partition(
    reader: TopicReader, place: Partition, bounds: Bounds, since_ms: int | None = None
) -> AsyncGenerator[ConsumedRecord, None]:
    """Yield every record of a partition, or only those written since a time."""
    start, end = bounds
    if since_ms is not None and start < end:
        # The broker's clock wrote it, ours decides: an hour between them loses no dead letter.
        found = await reader.offset_since(*place, max(0, since_ms - 3_600_000))
        start = end if found is None else max(start, found)
    async for records in reader.read(*place, start, end):
        for record in records:
            yield record


async def find_letter(
    reader: TopicReader, names: TopicNames, partitions: dict[TopicKind, int], place: SourcePlace
) -> Letter | None:
    """Find a dead letter by the place of its source record, or by its own place in a dead-letter topic."""
    own_kinds = {names.dead_letters(kind): kind for kind in TOPIC_KINDS}
    if place.topic in own_kinds:
        record = await _record_at(reader, place, partitions[own_kinds[place.topic]])
        return None if record is None else letter_of(record)
    if place.topic not in (known := [*names.inputs, names.rekeyed]):
        raise UsageError(f"{place}: {place.topic} is no input topic; the inputs are {', '.join(known)}")
    kinds = [names.inputs[place.topic]] if place.topic in names.inputs else list(TOPIC_KINDS)
    for kind in kinds:
        if place.partition >= partitions[kind]:
            continue
        at = (names.dead_letters(kind), place.partition)
        async for record in read_partition(reader, at, await reader.bounds(*at)):
            letter = letter_of(record)
            if letter is not None and letter.source == place:
                return letter
    return None


async def find_input_record(
    reader: TopicReader, names: TopicNames, partitions: dict[TopicKind, int], place: SourcePlace
) -> ConsumedRecord | None:
    """Read the record at a place of an input topic, also one that was not set aside; None when there is none."""
    if place.topic not in {*names.inputs, names.rekeyed}:
        return None
    return await _record_at(reader, place, max(partitions.values()))


async def _record_at(reader: TopicReader, place: SourcePlace, partitions: int) -> ConsumedRecord | None:
    if place.partition >= partitions:
        return None
    start, end = await reader.bounds(place.topic, place.partition)
    if not start <= place.offset < end:
        return None
    async for records in reader.read(place.topic, place.partition, place.offset, place.offset + 1):
        return records[0] if records and records[0].offset == place.offset else None
    return None
