"""What one Faust event carries here: a chunk of consecutive records of one partition.

A batch belongs to the state it was delivered for: when the partition was revoked meanwhile, even if it came back, the
batch must not be applied, because the records before it may not have been. A batch is acknowledged as a whole, by
whoever finished its last record. Faust's own acknowledgements are not used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
from faust.types import TP

from agents.runtime.fetching import Record
from agents.runtime.table import Partition

__all__ = ["BatchSchema", "Record", "RecordBatch"]


class RecordBatch:
    """Consecutive records of one partition, in offset order, never empty."""

    __slots__ = ("applied", "first_offset", "last_offset", "next_offset", "records", "state", "tp")

    def __init__(self, tp: TP, records: Sequence[Record], state: Partition) -> None:
        self.state = state
        self.tp = tp
        self.records = records
        self.first_offset: int = records[0].offset
        self.last_offset: int = records[-1].offset
        self.next_offset = self.last_offset + 1  # to commit; further when what follows is no record
        self.applied = False

    def __len__(self) -> int:
        return len(self.records)

    def ack(self) -> None:
        """Say that every record of the batch is applied or safely elsewhere; its offsets may be committed."""
        self.applied = True


class BatchSchema(faust.Schema[Any, Any]):
    """Hands a batch through to the agent undecoded."""

    def compile(
        self,
        app: Any,
        *,
        on_key_decode_error: Any = None,  # noqa: ARG002 - Faust's signature
        on_value_decode_error: Any = None,  # noqa: ARG002 - Faust's signature
        default_propagate: bool = False,
    ) -> Callable[..., Awaitable[Any]]:
        """Make the function that turns a message into an event: no decoding at all."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = default_propagate) -> Any:  # noqa: ARG001 - Faust's signature
            return create_event(None, message.value, None, message)

        return decode
