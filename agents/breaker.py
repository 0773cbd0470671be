"""Stops the worker before it drains a topic into the dead letters.

One record that cannot be scored is set aside. When too many of a partition cannot, it is not the records that are wrong
but a release of a publisher, something else that writes to the topic, a worker that is too old. Then nothing more is
set aside, and people decide.

The offsets of what was set aside travel in the partition's marker (`Partition.notes`), written before the offsets are
committed. So a worker that is started again counts on, and stops at the same record, instead of setting aside a
little more at each start. Offsets stand for records: markers of transactions count as good ones.
"""

from __future__ import annotations

from bisect import bisect_right

from agents.runtime.batch import Record, RecordBatch
from schemas.outputs import failed_attempts
from service.errors import RecordRejected, TopicError

# The records of a partition over which the ratio is taken; before a partition has had so many, only a run counts.
WINDOW_RECORDS = 1_000


class Breaker:
    """Counts the dead letters of every input partition; a ratio of 1 and a run of 0 are no limits."""

    def __init__(self, ratio_max: float, run_max: int) -> None:
        self._ratio_max = ratio_max
        self._run_max = run_max
        self._window_max = int(ratio_max * WINDOW_RECORDS + 1e-9)
        self._is_off = ratio_max >= 1 and run_max == 0
        self._kept = max(run_max, self._window_max + 1 if ratio_max < 1 else 0)

    def begin(self, batch: RecordBatch) -> None:
        """Forget what the batch will tell again, and what is too long ago to count."""
        notes, topic = batch.state.notes, batch.tp.topic
        if topic in notes:
            first = batch.first_offset
            left = [offset for offset in notes[topic] if first - WINDOW_RECORDS <= offset < first]
            if left:
                notes[topic] = left
            else:
                del notes[topic]

    def reject(self, batch: RecordBatch, record: Record, rejected: RecordRejected) -> None:
        """Count a dead letter; raises TopicError when it is one too many.

        A record that was set aside before and sent back is not counted: it has its own limit, its attempts.
        """
        if self._is_off or failed_attempts(record.headers):
            return
        offset = record.offset
        offsets = batch.state.notes.setdefault(batch.tp.topic, [])
        offsets.append(offset)
        del offsets[: -self._kept]
        run = self._run_max
        if run and len(offsets) >= run and offset - offsets[-run] < run:
            raise TopicError(self._told(batch, offset, rejected, f"{run} records in a row"))
        if self._ratio_max < 1 and offset + 1 >= WINDOW_RECORDS:
            found = len(offsets) - bisect_right(offsets, offset - WINDOW_RECORDS)
            if found > self._window_max:
                raise TopicError(self._told(batch, offset, rejected, f"{found} of the last {WINDOW_RECORDS:,} records"))

    def _told(self, batch: RecordBatch, offset: int, rejected: RecordRejected, count: str) -> str:
        place = f"{batch.tp.topic}/{batch.tp.partition}"
        return (
            f"{place}: {count} up to offset {offset} cannot be scored, the last one for {rejected.reason} (`vitals dlq "
            f"show {place}/{offset}` shows it); from offset {batch.first_offset} on nothing is set aside or "
            "committed. Mend the publisher; to set such records aside all the same, start the worker with "
            "VITALS_DEAD_LETTER_RATIO_MAX=1 and VITALS_DEAD_LETTER_RUN_MAX=0 until they are through; see "
            "docs/operations/dead-letters.md"
        )
