"""The breaker trips exactly when a partition has too many dead letters, and again after every restart."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.breaker import WINDOW_RECORDS, Breaker
from agents.runtime.batch import RecordBatch
from agents.runtime.table import Partition, ViewBudget
from schemas.outputs import ATTEMPTS_HEADER
from service.errors import RecordRejected, TopicError
from tests.agents.test_table import CountHooks

TOPIC = "usage"
REJECTED = RecordRejected("not_json", "expected JSON")


def batch_of(partition: Partition, first: int, count: int, headers: tuple[tuple[str, bytes], ...] = ()) -> RecordBatch:
    """Make a batch of records whose values do not matter."""
    records = [ConsumerRecord(TOPIC, 3, first + n, 0, 0, b"a", b"", None, 1, 0, headers) for n in range(count)]
    return RecordBatch(TP(TOPIC, 3), records, partition)


def trip_offset(
    breaker: Breaker, bad: Iterable[int], span: tuple[int, int], step: int, partition: Partition | None = None
) -> int | None:
    """Read a partition in batches; return the offset of the record that trips the breaker."""
    partition = partition or Partition(3, CountHooks())
    chosen = set(bad)
    begin, end = span
    for first in range(begin, end, step):
        batch = batch_of(partition, first, min(step, end - first))
        breaker.begin(batch)
        for record in batch.records:
            if record.offset in chosen:
                try:
                    breaker.reject(batch, record, REJECTED)
                except TopicError:
                    return record.offset
    return None


def restored(partition: Partition) -> Partition:
    """Make the partition that another worker recovers from the marker."""
    (marker,), _ = partition.encode_dirty("changelog", [], ViewBudget())
    again = Partition(3, CountHooks())
    again.apply_changelog([ConsumerRecord("c", 3, 0, 0, 0, marker.key, marker.value, None, 0, 0, ())])
    return again


def naive_trip(bad: set[int], ratio_max: float, run_max: int) -> int | None:
    """Count anew at every bad record."""
    for offset in sorted(bad):
        window = [each for each in range(max(0, offset - WINDOW_RECORDS + 1), offset + 1) if each in bad]
        if run_max and all(each in bad for each in range(offset - run_max + 1, offset + 1)):
            return offset
        if ratio_max < 1 and offset + 1 >= WINDOW_RECORDS and len(window) > ratio_max * WINDOW_RECORDS:
            return offset
    return None


BAD = st.one_of(
    st.sets(st.integers(0, 2_500), max_size=200),
    st.tuples(st.integers(0, 2_400), st.integers(1, 150)).map(lambda run: set(range(run[0], run[0] + run[1]))),
    st.tuples(st.integers(0, 99), st.integers(5, 60)).map(lambda every: set(range(every[0], 2_500, every[1]))),
)


@given(BAD, st.sampled_from([0.0, 0.02, 0.05, 1.0]), st.sampled_from([0, 1, 20, 100]), st.integers(1, 700))
def test_it_trips_where_counting_anew_says(bad: set[int], ratio_max: float, run_max: int, step: int) -> None:
    """Whatever the batches, the record that is one too many trips, and no other."""
    found = trip_offset(Breaker(ratio_max, run_max), bad, (0, 2_700), step)
    assert found == naive_trip(bad, ratio_max, run_max)


@given(BAD, st.integers(1, 50), st.lists(st.integers(1, 2_600), max_size=10).map(sorted))
def test_restarts_do_not_move_it(bad: set[int], step: int, restarts: list[int]) -> None:
    """A worker that is started again anywhere, and reads some records again, trips at the same record."""
    partition: Partition = Partition(3, CountHooks())
    found, begin = None, 0
    for end in [*restarts, 2_700]:
        if found is None:
            found = trip_offset(Breaker(0.05, 100), bad, (begin, max(begin, end)), step, partition)
        partition = restored(partition)
        begin = max(0, max(begin, end) - step)
    assert found == naive_trip(bad, 0.05, 100)
    if found is not None:  # and again, as nothing from its batch on was committed
        first = found - found % step
        assert trip_offset(Breaker(0.05, 100), bad, (first, 2_700), step, partition) == found


def test_no_limit_is_no_limit() -> None:
    """With a ratio of 1 and a run of 0 everything passes, and nothing is noted."""
    partition = Partition(3, CountHooks())
    assert trip_offset(Breaker(1, 0), range(5_000), (0, 5_000), 500, partition) is None
    assert partition.notes == {}


def test_good_records_are_forgotten_and_old_ones_too() -> None:
    """A partition that had a bad hour long ago has nothing in its marker."""
    partition = Partition(3, CountHooks())
    assert trip_offset(Breaker(0.05, 100), range(40), (0, 2_000), 100, partition) is None
    assert partition.notes == {}


def test_records_that_were_sent_back_do_not_count() -> None:
    """A redrive of many records that are refused again fills no dead letters anew: each has its own limit."""
    partition = Partition(3, CountHooks())
    breaker = Breaker(0.05, 100)
    batch = batch_of(partition, 0, 500, ((ATTEMPTS_HEADER, b"1"),))
    breaker.begin(batch)
    for record in batch.records:
        breaker.reject(batch, record, REJECTED)
    assert partition.notes == {}


def test_the_message_names_the_place_and_the_ways_out() -> None:
    """A person reads which partition it is, what is wrong with its records, what was done, and what to do."""
    partition = Partition(3, CountHooks())
    breaker = Breaker(0.05, 100)
    batch = batch_of(partition, 200, 100)
    for record in batch.records[:-1]:
        breaker.reject(batch, record, REJECTED)
    with pytest.raises(TopicError) as tripped:
        breaker.reject(batch, batch.records[-1], REJECTED)
    told = str(tripped.value)
    assert told.startswith("usage/3: 100 records in a row up to offset 299 cannot be scored, the last one for not_json")
    assert "`vitals dlq show usage/3/299`" in told
    assert "from offset 200 on nothing is set aside or committed" in told
    assert "VITALS_DEAD_LETTER_RATIO_MAX=1 and VITALS_DEAD_LETTER_RUN_MAX=0" in told
    assert "docs/operations/dead-letters.md" in told
