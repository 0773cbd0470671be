"""A worker of the release before: it stores states as format 1 and version 2 had them, and reads nothing newer.

Only what is stored differs here, and what is refused, as the release before did it: a header without an epoch, a marker
of its own key that tells input ends alone, users in the order in which they came.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

from agents.runtime.table import EPOCH_SHIFT, HEADER, MARKER_KEYS, REVISION, Partition
from service.errors import StateError
from service.scoring.people import ENTRY_BYTES
from service.scoring.state import AccountState
from service.scoring.state_codec import encode
from tests.chaos.patching import patch

RELEASE = {"CHAOS_RELEASE": "previous"}
FORMAT = 1
VERSION = 2
MARKER_KEY = b"\x00marker"
_USER = struct.Struct("<IH")
_SORTED_USER = struct.Struct(">HI")
_REVISION_MASK = (1 << EPOCH_SHIFT) - 1


def install() -> None:
    """Patch what is stored and read."""
    encode_dirty = Partition.encode_dirty

    def encode_previous(self: Partition, topic: str, keys: Iterable[bytes], *rest: Any) -> Any:
        records, outputs = encode_dirty(self, topic, keys, *rest)
        return [_as_previous(self, record) for record in records], outputs

    patch(Partition, "encode_dirty", encode_previous)
    patch(Partition, "apply_changelog", _apply_previous)


def _as_previous(partition: Partition, record: Any) -> Any:
    if record.value is None:
        return record
    _, generation, number = HEADER.unpack_from(record.value)
    if record.key in MARKER_KEYS:
        told = json.dumps(partition.input_ends).encode()
        return record._replace(key=MARKER_KEY, value=HEADER.pack(FORMAT, generation, number) + told)
    payload = stored_state(partition.get(record.key))
    return record._replace(value=HEADER.pack(FORMAT, generation, number & _REVISION_MASK) + payload)


def stored_state(state: Any) -> bytes:
    """Encode a state as version 2 did."""
    assert isinstance(state, AccountState)
    users = state.users
    try:
        entries = (_SORTED_USER.unpack_from(users, at) for at in range(0, len(users), ENTRY_BYTES))
        state.users = b"".join(_USER.pack(mark, day) for day, mark in entries)
        return bytes([VERSION]) + encode(state)[1:]
    finally:
        state.users = users


def _apply_previous(self: Partition, records: Iterable[Any]) -> None:
    for record in records:
        key, value = record.key, record.value
        if key == MARKER_KEY:
            _, self.published_generation, self.progress = HEADER.unpack_from(value)
            self.input_ends = json.loads(value[HEADER.size :] or b"{}")
            self.marked = {}
        elif value is None:
            self.data.pop(key, None)
        elif value[0] != FORMAT:
            raise StateError(
                f"changelog partition {self.number} offset {record.offset}: stored state has format {value[0]}, "
                f"this version reads format {FORMAT}; run the version that wrote it, or a newer one"
            )
        else:
            known = self.data.get(key)
            if known is None or value[REVISION] >= known[REVISION]:
                self.data[key] = value
