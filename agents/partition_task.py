"""One owned partition at work: applies events to account states and wakes the accounts that are due.

The scoring itself is the core's; here it is only decided what must happen after it: which keys are dirty, which
scores are to be published, which alerts are urgent, when an account is woken. Nothing here awaits, so a state is
never seen half changed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Final

from agents.erasure import Erasure, digest_of, erasure_key
from agents.runtime.table import HEADER, OWN, Partition
from service.scoring import effects
from service.scoring.engine import apply_record, tick, use_model
from service.scoring.events import Action, Event, is_erasure
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.scoring.state_codec import peek_model_mark, peek_next_due
from service.topic_catalogue import SOURCE_KINDS

URGENT: Final = effects.ALERTED | effects.ACTED
OUTCOMES: Final = effects.SCORED | URGENT | effects.ERASED
# An event of an account that is erased: counted like an effect, which no call of the engine has.
DROPPED: Final = effects.ERASED | effects.SKIPPED
# Hints beyond two for each account are swept out together: their number follows the accounts, not the events.
SPARE_HINTS: Final = 1_000


class PartitionTask:
    """State, due heap and watermark of one partition. Heap entries are hints, checked against the account.

    `stale` are the accounts that the model in force may not have scored yet: `rescore` does it, or the first event or
    tick of the account before that. `rescored` are those whose score with the mark of the change is still to be made.
    `reborn` are accounts that began anew after they were erased, with when that was: what is older is dropped as if the
    account were not known. Only digests are stored, so they are found by those of all accounts at recovery.
    `arrived_ms` is when what happens now came here: the timestamp of the batch, or the due instant of a tick.
    """

    __slots__ = (
        "alert_since_ms",
        "arrived_ms",
        "band_changes",
        "due",
        "has_erasures",
        "model",
        "partition",
        "publishing_revision",
        "publishing_seq",
        "reborn",
        "rescored",
        "stale",
        "tallies",
        "urgent",
        "watermark_ms",
    )

    def __init__(self, partition: Partition, model: Model) -> None:
        self.partition = partition
        self.model = model
        self.due: list[tuple[int, bytes]] = []
        self.urgent: set[bytes] = set()
        self.stale: list[bytes] = []
        self.rescored: set[bytes] = set()
        # The last alert and the last action's outcome on their way.
        self.publishing_seq: dict[bytes, tuple[int, int]] = {}
        self.publishing_revision: dict[bytes, int] = {}  # of a record of an erasure: what of it is on its way
        self.has_erasures = False
        self.reborn: dict[bytes, int] = {}
        self.arrived_ms = 0
        self.alert_since_ms: dict[bytes, int] = {}  # by account with an alert: `arrived_ms` of what decided it
        # By input: how often each combination of effects was the outcome of a record.
        self.tallies = [[0] * effects.COMBINATIONS for _ in SOURCE_KINDS]
        self.band_changes: Counter[str] = Counter()  # by the band that was moved to
        self.watermark_ms = partition.progress

    def take_over(self, unpublished: list[bytes]) -> None:
        """Rebuild the heap after recovery, find what another model scored, mark again what may not be published."""
        fingerprint = self.model.fingerprint
        erasures: list[bytes] = []
        for key, payload in self.partition.payloads():
            if key[0] == OWN:
                erasures.append(key)
                continue
            due_ms = peek_next_due(payload)
            if due_ms is not None:
                self.due.append((due_ms, key))
            if peek_model_mark(payload) != fingerprint:
                self.stale.append(key)
        heapq.heapify(self.due)
        for key in unpublished:
            if key[0] != OWN:
                self._take_unpublished(key)
            else:
                self.partition.dirty.add(key)  # the last record may be a zombie's, which still names the account
        self._take_over_erasures(erasures)

    def _take_over_erasures(self, record_keys: list[bytes]) -> None:
        """Find the accounts that began anew, and go on with what a crash interrupted before anything else is told."""
        self.has_erasures = bool(record_keys)
        found: dict[bytes, Erasure] = {record_key: self.partition.get(record_key) for record_key in record_keys}  # type: ignore[misc]
        if found:
            for key in self.partition.data:
                if key[0] != OWN and (erasure := found.get(erasure_key(digest_of(key)))) is not None:
                    self.reborn[key] = erasure.until_ms
        for record_key, erasure in found.items():
            if erasure.account is not None:
                self.partition.bury_again(erasure.account.encode(), record_key, erasure)
            elif erasure.requests:
                self.partition.dirty.add(record_key)
            else:
                continue
            self.urgent.add(record_key)

    def _take_unpublished(self, key: bytes) -> None:
        state: AccountState = self.partition.get(key)  # type: ignore[assignment]  # it was found in the table
        if state.model_changed:
            self.rescored.add(key)
        self._use_model(key, state)
        self.partition.outdated.add(key)
        self.partition.dirty.add(key)
        if state.unsent or (state.acting is not None and state.acting.unsent):
            self.urgent.add(key)

    def use_model(self, model: Model) -> None:
        """Score every account with another model from now on; `rescore` sees to those for which nothing happens."""
        self.model = model
        self.stale = [key for key in self.partition.data if key[0] != OWN]

    def rescore(self, most: int) -> list[bytes]:
        """Have the model in force score at most `most` of the stale accounts; return their keys."""
        scored: list[bytes] = []
        while self.stale and len(scored) < most:
            key = self.stale.pop()
            state = self.partition.get(key)
            if state is not None and state.model is not self.model:
                scored.append(key)
                self._use_model(key, state)
        return scored

    def _use_model(self, key: bytes, state: AccountState) -> None:
        """Let the model in force score the account before anything else does, so that the jump is marked as its own."""
        due_before_ms = state.next_due_ms
        done = use_model(state, self.model)
        if done:
            self.rescored.add(key)
            self._note(key, state, done, due_before_ms)

    def apply(self, source: int, records: Iterable[tuple[int, bytes, Event]]) -> None:
        """Apply records (offset, key, event) of one input, each as of its own time."""
        partition, model, tally = self.partition, self.model, self.tallies[source]
        states, dirty = partition.data, partition.dirty
        watermark_ms, reborn = self.watermark_ms, self.reborn
        for offset, key, event in records:
            time_ms = event.time_ms
            watermark_ms = max(watermark_ms, time_ms)
            state = states.get(key)
            if type(state) is not AccountState:
                state = self._state(key, event)
            if state is None or (reborn and time_ms <= reborn.get(key, -1) and not is_erasure(event)):
                tally[DROPPED] += 1
                continue
            if state.model is not model:
                self._use_model(key, state)
            due_before_ms = state.next_due_ms
            done = apply_record(state, source, offset, event, time_ms, model)
            tally[done] += 1
            if done & effects.CHANGED:
                dirty.add(key)
                if done & effects.ERASED and isinstance(event, Action):
                    self._erase(key, state, source, offset, event)
                elif done & OUTCOMES or state.next_due_ms != due_before_ms:
                    self._note(key, state, done, due_before_ms)
        self.watermark_ms = watermark_ms

    def _state(self, key: bytes, event: Event) -> AccountState | None:
        """Decode an account's stored state, or begin one; None when the event is that of an erased account."""
        state: AccountState | None = self.partition.get(key)
        if state is not None:
            return state
        state = AccountState(event.account)
        if is_erasure(event):
            return state  # it erases what is left elsewhere, and is not kept
        erasure = self._erasure(key) if self.has_erasures else None
        if erasure is not None:
            if event.time_ms <= erasure.until_ms:
                return None
            self.reborn[key] = erasure.until_ms
        self.partition.put(key, state)
        return state

    def _erasure(self, key: bytes) -> Erasure | None:
        erasure: Erasure | None = self.partition.get(erasure_key(digest_of(key)))
        return erasure

    def _erase(self, key: bytes, state: AccountState, source: int, offset: int, command: Action) -> None:
        """Drop the account and have that stored and told, unless the command was counted before a crash."""
        partition, record_key = self.partition, erasure_key(digest_of(key))
        erasure = self._erasure(key) or Erasure()
        found = key in partition.data
        if erasure.counts(source, offset):
            if not found:
                partition.dirty.discard(key)
            return
        erasure.take(command, source, offset, state.clock_ms, found=found)
        partition.bury(key, record_key, erasure)
        for kept in (self.alert_since_ms, self.publishing_seq, self.reborn):
            kept.pop(key, None)
        self.urgent.discard(key)
        self.rescored.discard(key)
        self.urgent.add(record_key)
        self.has_erasures = True

    def take_urgent(self) -> set[bytes]:
        """Return the keys whose alerts and outcomes of actions must get out, which are no longer waiting then."""
        keys, self.urgent = self.urgent, set()
        return keys

    def tick_due(self, as_of_ms: int, most: int) -> int:
        """Wake at most `most` accounts that are due at `as_of_ms`, each at its own due instant; return how many."""
        due, ticked = self.due, 0
        while due and due[0][0] <= as_of_ms and ticked < most:
            due_ms, key = heapq.heappop(due)
            state = self.partition.get(key)
            if state is None or state.next_due_ms != due_ms:
                continue
            ticked += 1
            self.arrived_ms = due_ms
            if state.model is not self.model:
                self._use_model(key, state)
                if state.next_due_ms != due_ms:
                    continue
            self._note(key, state, tick(state, due_ms, self.model), due_ms)
        return ticked

    def _note(self, key: bytes, state: AccountState, done: int, due_before_ms: int | None) -> None:
        self.partition.dirty.add(key)
        if done & effects.SCORED:
            self.partition.outdated.add(key)
            if self.rescored and key in self.rescored:
                state.model_changed = True  # what happened since then goes out in the same score
        if done & effects.MOVED:
            self.band_changes[state.band] += 1
        if done & URGENT:
            self.urgent.add(key)
            if done & effects.ALERTED:
                self.alert_since_ms.setdefault(key, self.arrived_ms)
        if state.next_due_ms is not None and state.next_due_ms != due_before_ms:
            heapq.heappush(self.due, (state.next_due_ms, key))
            if len(self.due) > 2 * len(self.partition.data) + SPARE_HINTS:
                self._sweep_due()

    def _sweep_due(self) -> None:
        """Drop the hints that are no account's due instant any more."""
        self.due[:] = [hint for hint in set(self.due) if hint[0] == self._due_of(hint[1])]
        heapq.heapify(self.due)

    def _due_of(self, key: bytes) -> int | None:
        value = self.partition.data.get(key)
        if type(value) is bytes:
            return peek_next_due(value[HEADER.size :])
        return None if value is None else value.next_due_ms
