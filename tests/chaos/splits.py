"""More fault points than the product has: inside its steps, and in recovery.

Each is patched around an existing function, which does then what it did before, in the same order; only the moment in
between can be named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

import agents.app
import agents.runtime.commit
from agents.runtime.producer import Ack, OutRecord, send_records
from agents.runtime.recovery import ChunkedRecovery
from agents.runtime.table import PartitionedTable
from agents.runtime.transport import BatchConsumer
from tests.chaos.patching import patch

COMMIT_POINTS = ("offsets fixed", "state acknowledged", "outputs published", "state flushed", "offsets committed")
"""Those that the committer itself passes."""
TO_BE_SENT = "to be sent"
HALF_SENT = "half of it sent"
ASIDE_SENT = "dead letters sent"
RECOVERY_BEGUN = "recovery begun"
RECOVERY_HALFWAY = "recovery halfway"
RECOVERY_READ = "recovery read"
RECOVERY_HANDED_OVER = "recovery handed over"
RECOVERY_POINTS = (RECOVERY_BEGUN, RECOVERY_HALFWAY, RECOVERY_READ, RECOVERY_HANDED_OVER)
SPLIT_POINTS = (TO_BE_SENT, HALF_SENT, ASIDE_SENT, *RECOVERY_POINTS)

Passed = Callable[[str], None]


def install(passed: Passed, slow_sends_seconds: float) -> None:
    """Patch the runtime so that `passed` is called at every point; flushes stand still for a while in the middle."""
    _split_sends(passed, slow_sends_seconds)
    _split_recovery(passed)


def lengthen_fetches(seconds: float) -> None:
    """Have a fetch wait so long for records: it then spans a rebalance, as a short one does by bad luck."""
    getmany = BatchConsumer._getmany

    async def long(self: BatchConsumer, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as Faust's
        return await getmany(self, active_partitions, max(timeout, seconds))

    patch(BatchConsumer, "_getmany", long)


def _split_sends(passed: Passed, slow_sends_seconds: float) -> None:
    async def send_halves(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> list[Ack]:
        whole = list(records)
        if whole:
            passed(TO_BE_SENT)
        if len(whole) <= 1:
            return await send_records(producer, whole)
        acks = await send_records(producer, whole[: len(whole) // 2])
        passed(HALF_SENT)
        await asyncio.sleep(slow_sends_seconds)
        return acks + await send_records(producer, whole[len(whole) // 2 :])

    async def send_aside(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> None:
        await send_records(producer, records)
        passed(ASIDE_SENT)

    patch(agents.runtime.commit, "send_records", send_halves)
    patch(agents.app, "send_records", send_aside)


def _split_recovery(passed: Passed) -> None:
    seek, apply_records = ChunkedRecovery._seek_to_start, ChunkedRecovery.apply_records
    refuse, end_recovery = ChunkedRecovery._refuse_new_inputs, PartitionedTable.end_recovery

    async def seek_to_start(self: ChunkedRecovery, tps: Any) -> None:
        await seek(self, tps)
        passed(RECOVERY_BEGUN)

    def apply_some(self: ChunkedRecovery, tp: Any, records: Any) -> None:
        apply_records(self, tp, records)
        if self.need_recovery():
            passed(RECOVERY_HALFWAY)

    async def refuse_new_inputs(self: ChunkedRecovery) -> None:
        passed(RECOVERY_READ)
        await refuse(self)

    def end(self: PartitionedTable, doubtful: Any) -> None:
        end_recovery(self, doubtful)
        passed(RECOVERY_HANDED_OVER)

    patch(ChunkedRecovery, "_seek_to_start", seek_to_start)
    patch(ChunkedRecovery, "apply_records", apply_some)
    patch(ChunkedRecovery, "_refuse_new_inputs", refuse_new_inputs)
    patch(PartitionedTable, "end_recovery", end)
