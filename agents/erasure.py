"""What is kept of an erased account: a digest of its id, when it was, and what of it is still to be told.

The rule: the record is stored before anything is removed, and names the account until the brokers hold every tombstone;
then only the requests until they hold the completion; then nothing from which the id could be read. A crash between
any two steps repeats what comes after the first of them. The record itself stays, so that no late event brings the
account back; the offsets of the commands that it counts are in it, so that none of them counts again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, get_args

from agents.runtime.table import OWN
from schemas.outputs import ErasedFollower, ErasedStore, ErasureCompletedData
from service.core_events import ID_SEPARATOR
from service.errors import StateError
from service.scoring.events import Action
from service.scoring.records import NEVER

KEY_PREFIX: Final = bytes((OWN,)) + b"erased:"
VERSION: Final = b"E"  # no version of an account's state: a release that knows of no erasures refuses the partition


class Request(NamedTuple):
    """A command to erase whose completion is not acknowledged yet; `seq` counts those of the account."""

    seq: int
    event_id: str
    actor: str
    reason: str
    acted_ms: int
    found: bool


@dataclass(slots=True)
class Erasure:
    """The record of one erased account; a value of the table, stored under `erasure_key`."""

    revision: int = 0
    seq: int = 0
    until_ms: int = NEVER  # events up to here are the erased account's
    applied: dict[int, int] = field(default_factory=dict)  # by input: the offset of the last command that counts
    account: str | None = None  # until the tombstones are acknowledged
    requests: tuple[Request, ...] = ()  # until their completions are

    def take(self, command: Action, source: int, offset: int, clock_ms: int, *, found: bool) -> None:
        """Count a command: whatever there is of the account, up to its clock, is to be erased."""
        self.revision += 1
        self.seq += 1
        self.until_ms = max(self.until_ms, clock_ms)
        self.applied[source] = offset
        self.account = command.account
        reason = command.reason or ""
        request = Request(self.seq, command.event_id, command.actor, reason, command.time_ms, found)
        self.requests = (*self.requests, request)

    def counts(self, source: int, offset: int) -> bool:
        """Tell whether the command at this offset of an input was counted before."""
        return offset <= self.applied.get(source, -1)

    def note_told(self) -> None:
        """Forget what was told: the account first, then the requests."""
        self.revision += 1
        if self.account is not None:
            self.account = None
        else:
            self.requests = ()


def erasure_key(digest: str) -> bytes:
    """Return the key of the record of an erased account."""
    return KEY_PREFIX + digest.encode()


def digest_of(key: bytes) -> str:
    """Return the digest of an account's key, by which its record and its completion are found."""
    return sha256(key).hexdigest()


def record_digest(key: bytes) -> str:
    """Return the digest in the key of a record."""
    return key.removeprefix(KEY_PREFIX).decode()


def completed(digest: str, erasure: Erasure, request: Request) -> ErasureCompletedData:
    """Say that a request is fulfilled."""
    source, _, action_id = request.event_id.partition(ID_SEPARATOR)
    return ErasureCompletedData(
        account_sha256=digest,
        seq=request.seq,
        action_id=action_id,
        source=source,
        actor=request.actor,
        reason=request.reason,
        acted_ms=request.acted_ms,
        as_of_ms=erasure.until_ms,
        found=request.found,
        stores=get_args(ErasedStore),
        followers=get_args(ErasedFollower),
    )


def encode_erasure(erasure: Erasure) -> bytes:
    """Write a record."""
    return VERSION + json.dumps(asdict(erasure), separators=(",", ":")).encode()


def decode_erasure(payload: bytes) -> Erasure:
    """Read a record; raises StateError for one of a newer release."""
    if payload[:1] != VERSION:
        raise StateError(f"record of an erasure has version {payload[0]}, run the release that wrote it")
    told = json.loads(payload[1:])
    told["applied"] = {int(source): offset for source, offset in told["applied"].items()}
    told["requests"] = tuple(Request(*request) for request in told["requests"])
    return Erasure(**told)
