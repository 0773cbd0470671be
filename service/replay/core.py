"""One replay: puts each account's events in order, applies them, and lets time pass to the end.

Each account runs on its own event clock: its due ticks run before its next event and at the end, so that its alerts
depend on its own events alone, and any part of the accounts gives what it gives within the whole. Nothing here reads
or writes a file. Memory is bounded by the accounts and, with a lateness, by the events within it.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import floor
from typing import Final

from service.band_history import BandHistory
from service.input_files import KIND_OF_EVENT
from service.replay.summary import ReplaySummary
from service.scoring.effects import ACTED, ALERTED, DUPLICATE, ERASED, LATE
from service.scoring.engine import advance, mark_actions_told, mark_sent, step, tick
from service.scoring.events import Event, is_erasure
from service.scoring.model import Model
from service.scoring.records import NEVER
from service.scoring.state import AccountState
from service.scoring.views import ActionTaken, Alert
from service.topic_catalogue import TOPIC_KINDS

TOLD: Final = ALERTED | ACTED
NOTABLE: Final = TOLD | DUPLICATE | LATE | ERASED
TYPE_ORDER: Final = {type_: TOPIC_KINDS.index(kind) for type_, kind in KIND_OF_EVENT.items()}
HELD_LEAST: Final = 2


class _Account:
    """One account of a replay: its state, and the events that an earlier one may still come before.

    What happened up to `erased_ms` is that of an account that is erased; `is_erased` until something happens after it.
    """

    __slots__ = ("bands", "erased_ms", "first_ms", "held", "is_erased", "newest_ms", "room", "state")

    def __init__(self, account: str, time_ms: int) -> None:
        self.state = AccountState(account)
        self.bands = BandHistory()
        self.first_ms = time_ms
        self.newest_ms = NEVER
        self.erased_ms = NEVER
        self.is_erased = False
        self.held: list[Event] = []
        self.room = HELD_LEAST  # how many are held before it is looked at which may go


class Replay:
    """One replay: `apply` events, then `drain`, then `finish` each account.

    Events at most `lateness_ms` older than the newest of their account are put in order before they are applied;
    later ones are applied as they come and counted. Events of one instant go by kind, as the worker merges its inputs.
    """

    def __init__(
        self,
        model: Model,
        *,
        until_ms: int | None = None,
        lateness_ms: int = 0,
        take_alert: Callable[[Alert], object] = lambda _: None,
        take_action: Callable[[ActionTaken], object] = lambda _: None,
        take_erasure: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.summary = ReplaySummary(model.version)
        self._model = model
        self._until_ms = until_ms
        self._lateness_ms = lateness_ms
        self._take_alert = take_alert
        self._take_action = take_action
        self._take_erasure = take_erasure
        self._accounts: dict[str, _Account] = {}

    @property
    def latest_ms(self) -> int | None:
        """The time of the latest event so far; None without any."""
        return max((account.newest_ms for account in self._accounts.values()), default=None)

    def apply(self, event: Event) -> None:
        """Take one event, unless it happened after the end."""
        time_ms = event.time_ms
        if self._until_ms is not None and time_ms > self._until_ms:
            self.summary.after_until += 1
            return
        account = self._accounts.get(event.account)
        if account is None:
            account = self._accounts[event.account] = _Account(event.account, time_ms)
        held = account.held
        if time_ms > account.newest_ms:
            account.newest_ms = time_ms
            if not self._lateness_ms and len(held) == 1:  # nearly always, so without the detour through `_release`
                event, held[0] = held[0], event
                self._step(account, event)
                return
            held.append(event)
            if len(held) >= account.room:
                self._release(account, time_ms - self._lateness_ms)
        elif time_ms >= account.newest_ms - self._lateness_ms:
            insort(held, event, key=_order)
        else:
            # Without a lateness nothing waits for order, and what waits for others of its instant has waited enough.
            self._release(account, account.newest_ms - (self._lateness_ms or -1))
            self.summary.out_of_order += 1
            self._step(account, event)

    def drain(self) -> None:
        """Apply what is still held, when no event comes any more."""
        for account in self._accounts.values():
            self._release(account, account.newest_ms + 1)

    def finish(self, until_ms: int | None) -> Iterator[AccountState]:
        """Let time pass to `until_ms` for every account, count it, and yield its state, in the order of the ids."""
        summary = self.summary
        summary.until_ms = until_ms
        for name in sorted(self._accounts):
            account = self._accounts[name]
            if account.is_erased:
                continue
            state = account.state
            if until_ms is not None:
                self._pass_time(account, until_ms)
                if tick(state, until_ms, self._model) & ALERTED:
                    self._hand_out(state)
                account.bands.note(state.band, state.clock_ms)
                summary.account_ms += max(0, until_ms - account.first_ms)
            summary.accounts += 1
            summary.bands[state.band] += 1
            summary.coverage[f"{floor(state.coverage * 10 + 1e-9) / 10}"] += 1
            summary.band_entries += account.bands.entries
            summary.band_reentries += account.bands.reentries
            yield state

    def _release(self, account: _Account, before_ms: int) -> None:
        """Apply the held events that lie before `before_ms`: no event that comes in time can be earlier."""
        held = account.held
        count = 0
        for event in held:
            if event.time_ms >= before_ms:
                break
            self._step(account, event)
            count += 1
        del held[:count]
        account.room = max(HELD_LEAST, 2 * len(held))

    def _step(self, account: _Account, event: Event) -> None:
        state = account.state
        time_ms = event.time_ms
        if time_ms <= account.erased_ms and not is_erasure(event):
            self.summary.erased += 1
            return
        account.is_erased = False
        if time_ms < account.first_ms:  # noqa: PLR1730  # a call of min() on the hottest path costs more
            account.first_ms = time_ms
        due_ms = state.next_due_ms
        if due_ms is not None and due_ms <= time_ms:
            self._pass_time(account, time_ms)
        done = step(state, event, time_ms, self._model)
        summary = self.summary
        summary.events += 1
        if done & NOTABLE:
            if done & TOLD:
                self._hand_out(state)
            if done & ERASED:
                self._erase(account)
                return
            if done & DUPLICATE:
                summary.duplicates += 1
            elif done & LATE:
                summary.late += 1
        if state.band != account.bands.band:
            account.bands.note(state.band, state.clock_ms)

    def _erase(self, account: _Account) -> None:
        """Begin anew, as the worker does: what was told stays told, and nothing else is left."""
        state = account.state
        account.erased_ms = max(account.erased_ms, state.clock_ms)
        account.state, account.bands, account.is_erased = AccountState(state.account), BandHistory(), True
        account.first_ms = account.erased_ms + 1
        self.summary.actions["erased"] += 1
        self._take_erasure(state.account)

    def _pass_time(self, account: _Account, until_ms: int) -> None:
        """Run the ticks due up to `until_ms` one by one, to see the band after each."""
        state, bands, model = account.state, account.bands, self._model
        while (due_ms := state.next_due_ms) is not None and due_ms <= until_ms:
            if advance(state, due_ms, model) & ALERTED:
                self._hand_out(state)
            if state.band != bands.band:
                bands.note(state.band, due_ms)

    def _hand_out(self, state: AccountState) -> None:
        for alert in state.unsent:
            self.summary.alerts[alert.kind] += 1
            self._take_alert(alert)
        mark_sent(state, state.seq)
        if state.acting is not None:
            for taken in state.acting.unsent:
                self.summary.actions[taken.refusal or "applied"] += 1
                self._take_action(taken)
            mark_actions_told(state, state.acting.seq)


def merge_events(streams: Sequence[Iterable[Event]]) -> Iterator[Event]:
    """Merge streams by event time as the worker merges its inputs: ties by kind, then in the order of the streams."""
    return iter(streams[0]) if len(streams) == 1 else heapq.merge(*streams, key=_order)


def _order(event: Event) -> tuple[int, int]:
    return event.time_ms, TYPE_ORDER[type(event)]
