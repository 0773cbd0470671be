"""The merger gives event-time order over all inputs, waits for an empty one only so long, and acks what it finished."""

from __future__ import annotations

from aiokafka.structs import ConsumerRecord
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.merge import IDLE_SECONDS, LAGGING_SECONDS, Entry, EventMerger
from agents.runtime.batch import RecordBatch
from agents.runtime.table import Partition
from service.scoring.events import Usage
from tests.agents.test_table import CountHooks


def make_batch(source: int, times: list[int]) -> tuple[RecordBatch, list[Entry]]:
    """Make a batch of events at the given times."""
    records = [
        ConsumerRecord(f"topic-{source}", 0, offset, 0, 0, b"a", b"", None, 0, 0, ()) for offset in range(len(times))
    ]
    entries = [
        Entry(time_ms, offset, b"a", Usage("a", str(offset), time_ms, "login", "u"))
        for offset, time_ms in enumerate(times)
    ]
    return RecordBatch(TP(f"topic-{source}", 0), records, Partition(0, CountHooks())), entries


def drain(merger: EventMerger, now_seconds: float) -> list[tuple[int, int]]:
    """Apply all that is ready; return (time, source) in the order of application."""
    order: list[tuple[int, int]] = []
    merger.apply_ready(lambda source, entry: order.append((entry.time_ms, source)), now_seconds, 10_000)
    return order


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=20).map(sorted), min_size=3, max_size=3))
def test_sorted_inputs_come_out_in_event_time_order(inputs: list[list[int]]) -> None:
    """However the records are spread over inputs, application is ordered by time, ties by source."""
    merger = EventMerger(3, lambda source: "read", 0.0)
    batches = []
    for source, times in enumerate(inputs):
        batch, entries = make_batch(source, times)
        batches.append(batch)
        merger.add(source, batch, entries, 0.0)
    assert drain(merger, IDLE_SECONDS) == sorted(
        (time, source) for source, times in enumerate(inputs) for time in times
    )
    assert all(batch.applied for batch in batches)


def test_an_empty_input_is_waited_for() -> None:
    """With one input empty nothing is applied until it was quiet long enough."""
    merger = EventMerger(2, lambda source: "read", 0.0)
    merger.add(0, *make_batch(0, [1]), 0.0)
    assert drain(merger, IDLE_SECONDS - 0.01) == []
    assert drain(merger, IDLE_SECONDS) == [(1, 0)]


def test_an_input_with_unread_records_is_waited_for_longer() -> None:
    """An input that is not read to its end holds the others back up to the longer bound."""
    merger = EventMerger(2, lambda source: "unread", 0.0)
    merger.add(0, *make_batch(0, [1]), 0.0)
    assert drain(merger, LAGGING_SECONDS - 0.01) == []
    assert drain(merger, LAGGING_SECONDS) == [(1, 0)]


def test_records_on_their_way_are_waited_for_without_bound() -> None:
    """However slow the hand-over, an input with delivered records is not passed by."""
    merger = EventMerger(2, lambda source: "applying", 0.0)
    merger.add(0, *make_batch(0, [1]), 0.0)
    assert drain(merger, 100 * LAGGING_SECONDS) == []
    assert not merger.is_idle(100 * LAGGING_SECONDS)


def test_a_batch_is_acked_with_its_last_record_only() -> None:
    """While one record of a batch waits, its offsets may not be committed."""
    merger = EventMerger(2, lambda source: "unread", 0.0)
    first, entries = make_batch(0, [1, 5])
    merger.add(0, first, entries, 0.0)
    merger.add(1, *make_batch(1, [3]), 0.0)
    assert drain(merger, 0.0) == [(1, 0), (3, 1)]
    assert not first.applied
    merger.add(1, *make_batch(1, [9]), 0.0)
    assert drain(merger, 0.0) == [(5, 0)]
    assert first.applied


def test_a_batch_of_nothing_but_dead_letters_is_acked_at_once() -> None:
    """A batch whose every record was set aside does not wait for others."""
    merger = EventMerger(2, lambda source: "unread", 0.0)
    batch, _ = make_batch(0, [1])
    merger.add(0, batch, [], 0.0)
    assert batch.applied


def test_an_empty_batch_waits_for_the_batches_before_it() -> None:
    """Acks stay in delivery order."""
    merger = EventMerger(2, lambda source: "unread", 0.0)
    first, entries = make_batch(0, [1])
    second, _ = make_batch(0, [2])
    merger.add(0, first, entries, 0.0)
    merger.add(0, second, [], 0.0)
    assert not second.applied
    merger.add(1, *make_batch(1, [7]), 0.0)
    drain(merger, 0.0)
    assert first.applied
    assert second.applied
