"""One account as the changelog has it, found and chosen by the very code that recovers it; nothing is changed.

Only the partition that the account's id hashes to is read, from its start to where it ends now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from agents.runtime.hooks import StateHooks
from agents.runtime.table import EPOCH_SHIFT, HEADER, MARKER_KEYS, OWN, READ_FORMATS, Partition
from schemas.times import time_text
from service.account_topics import account_key, partition_of
from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import open_reader
from service.errors import StateError
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.records import NEVER
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from service.scoring.state_codec import decode
from service.topic_catalogue import TopicNames

_REVISION_MASK: Final = (1 << EPOCH_SHIFT) - 1


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """The latest stored state of an account, and what the partition's marker tells of it."""

    account: str
    partition: int
    stored: bytes  # as in the changelog: the runtime's header, then the encoded state
    published_generation: int
    progress_ms: int

    @property
    def generation(self) -> int:
        """Which flush of the partition wrote it."""
        return int(HEADER.unpack_from(self.stored)[1])

    @property
    def epoch(self) -> int:
        """Which owner of the partition wrote it."""
        return _order_of(self.stored)[0]

    def state(self) -> AccountState:
        """Decode it; raises StateError for a version that this one does not know."""
        return decode(self.account, self.stored[HEADER.size :])


def read_stored_state(key: bytes, value: bytes) -> tuple[int, int, bytes] | None:
    """Read epoch, revision and encoded state of a record of the changelog; None for one of the partition's own.

    Raises StateError for a stored format that this version does not know.
    """
    if key[:1] == bytes((OWN,)):
        return None
    if len(value) < HEADER.size or value[0] not in READ_FORMATS:
        raise StateError("a stored state of a format that this version does not read")
    return (*_order_of(value), value[HEADER.size :])


def _order_of(stored: bytes) -> tuple[int, int]:
    """Read epoch and revision of a stored state."""
    order: int = HEADER.unpack_from(stored)[2]
    return order >> EPOCH_SHIFT, order & _REVISION_MASK


async def read_stored_account(bootstrap: str, names: TopicNames, account: str) -> StoredAccount | None:
    """Read an account's latest state; None when the changelog has none, or a tombstone.

    Raises DependencyError for a changelog that does not exist and for brokers that do not answer, StateError for a
    stored format that this version does not know.
    """
    topic = names.changelog
    key = account_key(account)
    number = partition_of(key, (await existing_partitions(bootstrap, [topic]))[topic])
    # Recovery asks the hooks for nothing while it reads.
    partition = Partition(number, cast("StateHooks", None))
    async with open_reader(bootstrap) as reader:
        start, end = await reader.bounds(topic, number)
        async for records in reader.read(topic, number, start, end):
            partition.apply_changelog(record for record in records if record.key == key or record.key in MARKER_KEYS)
    stored = partition.data.get(key)
    if stored is None:
        return None
    return StoredAccount(account, number, stored, partition.published_generation, partition.progress)


def describe_state(found: StoredAccount, names: TopicNames, model: Model) -> dict[str, Any]:
    """Put a stored state into words and numbers, ready for JSON; signals are read with the model given."""
    state = found.state()
    mark = state.model_mark
    view = score_view(state, model)
    told: dict[str, Any] = {
        "account": found.account,
        "partition": found.partition,
        "format": found.stored[0],
        "state_version": found.stored[HEADER.size],
        "stored_bytes": len(found.stored),
        "epoch": found.epoch,
        "revision": state.revision,
        "generation": found.generation,
        "published_generation": found.published_generation,
        "outputs_repeat_at_recovery": found.generation > found.published_generation,
        "as_of": _time(state.clock_ms),
        "score": state.score,
        "coverage": state.coverage,
        "band": state.band,
        "computed_band": state.computed_band,
        "alert_seq": state.seq,
        "score_seq": state.score_seq,
        "model": model.version,
        "scored_by_this_model": mark == model.fingerprint,
        "rules": list(view.rules),
        "next_due": _time(state.next_due_ms),
        "applied_offsets": _applied(state, names.sources),
        "unsent_alerts": [
            {"id": alert.id, "seq": alert.seq, "kind": alert.kind, "as_of": _time(alert.time_ms)}
            for alert in state.unsent
        ],
        "snoozed_until": view.snoozed_until_ms and _time(view.snoozed_until_ms),
        "csm_sentiment": view.csm_sentiment,
        **_describe_actions(state),
        "signals": {name: signal.read(state) for name, signal in SIGNALS.items()},
    }
    return told


def _describe_actions(state: AccountState) -> dict[str, Any]:
    """Return how many actions counted, what became of the latest alerts, and the outcomes not yet told."""
    acting = state.acting
    if acting is None:
        return {"action_seq": 0, "alert_states": {}, "unsent_actions": []}
    unsent = [
        {"action_id": taken.action_id, "seq": taken.seq, "action": taken.action, "as_of": _time(taken.time_ms)}
        for taken in acting.unsent
    ]
    return {"action_seq": acting.seq, "alert_states": dict(acting.alerts), "unsent_actions": unsent}


def _applied(state: AccountState, topics: Sequence[str]) -> dict[str, int | None]:
    """Return the offset of the last applied record of each input."""
    return {topic: None if offset == NEVER else offset for topic, offset in zip(topics, state.applied, strict=True)}


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None or time_ms == NEVER else time_text(time_ms)
