"""A portfolio to look at: simulated accounts scored by the core day after day up to today, put into a copy.

People act as well: on two of three alerts the day after, and once by setting the band of those that pay most.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from schemas.outputs import ActionName
from service.ingest import Decoder
from service.model.loader import load_model
from service.outputs import action_message, alert_message, score_message
from service.scoring.acting import acting_of
from service.scoring.engine import advance, mark_actions_told, mark_sent, step, tick
from service.scoring.events import Action, Event
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.records import Attributes
from service.scoring.state import AccountState
from service.simulation.stream import Simulation, TimedLine
from service.topic_catalogue import TopicKind
from tests.service.copy_kit import DAY_MS, Copy, stored

ACCOUNTS: Final = 90
DAYS: Final = 150
SHOWN_DAYS: Final = 90
OVERRIDE_DAYS: Final = 8  # so long ago the bands were set
OVERRIDES: Final = 4
SEED: Final = 11


def clock_ms() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


async def fill(copy: Copy) -> None:
    """Score every day, and put the last ones into the copy as they would have come."""
    now_ms, model = clock_ms(), load_model()
    states: dict[str, AccountState] = {}
    today = now_ms // DAY_MS
    alerts: list[tuple[bytes, bytes]] = []
    await copy.live()
    for day, events in _events_by_day(today - DAYS + 1, now_ms):
        told = [states[key.decode()] for key, _ in alerts]
        alerts = []
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
        acted = [
            *_answer(told, end_ms, model),
            *(_override(states, end_ms, model) if day == today - OVERRIDE_DAYS else ()),
        ]
        for state in states.values():
            _hand_out(state, alerts)
        if day > today - SHOWN_DAYS:
            await copy.scores(*((name.encode(), score_message(score_view(states[name], model))) for name in states))
            await copy.alerts(*alerts)
            await copy.actions(*acted)
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


def _answer(told: list[AccountState], now_ms: int, model: Model) -> Iterator[tuple[bytes, bytes]]:
    """Acknowledge and resolve the last alerts of accounts, and leave every third."""
    does: tuple[ActionName | None, ...] = ("acknowledge", "resolve", None)
    for number, state in enumerate(told):
        if action := does[number % len(does)]:
            yield _act(state, now_ms, model, action, alert_seq=state.seq)


def _override(states: dict[str, AccountState], now_ms: int, model: Model) -> Iterator[tuple[bytes, bytes]]:
    """Set the band of the accounts that pay most among those at risk."""
    at_risk = [state for state in states.values() if state.band in {"at_risk", "endangered"} and state.attributes]
    at_risk.sort(key=lambda state: -((state.attributes or Attributes()).mrr_minor or 0))
    said: dict[str, Any] = {"band": "endangered", "reason": "The champion left", "until_ms": now_ms + 5 * DAY_MS}
    for state in at_risk[:OVERRIDES]:
        yield _act(state, now_ms, model, "override", **said)


def _act(state: AccountState, now_ms: int, model: Model, action: ActionName, **said: Any) -> tuple[bytes, bytes]:
    step(state, Action(state.account, f"page\x1f{action}-{now_ms}", now_ms, action, "dana", **said), now_ms, model)
    acting = acting_of(state)
    taken = acting.unsent[-1]
    mark_actions_told(state, acting.seq)
    return state.account.encode(), action_message(taken)


def _hand_out(state: AccountState, alerts: list[tuple[bytes, bytes]]) -> None:
    alerts += ((state.account.encode(), alert_message(alert)) for alert in state.unsent)
    mark_sent(state, state.seq)
