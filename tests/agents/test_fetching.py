"""Taking fetched records in whole batches gives what aiokafka gives record by record."""

from __future__ import annotations

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime.fetching import unpack

TP = TopicPartition("t", 3)
VALUES = st.one_of(st.none(), st.binary(max_size=8))
RECORDS = st.tuples(VALUES, VALUES, st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=2))
IS_CONTROL = 0x20


def batch_bytes(base_offset: int, kept: dict[int, tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> bytes:
    """Build one batch as a broker stores it, with the records that compaction left at their places."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, 7, 0, 0, 1 << 20)
    for place, (key, value, headers) in kept.items():
        assert builder.append(place, 1_000 + place, key, value, headers) is not None
    return base_offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def fetched(blob: bytes, position: int, isolation: int = READ_UNCOMMITTED) -> PartitionRecords:
    return PartitionRecords(TP, MemoryRecords(blob), [], position, None, None, True, isolation)


@given(
    st.lists(st.dictionaries(st.integers(0, 5), RECORDS, min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_the_same_records_and_position(
    batches: list[dict[int, tuple[bytes, bytes, list[tuple[str, bytes]]]]], skip: int
) -> None:
    """From any position in batches with gaps: the same offsets, contents and next position."""
    blob = b"".join(batch_bytes(100 + 10 * number, dict(sorted(kept.items()))) for number, kept in enumerate(batches))
    one_by_one, at_once = fetched(blob, 100 + skip), fetched(blob, 100 + skip)
    expected = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in one_by_one]
    found = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in unpack(TP, at_once)]
    assert found == expected
    assert at_once.next_fetch_offset == one_by_one.next_fetch_offset


def test_a_control_batch_is_passed_over() -> None:
    """The marker of a transaction's end is no record, but the position goes behind it."""
    control = bytearray(batch_bytes(101, {0: (b"\0\0\0\1", b"\0\0\0\0\0\0", [])}))
    control[22] |= IS_CONTROL
    blob = batch_bytes(100, {0: (b"a", b"b", [])}) + with_checksum(bytes(control))
    at_once = fetched(blob, 100)
    assert [record.offset for record in unpack(TP, at_once)] == [100]
    assert at_once.next_fetch_offset == 102


def test_a_damaged_batch_is_refused() -> None:
    """A batch whose bytes do not fit its checksum is an error."""
    blob = batch_bytes(100, {0: (b"a", b"value", [])}).replace(b"value", b"valuE")
    with pytest.raises(CorruptRecordException):
        unpack(TP, fetched(blob, 100))


def test_transactions_are_not_understood() -> None:
    """A consumer that must leave out aborted records is refused, instead of being given them."""
    with pytest.raises(NotImplementedError):
        unpack(TP, fetched(batch_bytes(100, {0: (b"a", b"b", [])}), 100, READ_COMMITTED))


def with_checksum(batch: bytes) -> bytes:
    """Write the checksum of a changed batch."""
    checksum: int = calc_crc32c(batch[21:])
    return batch[:17] + checksum.to_bytes(4, "big") + batch[21:]
