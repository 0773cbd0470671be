"""The parts of one event's cost by themselves, in this process and without Kafka: the best of several repeats."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.workload import LIVE_MIX, Workload
from service.ingest import Decoder
from service.model.loader import load_model
from service.outputs import alert_message, score_message
from service.scoring.alerts import make_alert
from service.scoring.engine import mark_sent, step, tick
from service.scoring.events import Event, Usage
from service.scoring.explain import score_view
from service.scoring.model import Model, plan_of
from service.scoring.state import DAY_MS, AccountState
from service.scoring.state_codec import decode, encode

REPEATS: Final = 5
ACCOUNTS: Final = 200
EVENTS_PER_ACCOUNT: Final = 20


def measure_core(now_ms: int) -> list[Figure]:
    """Time decoding, scoring, ticking, storing and writing, in microseconds each, and weigh a live state."""
    workload = Workload(1)
    decoder = Decoder(lambda: now_ms)
    model = load_model(None)
    states, state_bytes = _states(workload, decoder, model, now_ms)
    stored = [encode(state) for state in states]
    views = [score_view(state, model) for state in states]
    alerts = [make_alert(state, plan_of(state), "at_risk", "healthy", None) for state in states]
    figures = _event_figures(workload, decoder, model, states, now_ms)
    timed: list[tuple[str, str, Callable[[Any], Any], Sequence[Any]]] = [
        ("encode_state", "store a state", encode, states),
        ("decode_state", "read a stored state", lambda value: decode("acct-00000000", value), stored),
        ("score_view", "explain a score", lambda state: score_view(state, model), states),
        ("score_message", "write a score message", score_message, views),
        ("alert_message", "write an alert message", alert_message, alerts),
    ]
    figures += [Figure(f"core_{name}_us", label, "us", _best_us(call, given)) for name, label, call, given in timed]
    figures.append(Figure("core_tick_us", "wake an account at midnight", "us", _tick_us(states, model)))
    figures.append(Figure("core_live_state_bytes", "live state with history, objects", "bytes", state_bytes))
    mean_stored = sum(map(len, stored)) / len(stored)
    figures.append(Figure("core_stored_state_bytes", "stored state with history", "bytes", mean_stored))
    return figures


def _states(workload: Workload, decoder: Decoder, model: Model, now_ms: int) -> tuple[list[AccountState], float]:
    """Make states with the whole history; return them and the mean bytes of their objects."""
    events = [decoder.decode_value(None, item.value) for item in workload.history(ACCOUNTS, now_ms)]
    gc.collect()
    tracemalloc.start()
    states: dict[str, AccountState] = {}
    for event in events:
        state = states.setdefault(event.account, AccountState(event.account))
        step(state, event, event.time_ms, model)
        mark_sent(state, state.seq)  # as the worker does as soon as the alert is acknowledged
    gc.collect()
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return list(states.values()), held / len(states)


def _event_figures(
    workload: Workload, decoder: Decoder, model: Model, states: list[AccountState], now_ms: int
) -> list[Figure]:
    """Time decoding and scoring of each type of event, then of the live mix."""
    figures = []
    mixed_decode = mixed_step = 0.0
    for short, share in LIVE_MIX.items():
        values = [
            workload.event(short, state.account, now_ms - 60_000 + number).value
            for number in range(EVENTS_PER_ACCOUNT)
            for state in states
        ]
        decode_us = _best_us(lambda value: decoder.decode_value(None, value), values)
        step_us = _step_us(states, [decoder.decode_value(None, value) for value in values], model)
        mixed_decode += decode_us * share
        mixed_step += step_us * share
        figures.append(Figure(f"core_step_{short}_us", f"score a {short}", "us", step_us))
    figures += _usage_figures(states, model, now_ms)
    parts = sum(LIVE_MIX.values())
    return [
        Figure("core_decode_us", "decode an event (live mix)", "us", mixed_decode / parts),
        Figure("core_step_us", "score an event (live mix)", "us", mixed_step / parts),
        *figures,
    ]


def _usage_figures(states: list[AccountState], model: Model, now_ms: int) -> list[Figure]:
    """Time the two usual logins: of a user who came the same day already, and the first of a day."""
    numbers = range(EVENTS_PER_ACCOUNT)
    again = [Usage(s.account, f"a\x1f{n}", now_ms - 60_000 + n, "login", "user-1") for n in numbers for s in states]
    daily = [
        Usage(s.account, f"a\x1f{n}", now_ms + DAY_MS * (n + 1), "login", "user-1") for n in numbers for s in states
    ]
    return [
        Figure("core_step_login_again_us", "score a login of a user seen today", "us", _step_us(states, again, model)),
        Figure("core_step_login_daily_us", "score the first login of a day", "us", _step_us(states, daily, model)),
    ]


def _step_us(states: list[AccountState], events: Sequence[Event], model: Model) -> float:
    """Time `step` on fresh copies of the states in every repeat, because it changes them."""
    best = float("inf")
    for _ in range(REPEATS):
        fresh = {state.account: _warm(decode(state.account, encode(state)), events[0], model) for state in states}
        pairs = [(fresh[event.account], event) for event in events]
        gc.disable()
        begin = time.process_time()
        for state, event in pairs:
            step(state, event, event.time_ms, model)
        best = min(best, time.process_time() - begin)
        gc.enable()
    return best / len(events) * 1e6


def _warm(state: AccountState, sample: Event, model: Model) -> AccountState:
    """Have a restored state compute its factors, which it does at its first event."""
    step(state, Usage(state.account, "warm", sample.time_ms - 1, "session", "u"), sample.time_ms - 1, model)
    return state


def _tick_us(states: list[AccountState], model: Model) -> float:
    """Time the ticks of ten days, each account at each midnight."""
    best = float("inf")
    for _ in range(REPEATS):
        fresh = [decode(state.account, encode(state)) for state in states]
        begin = time.process_time()
        for state in fresh:
            for _day in range(10):
                tick(state, state.next_due_ms or state.clock_ms + DAY_MS, model)
        best = min(best, time.process_time() - begin)
    return best / (10 * len(states)) * 1e6


def _best_us(call: Callable[[Any], Any], given: Sequence[Any]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.process_time()
        for item in given:
            call(item)
        best = min(best, time.process_time() - begin)
    return best / len(given) * 1e6
