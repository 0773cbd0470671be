"""Taking fetched records in whole batches gives what aiokafka gives record by record, and bounded amounts of it."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka import codec
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime import decompression
from agents.runtime.decompression import BATCH_MAX_BYTES
from agents.runtime.fetching import RECORD_MAX_BYTES, TAKEN_MAX_RECORDS, is_read, unpack
from service.errors import BatchError

TP = TopicPartition("t", 3)
VALUES = st.one_of(st.none(), st.binary(max_size=8))
RECORDS = st.tuples(VALUES, VALUES, st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=2))
IS_TRANSACTIONAL = 0x10
IS_CONTROL = 0x20


def batch_bytes(
    base_offset: int,
    kept: dict[int, tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]],
    attributes: int = 0,
    producer: int = 7,
) -> bytes:
    """Build one batch as a broker stores it, with the records that compaction left at their places."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, producer, 0, 0, 1 << 20)
    for place, (key, value, headers) in kept.items():
        assert builder.append(place, 1_000 + place, key, value, headers) is not None
    batch = bytearray(base_offset.to_bytes(8, "big") + bytes(builder.build())[8:])
    batch[22] |= attributes
    return with_checksum(bytes(batch))


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
    control = batch_bytes(101, {0: (*COMMIT, [])}, IS_CONTROL)
    blob = batch_bytes(100, {0: (b"a", b"b", [])}) + control
    at_once = fetched(blob, 100)
    assert [record.offset for record in unpack(TP, at_once)] == [100]
    assert at_once.next_fetch_offset == 102


def test_a_damaged_batch_is_refused() -> None:
    """A batch whose bytes do not fit its checksum is an error that names it and the way past it."""
    damaged = fetched(batch_bytes(101, {0: (b"a", b"value", [])}).replace(b"value", b"valuE"), 101)
    with pytest.raises(
        BatchError, match=r"t/3 has a batch at offset 101 .*checksum.* offset of the group there to 102"
    ):
        unpack(TP, damaged)


def test_a_header_name_that_is_no_text_is_refused() -> None:
    """A batch that passes its checksum and cannot be parsed is an error of the same kind."""
    blob = bytearray(batch_bytes(100, {0: (b"a", b"b", [("name", b"")])}))
    with pytest.raises(BatchError, match="t/3 has a batch at offset 100"):
        unpack(TP, fetched(with_checksum(bytes(blob.replace(b"name", b"n\xffme"))), 100))


PRODUCER = 7
ABORT = (b"\0\0\0\0", b"\0\0\0\0\0\0")
COMMIT = (b"\0\0\0\1", b"\0\0\0\0\0\0")


@st.composite
def transactions(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """Draw batches of three producers as a broker stores them, and the broker's list of aborted transactions."""
    blob = b""
    aborted: list[tuple[int, int]] = []
    first: dict[int, int] = {}
    offset = 100
    for _ in range(draw(st.integers(1, 8))):
        producer = draw(st.integers(7, 9))
        kind = draw(st.sampled_from(["plain", "record", "record", "commit", "abort"]))
        if kind in {"commit", "abort"}:
            began = first.pop(producer, None)
            if kind == "abort" and began is not None:
                aborted.append((producer, began))
            key, value = COMMIT if kind == "commit" else ABORT
            blob += batch_bytes(offset, {0: (key, value, [])}, IS_TRANSACTIONAL | IS_CONTROL, producer)
            offset += 1
        else:
            if kind == "record":
                first.setdefault(producer, offset)
            blob += batch_bytes(
                offset,
                dict.fromkeys(range(2), (b"k", kind.encode(), [])),
                IS_TRANSACTIONAL * (kind == "record"),
                producer,
            )
            offset += 2
    return blob, aborted


@given(transactions(), st.integers(0, 3))
def test_records_of_aborted_transactions_are_left_out(drawn: tuple[bytes, list[tuple[int, int]]], skip: int) -> None:
    """However transactions interleave: what aiokafka's own parser gives, and the same next position."""
    blob, aborted = drawn
    one_by_one, at_once = (
        PartitionRecords(TP, MemoryRecords(blob), aborted, 100 + skip, None, None, True, READ_COMMITTED)
        for _ in range(2)
    )
    expected = [(r.offset, r.value) for r in one_by_one]
    taken = unpack(TP, at_once)
    assert [(r.offset, r.value) for r in taken] == expected
    assert taken.next_offset == at_once.next_fetch_offset == one_by_one.next_fetch_offset


def test_an_aborted_record_is_left_out() -> None:
    """The plain case, so that the law above cannot hold for want of one."""
    blob = (
        batch_bytes(100, {0: (b"a", b"aborted", [])}, IS_TRANSACTIONAL)
        + batch_bytes(101, {0: (b"a", b"plain", [])}, producer=-1)
        + batch_bytes(102, {0: (*ABORT, [])}, IS_TRANSACTIONAL | IS_CONTROL)
        + batch_bytes(103, {0: (b"a", b"committed", [])}, IS_TRANSACTIONAL)
    )
    found = PartitionRecords(TP, MemoryRecords(blob), [(PRODUCER, 100)], 100, None, None, True, READ_COMMITTED)
    assert [record.value for record in unpack(TP, found)] == [b"plain", b"committed"]


# -- what is taken is bounded ----------------------------------------------------------------------------

CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[Any], bytes]]] = {
    "gzip": (gzip.compress, decompression.gzip_decode),
    "snappy": (codec.snappy_encode, decompression.bounded_snappy_decode),
    "snappy raw": (lambda data: bytes(cramjam.snappy.compress_raw(data)), decompression.bounded_snappy_decode),
    "lz4": (codec.lz4_encode, decompression.lz4_decode),
    "zstd": (codec.zstd_encode, decompression.zstd_decode),
}


@pytest.mark.parametrize(("pack", "unpack_"), CODECS.values(), ids=CODECS)
def test_every_codec_gives_what_was_packed_up_to_the_bound(
    pack: Callable[[bytes], bytes], unpack_: Callable[[Any], bytes]
) -> None:
    """A byte, more and exactly the bound come back whole; one byte beyond is refused."""
    for size in (1, 100_000, BATCH_MAX_BYTES):
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        assert unpack_(memoryview(pack(data))) == data
    with pytest.raises(decompression.TooLargeError):
        unpack_(pack(bytes(BATCH_MAX_BYTES + 1)))


@pytest.mark.parametrize("name", ["gzip", "lz4", "zstd"])
def test_a_bomb_takes_no_memory(name: str) -> None:
    """A payload that would become 256 MiB is refused within three times the bound."""
    pack, unpack_ = CODECS[name]
    bomb = pack(bytes(256 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(decompression.TooLargeError):
            unpack_(bomb)
        assert tracemalloc.get_traced_memory()[1] < 3 * BATCH_MAX_BYTES
    finally:
        tracemalloc.stop()


def test_gzip_of_several_members_and_damaged_gzip() -> None:
    """Members follow each other, padding is passed over; a stream that is cut off or damaged is an error."""
    data = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0"
    assert decompression.gzip_decode(data) == gzip.decompress(data) == b"one two"
    for damaged in (data[:10], gzip.compress(b"x")[:-1], b"hello"):
        with pytest.raises((EOFError, zlib.error)):
            decompression.gzip_decode(damaged)


def test_a_snappy_block_of_no_length_is_refused() -> None:
    """A block length that would never end is an error."""
    framed = codec.snappy_encode(b"x" * 100)
    with pytest.raises(ValueError, match="Snappy block of 0 bytes"):
        decompression.bounded_snappy_decode(framed[:16] + bytes(4) + framed[20:])


@pytest.mark.parametrize("codec_number", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read(codec_number: int) -> None:
    """Each of Kafka's codecs goes through the parser, with our bounded decoders in it."""
    decompression.bound()
    before = decompression.METER.unpacked_bytes
    builder = DefaultRecordBatchBuilder(2, codec_number, 0, -1, -1, -1, 1 << 20)
    for offset in range(50):
        builder.append(offset, 1_000, b"acme", b"value" * 100, [])
    assert [r.value for r in unpack(TP, fetched(bytes(builder.build()), 0))] == [b"value" * 100] * 50
    assert decompression.METER.unpacked_bytes - before > 50 * 500


def test_a_batch_that_becomes_too_much_is_refused() -> None:
    """A batch whose records would take more than the bound is named, with the way past it."""
    decompression.bound()
    builder = DefaultRecordBatchBuilder(2, 1, 0, -1, -1, -1, 1 << 30)
    builder.append(0, 1_000, b"acme", bytes(BATCH_MAX_BYTES + 1), [])
    with pytest.raises(BatchError, match=r"t/3 has a batch at offset 0 .*more than 32 MiB.* to 1, see"):
        unpack(TP, fetched(bytes(builder.build()), 0))


def test_a_record_that_no_dead_letter_could_hold_is_refused() -> None:
    """Of a compressed batch a record of 4 MiB is read; a larger one, which could not be set aside whole, is named."""
    decompression.bound()
    for size, is_read_ in ((RECORD_MAX_BYTES - 4, True), (RECORD_MAX_BYTES - 3, False)):
        builder = DefaultRecordBatchBuilder(2, 4, 0, -1, -1, -1, 1 << 30)
        builder.append(0, 1_000, b"acme", b"small", [])
        builder.append(1, 1_000, b"acme", bytes(size), [])
        batches = fetched(bytes(builder.build()), 0)
        if is_read_:
            assert len(unpack(TP, batches)) == 2
            continue
        with pytest.raises(BatchError, match=r"t/3 has a batch at offset 0 .*record at offset 1 .*4 MiB.* to 2, see"):
            unpack(TP, batches)


def test_what_stands_before_a_bad_batch_is_taken_first() -> None:
    """The error comes with the next call, so that the records before it are not lost to whoever goes on behind it."""
    good, bad = batch_bytes(100, {0: (b"a", b"x", [])}), batch_bytes(101, {0: (b"a", b"value", [])})
    after = batch_bytes(102, {0: (b"a", b"y", [])})
    batches = fetched(good + bad.replace(b"value", b"valuE") + after, 100)
    assert [record.offset for record in unpack(TP, batches)] == [100]
    assert not is_read(batches)
    with pytest.raises(BatchError, match="at offset 101"):
        unpack(TP, batches)


def test_a_codec_that_nobody_has_is_named() -> None:
    """A batch packed in a way that this client does not know is an error that says so."""
    blob = bytearray(batch_bytes(100, {0: (b"a", b"b", [])}))
    blob[22] |= 5
    with pytest.raises(BatchError, match=r"t/3 has a batch at offset 100 .*codec"):
        unpack(TP, fetched(with_checksum(bytes(blob)), 100))


def test_many_small_records_are_taken_in_pieces() -> None:
    """A batch of very many records is handed on piece by piece, each once, and the position follows."""
    builder = DefaultRecordBatchBuilder(2, 1, 0, -1, -1, -1, 1 << 30)
    count = 2 * TAKEN_MAX_RECORDS + 1
    for offset in range(count):
        builder.append(offset, 0, None, None, [])
    batches = fetched(bytes(builder.build()), 7)
    offsets: list[int] = []
    while not is_read(batches):
        taken = unpack(TP, batches)
        assert len(taken) <= TAKEN_MAX_RECORDS
        offsets += [record.offset for record in taken]
        assert taken.next_offset == batches.next_fetch_offset == offsets[-1] + 1
    assert offsets == list(range(7, count))


def with_checksum(batch: bytes) -> bytes:
    """Write the checksum of a changed batch."""
    checksum: int = calc_crc32c(batch[21:])
    return batch[:17] + checksum.to_bytes(4, "big") + batch[21:]
