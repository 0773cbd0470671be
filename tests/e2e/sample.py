"""A portfolio to look at: simulated accounts scored by the core day after day up to today, put into a copy."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from service.ingest import Decoder
from service.model.loader import load_model
from service.outputs import alert_message, score_message
from service.scoring.engine import advance, mark_sent, step, tick
from service.scoring.events import Event
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.simulation.stream import Simulation, TimedLine
from service.topic_catalogue import TopicKind
from tests.service.copy_kit import DAY_MS, Copy, stored

ACCOUNTS: Final = 90
DAYS: Final = 150
SHOWN_DAYS: Final = 45
SEED: Final = 11


def clock_ms() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


async def fill(copy: Copy) -> None:
    """Score every day, and put the last ones into the copy as they would have come."""
    now_ms, model = clock_ms(), load_model()
    states: dict[str, AccountState] = {}
    first_day = now_ms // DAY_MS - DAYS + 1
    await copy.live()
    for day, events in _events_by_day(first_day, now_ms):
        alerts: list[tuple[bytes, bytes]] = []
        end_ms = min(now_ms, (day + 1) * DAY_MS - 1)
        for event in events:
            state = states.setdefault(event.account, AccountState(event.account))
            _pass_time(state, event.time_ms, model, alerts)
            step(state, event, event.time_ms, model)
            _hand_out(state, alerts)
        for state in states.values():
            _pass_time(state, end_ms, model, alerts)
            tick(state, end_ms, model)
            _hand_out(state, alerts)
        if day > now_ms // DAY_MS - SHOWN_DAYS:
            await copy.scores(*((name.encode(), score_message(score_view(states[name], model))) for name in states))
            await copy.alerts(*alerts)
    await copy.states(*(stored(state) for state in states.values()))
    await copy.writer.beat({}, model.version)
    await copy.live()


def newest_lines() -> dict[TopicKind, list[TimedLine]]:
    """Return the simulated events of the last 24 hours by kind."""
    now_ms = clock_ms()
    found: defaultdict[TopicKind, list[TimedLine]] = defaultdict(list)
    for line in Simulation(ACCOUNTS, DAYS, SEED, now_ms // DAY_MS - DAYS + 1).lines():
        if now_ms - DAY_MS < line.time_ms <= now_ms:
            found[line.kind].append(line)
    return found


def _events_by_day(first_day: int, now_ms: int) -> Iterator[tuple[int, list[Event]]]:
    decoder = Decoder(lambda: now_ms)
    by_day: defaultdict[int, list[Event]] = defaultdict(list)
    for line in Simulation(ACCOUNTS, DAYS, SEED, first_day).lines():
        if line.time_ms <= now_ms:
            by_day[line.time_ms // DAY_MS].append(decoder.decode(line.kind, line.account.encode(), line.value, ()))
    for day in range(first_day, now_ms // DAY_MS + 1):
        yield day, by_day[day]


def _pass_time(state: AccountState, until_ms: int, model: Model, alerts: list[tuple[bytes, bytes]]) -> None:
    while (due_ms := state.next_due_ms) is not None and due_ms <= until_ms:
        advance(state, due_ms, model)
        _hand_out(state, alerts)


def _hand_out(state: AccountState, alerts: list[tuple[bytes, bytes]]) -> None:
    alerts += ((state.account.encode(), alert_message(alert)) for alert in state.unsent)
    mark_sent(state, state.seq)
