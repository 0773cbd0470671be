"""F12: a recovery that is interrupted again and again, while the changelog is not what a plain one is.

Compaction works in it at the same time, so offsets vanish under the reader; or a partition of it holds no record at
all: none was ever written, all were deleted, or only the end of a transaction is left, which readers never see. Each
recovery must end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from service.adapters.topic_admin import end_offsets
from tests.chaos.admin import delete_records, produce_transaction
from tests.chaos.dying import die_at_points
from tests.chaos.run import Run
from tests.chaos.splits import RECOVERY_BEGUN, RECOVERY_HANDED_OVER, RECOVERY_POINTS, RECOVERY_READ
from tests.integration.kafka_tools import produce, read_topic

# What makes the cleaner work on whatever was written, as soon as it looks, which it does every 15 seconds.
EAGER_CLEANING = {
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.0",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "500",
    "delete.retention.ms": "0",
    "file.delete.delay.ms": "0",
}
CLEANED_SECONDS = 90.0
INTERRUPTIONS = 10
TOMBSTONES = 5
DELETED = (0, 1)
ENDED = (2, 3)
CLEANED = (4, 5)
"""Partitions of the changelog that begin at their end, that hold a transaction's end only, and that lack the tombstones
of all but their last segment; the others never had a record."""


def die_in_compaction(run: Run, times: int, points: tuple[str, ...] = RECOVERY_POINTS) -> None:
    """F12: the only worker dies in its recovery, ten times and more, while compaction takes records away."""
    _clean_eagerly(run)
    run.fleet.pass_time(5)
    rounds = -(-times * INTERRUPTIONS // len(points))
    for number in range(rounds):
        die_at_points(run, 1, points)
        if number == rounds // 2:
            _wait_cleaned(run)
    _wait_cleaned(run)
    die_at_points(run, 1, points)


def die_with_emptied(run: Run, times: int) -> None:
    """F12: partitions of the changelog hold nothing, and the worker dies in their recovery before it gets through."""
    _clean_eagerly(run)
    _empty(run)
    run.fleet.scale(1)
    die_at_points(run, -(-times * INTERRUPTIONS // 3), (RECOVERY_BEGUN, RECOVERY_READ, RECOVERY_HANDED_OVER))
    run.fleet.wait_ready()
    run.history.note("ready with the emptied changelog")
    run.produce()
    run.fleet.pass_time(3)
    die_at_points(run, times, RECOVERY_POINTS)


def _empty(run: Run) -> None:
    changelog = run.topics.changelog
    keys = [f"nobody-{each}".encode() for each in range(TOMBSTONES)]
    produce(run.bootstrap, changelog, [(key, None, (), number) for number in DELETED for key in keys])
    for number in ENDED:
        produce_transaction(run.bootstrap, changelog, number, keys)
    run.set_topic(changelog, "cleanup.policy", "delete")  # brokers delete no records of a topic that is compacted only
    delete_records(run.bootstrap, {(changelog, number): TOMBSTONES for number in (*DELETED, *ENDED)})
    run.set_topic(changelog, "cleanup.policy", "compact")
    ends = _ends(run)
    assert [ends[number] for number in (*DELETED, *ENDED)] == [TOMBSTONES] * 2 + [TOMBSTONES + 1] * 2
    for _ in range(4):  # the last segment is never compacted, and a first tombstone stays until it was seen once more
        produce(run.bootstrap, changelog, [(key, None, (), number) for number in CLEANED for key in keys])
        run.fleet.pass_time(1)
    _wait_cleaned(run, CLEANED)
    assert not {record.partition for record in read_topic(run.bootstrap, changelog)} - set(CLEANED)
    run.history.note(f"changelog/{(*DELETED, *ENDED)} hold no record")


def _clean_eagerly(run: Run) -> None:
    for name, value in EAGER_CLEANING.items():
        run.set_topic(run.topics.changelog, name, value)


def _wait_cleaned(run: Run, partitions: Iterable[int] | None = None) -> None:
    """Wait until compaction has removed records: from all partitions given, or from any."""
    wanted = None if partitions is None else set(partitions)

    def cleaned() -> bool:
        found = _partitions_with_gaps(run)
        return bool(found) if wanted is None else wanted <= found

    run.fleet.wait_until(cleaned, "compaction of the changelog", CLEANED_SECONDS)
    run.history.note(f"compaction removed records of changelog/{sorted(_partitions_with_gaps(run))}")


def _partitions_with_gaps(run: Run) -> set[int]:
    """Name the partitions that hold fewer records than were written to them."""
    counts: dict[int, int] = {}
    for record in read_topic(run.bootstrap, run.topics.changelog):
        counts[record.partition] = counts.get(record.partition, 0) + 1
    return {number for number, end in _ends(run).items() if counts.get(number, 0) < end}


def _ends(run: Run) -> dict[int, int]:
    topic = run.topics.changelog
    return {number: end for (_, number), end in asyncio.run(end_offsets(run.bootstrap, [topic])).items()}
