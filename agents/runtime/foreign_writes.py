"""The owner of a partition is the only writer of its changelog and views; anybody else's record ends the owner."""

from __future__ import annotations

from service.errors import StateError


class ForeignWriteError(StateError):
    """Somebody else wrote to a partition of the owner's own topics."""


def refuse_foreign(topic: str, number: int, own_end: int, found: int) -> None:
    """Raise ForeignWriteError when a partition of the owner alone goes on elsewhere than at its own end."""
    if found != own_end:
        raise ForeignWriteError(
            f"{topic}/{number} goes on at offset {found}, but what this worker knows of it ends at {own_end}: another "
            "worker wrote there, one that was paused or cut off and does not know yet that it lost the partition, or "
            "one with the same topics and another VITALS_APP_ID; or the brokers lost records. A restart reads "
            "everything again and mends it"
        )
