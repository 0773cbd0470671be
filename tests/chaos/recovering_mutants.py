"""Seeded bugs of what is read back, taken over, given up and shown again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import agents.app
import agents.ingest
import agents.runtime.commit
import agents.runtime.sight
import agents.runtime.table
from agents.partition_task import PartitionTask
from agents.runtime.producer import OutRecord
from agents.runtime.recovery import ChunkedRecovery
from agents.runtime.table import MARKER_KEYS, Partition, PartitionedTable
from agents.scorer import Scorer
from service.outputs import CLOUD_EVENT_HEADERS, score_message
from service.scoring.explain import score_view
from tests.chaos.mutants import mutant
from tests.chaos.patching import patch

# So many deaths that the last are at the end of the log, where no next event makes up for what was lost.
AT_THE_END = tuple(f"state acknowledged:{passing}" for passing in (2, 3, 4))


@mutant("F11g")
def kept_after_revoke() -> None:
    """Keep the state of partitions that were given up, and use it again when they come back."""
    end = PartitionedTable.end_recovery
    kept: dict[int, Partition] = {}

    def end_recovery(self: PartitionedTable, *told: Any) -> None:
        end(self, *told)
        for number, partition in self.owned.items():
            if number in kept:
                partition.data, partition.live = kept[number].data, kept[number].live
        kept.update(self.owned)

    patch(PartitionedTable, "end_recovery", end_recovery)


@mutant("F11g")
def wrong_partition_purged() -> None:
    """Forget at a rebalance the state of a partition that stays, as if it were one that went."""
    end = PartitionedTable.end_recovery
    recoveries = [0]

    def end_recovery(self: PartitionedTable, *told: Any) -> None:
        end(self, *told)
        recoveries[0] += 1
        if recoveries[0] > 1 and self.owned:
            self.owned[min(self.owned)].data.clear()

    patch(PartitionedTable, "end_recovery", end_recovery)


@mutant("F4e", *AT_THE_END)
def lost_unsent_alerts() -> None:
    """Forget in recovery what may not have been published."""
    finish = Partition.finish_recovery

    def finish_recovery(self: Partition, *told: Any) -> list[bytes]:
        finish(self, *told)
        self.late = {}
        return []

    patch(Partition, "finish_recovery", finish_recovery)


@mutant("F4e", *AT_THE_END)
def marker_too_early() -> None:
    """Say in the marker that outputs are published as soon as their states are written."""
    encode = Partition.encode_dirty

    def encode_dirty(self: Partition, topic: str, keys: list[bytes], *rest: Any) -> Any:
        self.published_generation = self.generation + 1
        return encode(self, topic, keys, *rest)

    patch(Partition, "encode_dirty", encode_dirty)


@mutant("F7bp", "to be sent")
def last_record_wins() -> None:
    """Take an account's last record in recovery, also when a zombie wrote an older state after a newer one."""
    apply = Partition.apply_changelog

    def apply_last(self: Partition, records: Iterable[Any]) -> None:
        for record in records:
            if record.key not in MARKER_KEYS:
                self.data.pop(record.key, None)
            apply(self, [record])

    patch(Partition, "apply_changelog", apply_last)


@mutant("F2")
def short_recovery() -> None:
    """End recovery some records early."""
    apply_records = ChunkedRecovery.apply_records

    def apply_most(self: ChunkedRecovery, tp: Any, records: list[Any]) -> None:
        end = self.active_highwaters[tp] - 20
        kept = [record for record in records if record.offset <= end]
        apply_records(self, tp, kept or records[:1])
        self.active_offsets[tp] = max(self.active_offsets[tp], records[-1].offset)
        if not self.need_recovery():
            self.signal_recovery_end.set()

    patch(ChunkedRecovery, "apply_records", apply_most)


@mutant("F11f")
def uncommitted_not_rewound() -> None:
    """Leave inputs without a committed offset where a dropped fetch has moved them."""

    async def seek_committed(self: ChunkedRecovery, inputs: Any) -> None:
        await self._call(self.app.consumer.perform_seek())

    patch(ChunkedRecovery, "_seek_inputs", seek_committed)


@mutant("F7bk", "to be sent")
def owner_epoch_ignored() -> None:
    """Write every state and marker with the epoch that there was before owners had one."""
    finish = Partition.finish_recovery

    def finish_recovery(self: Partition, *told: Any) -> list[bytes]:
        unpublished = finish(self, *told)
        self.epoch = 0
        return unpublished

    patch(Partition, "finish_recovery", finish_recovery)


@mutant("F19")
def shown_by_model_in_force() -> None:
    """Show a score by the model in force, though another one made it."""

    def view(self: Scorer, partition: Partition, key: bytes, value: Any) -> OutRecord:
        score = score_message(score_view(value, self.model))
        return OutRecord(self.topics.scores, partition.number, key, score, CLOUD_EVENT_HEADERS)

    patch(Scorer, "view", view)


@mutant("F19")
def rescoring_forgotten() -> None:
    """Forget at a recovery which accounts another model scored."""
    take_over = PartitionTask.take_over

    def forget(self: PartitionTask, unpublished: list[bytes]) -> None:
        take_over(self, unpublished)
        self.stale.clear()

    patch(PartitionTask, "take_over", forget)


@mutant("F18r")
def format_not_raised() -> None:
    """Store another layout under the number of the one before, so that an older release reads it wrongly."""
    patch(agents.runtime.table, "FORMAT", 1)
    patch(agents.runtime.table, "MARKER_KEY", b"\x00marker")


@mutant("F7bk")
def foreign_writes_unnoticed() -> None:
    """Go on whatever somebody else writes to the own topics."""
    patch(agents.runtime.table, "refuse_foreign", lambda *_: None)
    patch(agents.runtime.sight, "refuse_foreign", lambda *_: None)


@mutant("F7bk", "state acknowledged")
def doubtful_views_trusted() -> None:
    """Take the last views in the topic for the own ones in recovery."""
    find = ChunkedRecovery._doubtful_views

    async def find_none(self: ChunkedRecovery) -> dict[int, Any]:
        await find(self)
        return {}

    patch(ChunkedRecovery, "_doubtful_views", find_none)
