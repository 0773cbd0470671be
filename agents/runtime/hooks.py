"""What the table asks of the application that it keeps values for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from agents.runtime.producer import OutRecord

if TYPE_CHECKING:
    from agents.runtime.table import Partition


class Value(Protocol):
    """What a table holds: anything whose `revision` grows with each change."""

    revision: int


class StateHooks(Protocol):
    """What the table asks its application for; everything but `recovered` must be free of awaits and of I/O."""

    @property
    def views_topic(self) -> str:
        """The topic of the views; only the owner of a partition writes to it."""

    def encode(self, value: Any) -> bytes:
        """Serialise a value."""

    def decode(self, key: bytes, payload: bytes) -> Any:
        """Read a value back; raises StateError for a format it does not know."""

    def progress(self, partition: Partition) -> int:
        """Return how far the partition's time is, a number >= 0; recovery hands back that of the last whole flush."""

    def ends(self, key: bytes, payload: bytes) -> bytes | None:
        """Return the key whose value a record of `Partition.bury` ends; None for one that ends none any more."""

    def outputs(self, partition: Partition, key: bytes, value: Any) -> list[OutRecord]:
        """Make the records that must leave once this very state of the value is durable."""

    def view(self, partition: Partition, key: bytes, value: Any) -> OutRecord:
        """Make the record that shows this very state of the value; asked for keys in `Partition.outdated`."""

    def published(self, partition: Partition, key: bytes, value: Any, outputs: list[OutRecord]) -> bool:
        """Note that the outputs of a flushed value are acknowledged; return whether that must be stored at once."""

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        """Take over a recovered partition; `unpublished` keys may lack outputs of their last flush."""

    def revoked(self, partition: Partition) -> None:
        """Let go of a partition; its values must not be touched any more."""
