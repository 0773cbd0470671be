"""Whether an engine came to the right states and alerts: every field of every account, every alert as often as it must.

Scores are compared to nine decimals, as one engine's JSON loses their last bit.

States are read from where the engine keeps them: from its changelog topic if it has one, else from the file that its
application writes after the clock has stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.events import Expected
from service.adapters.topic_admin import describe_partitions
from service.adapters.topic_reader import ConsumedRecord, open_reader

StateDecoder = Callable[[bytes, bytes], tuple[str, dict[str, Any]] | None]
"""Turns key and value of a changelog record into account and state; None for a record that is neither."""

SHOWN: Final = 3
SCORE_DECIMALS: Final = 9


async def read_all(bootstrap: str, topic: str) -> AsyncIterator[ConsumedRecord]:
    """Yield every record of a topic, partition by partition."""
    count = (await describe_partitions(bootstrap, [topic]))[topic] or 0
    async with open_reader(bootstrap) as reader:
        for partition in range(count):
            bounds = await reader.bounds(topic, partition)
            async for records in reader.read(topic, partition, bounds.start, bounds.end):
                for record in records:
                    yield record


async def stored_states(bootstrap: str, topic: str, decode: StateDecoder) -> dict[str, dict[str, Any]]:
    """Read the last state of each account from a changelog topic."""
    states: dict[str, dict[str, Any]] = {}
    async for record in read_all(bootstrap, topic):
        found = decode(record.key or b"", record.value or b"")
        if found is not None:
            states[found[0]] = found[1]
    return states


def dumped_states(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what an application dumped."""
    states: dict[str, dict[str, Any]] = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            state = json.loads(line)
            states[state.pop("account")] = state
    return states


async def published_alerts(bootstrap: str, topic: str) -> Counter[tuple[str, float]]:
    """Count the alerts that an engine has published."""
    found: Counter[tuple[str, float]] = Counter()
    async for record in read_all(bootstrap, topic):
        alert = json.loads(record.value or b"")
        found[alert["account_id"], round(alert["score"], SCORE_DECIMALS)] += 1
    return found


def differences(
    expected: Expected,
    states: Mapping[str, Mapping[str, Any]],
    alerts: Counter[tuple[str, float]],
    ignored_fields: frozenset[str] = frozenset(),
) -> list[str]:
    """Say in words what is not as it must be; empty when all is equal."""
    told = []
    due = Counter({(name, round(score, SCORE_DECIMALS)): count for (name, score), count in expected.alerts.items()})
    wrong = [
        f"{account}: {dict(states.get(account, {}))} instead of {state}"
        for account, state in expected.states.items()
        if _only(state, ignored_fields) != _only(states.get(account, {}), ignored_fields)
    ]
    spare = states.keys() - expected.states.keys()
    if wrong or spare:
        told.append(f"{len(wrong)} of {len(expected.states)} states differ, {len(spare)} are spare: {wrong[:SHOWN]}")
    if alerts != due:
        missing, more = due - alerts, alerts - due
        told.append(
            f"{missing.total()} of {due.total()} alerts are missing, {more.total()} are too many: "
            f"{[*missing][:SHOWN]} {[*more][:SHOWN]}"
        )
    return told


def _only(state: Mapping[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    kept = {name: value for name, value in state.items() if name not in ignored}
    return {name: round(value, SCORE_DECIMALS) if name == "score" else value for name, value in kept.items()}
