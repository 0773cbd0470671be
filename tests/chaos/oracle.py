"""What must be there after a run, computed from the input topics alone, as they are read back.

The rule: nothing of the runtime is used here, and nothing that the workers wrote. One account's records are applied one
by one in the order of `logs.py`, each once; a header says which records must become dead letters. What an account
then is, the scoring core says, to the byte; and `tests.oracle`, which shares no code with it and recounts everything at
every step, must come to the same alerts, bands and scores.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import yaml

from schemas.times import time_text
from service.account_topics import digest_key
from service.core_events import ID_SEPARATOR
from service.ingest import Decoder
from service.outputs import action_message, alert_message, score_message
from service.scoring.engine import advance, apply_record, mark_actions_told, mark_sent
from service.scoring.events import Action, Event, is_erasure
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.recent_ids import HASH_BYTES
from service.scoring.state import AccountState
from service.scoring.state_codec import decode, encode
from service.settings import Clock
from service.topic_catalogue import REKEYED_SOURCE, SOURCE_KINDS, TopicNames
from tests.chaos.logs import EXPECT_HEADER, LIVE_NOON_MS, home_of
from tests.oracle import Oracle

Origin = tuple[str, int, int]
"""Where a record stands: topic, partition, offset."""

USER_BYTES = 6
NO_COPY = 1 << 40  # an offset for copies that should be there and are not
# Never stored, or grown by how the work was cut into flushes and not by what happened.
NOT_COMPARED = {"dues", "key_features", "model", "outputs", "plan", "rest", "truths", "revision", "recent_began_ms"}
SCORE_FIELDS = (
    "seq",
    "score",
    "band",
    "computed_band",
    "coverage",
    "model_version",
    "rules",
    "name",
    "tier",
    "mrr_minor",
    "owner",
    "stage",
    "profile",
    "override_reason",
    "snoozed_until",
    "csm_sentiment",
)


@dataclass
class Expected:
    """The outcome that a run must have."""

    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: dict[str, list[bytes]] = field(default_factory=dict)
    actions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    dead_letters: dict[Origin, tuple[str, bytes | None, bytes | None]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    strays: dict[Origin, tuple[bytes, bytes]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    """Good records by account, each repetition counted."""


class Applied(NamedTuple):
    """One good record in the place where its account finds it."""

    source: int
    offset: int
    event: Event
    value: bytes
    """The event as it crosses the wire."""


class Accounting(Protocol):
    """Says what an account is after its records."""

    def apply(self, record: Applied) -> None:
        """Take the account's next record."""

    def finish(self, expected: Expected, until_ms: int) -> None:
        """Let time pass to the end and write every account's outcome down."""


class CoreAccounting:
    """The scoring core, one account at a time."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._states: dict[str, AccountState] = {}
        self._alerts: dict[str, list[bytes]] = {}
        self._actions: dict[str, list[dict[str, Any]]] = {}
        self._erased_ms: dict[str, int] = {}

    def apply(self, record: Applied) -> None:
        """Take the account's next record."""
        account, event = record.event.account, record.event
        if is_erasure(event):
            self._erase(event)
            return
        if event.time_ms <= self._erased_ms.get(account, -1):
            return
        state = self._states.setdefault(account, AccountState(account))
        apply_record(state, record.source, record.offset, event, event.time_ms, self._model)
        self._take_alerts(state)

    def _erase(self, command: Event) -> None:
        """Forget the account; all of it is older than the command, so the order of other topics changes nothing."""
        assert isinstance(command, Action)
        account, told = command.account, self._actions.setdefault(digest_key(command.account).decode(), [])
        self._states.pop(account, None)
        self._erased_ms[account] = command.time_ms
        source, _, action_id = command.event_id.partition(ID_SEPARATOR)
        done = {"account_sha256": digest_key(account).decode(), "seq": len(told) + 1, "source": source}
        done |= {"action_id": action_id, "actor": command.actor, "reason": command.reason}
        done |= {"acted_at": time_text(command.time_ms), "stores": ["state", "changelog", "scores"]}
        told.append({**done, "followers": ["alerts", "copy"]})

    def finish(self, expected: Expected, until_ms: int) -> None:
        """Let time pass to the end and write every account's outcome down."""
        for account, state in self._states.items():
            advance(state, until_ms, self._model)
            self._take_alerts(state)
            expected.states[account] = plain_state(decode(account, encode(state)))
            expected.scores[account] = plain_score(score_message(score_view(state, self._model)))
        expected.alerts.update(self._alerts)
        expected.actions.update(self._actions)
        expected.erased.update(self._erased_ms)

    def _take_alerts(self, state: AccountState) -> None:
        for alert in state.unsent:
            self._alerts.setdefault(state.account, []).append(alert_message(alert))
        mark_sent(state, state.seq)
        for taken in state.acting.unsent if state.acting is not None else ():
            self._actions.setdefault(state.account, []).append(plain_action(action_message(taken)))
            mark_actions_told(state, taken.seq)


class NaiveAccounting:
    """The oracle of the health model's own tests; it must agree with what is expected already."""

    def __init__(self, model_path: Path | None, every: int = 1) -> None:
        """Recount one account of `every`."""
        packaged = resources.files("service.model").joinpath("default.yaml")
        self._document = yaml.safe_load((model_path or packaged).read_text(encoding="utf-8"))
        self._every = every
        self._accounts: dict[str, Oracle] = {}

    def apply(self, record: Applied) -> None:
        """Take the account's next record."""
        account = record.event.account
        if crc32(account.encode()) % self._every:
            return
        oracle = self._accounts.setdefault(account, Oracle(account, self._document))
        oracle.apply(record.source, record.offset, json.loads(record.value), record.event.time_ms)

    def finish(self, expected: Expected, until_ms: int) -> None:
        """Let time pass to the end and compare."""
        for account, oracle in self._accounts.items():
            oracle.pass_time(until_ms)
            told = [alert.id for alert in oracle.telling.alerts]
            expected_ids = [json.loads(value)["id"] for value in expected.alerts.get(account, [])]
            score = expected.scores[account]["score"]
            mine = None if oracle.scored is None else oracle.scored.score
            assert told == expected_ids, f"core and oracle disagree about the alerts of {account}"
            actions = [(each.action_id, each.refusal, each.alert_state) for each in oracle.actions.outcomes]
            known = expected.actions.get(account, [])
            expected_actions = [(each["action_id"], each["refusal"], each["alert_state"]) for each in known]
            assert actions == expected_actions, f"they disagree about the actions on {account}"
            assert oracle.published == expected.scores[account]["band"], f"they disagree about the band of {account}"
            assert (mine is None) == (score is None), f"they disagree about a score of {account}"
            assert mine is None or isclose(mine, score, abs_tol=0.006), f"they disagree about the score of {account}"


class InOrder:
    """Has an accounting take every account's records in the order of their times, whatever order they came in."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting
        self._records: list[Applied] = []

    def apply(self, record: Applied) -> None:
        """Keep the account's next record."""
        self._records.append(record)

    def finish(self, expected: Expected, until_ms: int) -> None:
        """Pass all records on in order, and finish."""
        for number, record in enumerate(sorted(self._records, key=lambda each: each.event.time_ms)):
            self._accounting.apply(record._replace(offset=number))  # in order they would have had other offsets
        self._accounting.finish(expected, until_ms)


def expected_outcome(
    topics: TopicNames,
    clock: Clock,
    accountings: Sequence[Accounting],
    read: dict[str, list[Any]],
    rekeyed_offsets: dict[str, int],
) -> Expected:
    """Replay the input topics (`read`, by name, partition by partition in offset order).

    `rekeyed_offsets`: the offset of each account's last copy, which only the copies themselves can tell.
    """
    expected = Expected()
    by_partition: dict[int, list[list[Applied]]] = {}
    decoder = Decoder(lambda: 1 << 62)
    for topic, kind in topics.inputs.items():
        source = topics.source_of(topic)
        for record in read[topic]:
            reason = dict(record.headers).get(EXPECT_HEADER)
            origin = (topic, record.partition, record.offset)
            if reason is not None:
                expected.dead_letters[origin] = (reason.decode(), record.key, record.value)
                continue
            event = decoder.decode(kind, record.key, record.value, ())
            expected.events[event.account] = expected.events.get(event.account, 0) + 1
            home = home_of(record.key)
            applied = Applied(source, record.offset, event, record.value)
            if record.partition != home:
                expected.strays[origin] = (record.key, record.value)
                applied = Applied(REKEYED_SOURCE, rekeyed_offsets.get(event.account, NO_COPY), event, record.value)
            streams = by_partition.setdefault(home, [[] for _ in SOURCE_KINDS])
            streams[applied.source].append(applied)
    latest_ms = 0
    for streams in by_partition.values():
        for each in _in_order(clock, streams):
            for accounting in accountings:
                accounting.apply(each)
            latest_ms = max(latest_ms, each.event.time_ms)
    for accounting in accountings:
        accounting.finish(expected, latest_ms if clock == "event" else LIVE_NOON_MS)
    return expected


def _in_order(clock: Clock, streams: list[list[Applied]]) -> Iterator[Applied]:
    """Put one partition's records in the order in which they count."""
    streams = [*streams]
    streams[REKEYED_SOURCE] = _numbered(streams[REKEYED_SOURCE])
    if clock == "event":
        # As long as no input is empty, the earliest head goes first; ties go by input.
        yield from heapq.merge(*streams, key=lambda each: each.event.time_ms)
        return
    for stream in streams:
        yield from stream


def _numbered(strays: Iterable[Applied]) -> list[Applied]:
    """Give copies rising offsets that end with the last one's, or all but the first would count as applied."""
    by_account: dict[str, list[Applied]] = {}
    for each in strays:
        by_account.setdefault(each.event.account, []).append(each)
    return [
        each._replace(offset=each.offset - len(group) + 1 + number)
        for group in by_account.values()
        for number, each in enumerate(group)
    ]


# -- what is compared ----------------------------------------------------------------------------------------


def plain_state(state: AccountState) -> dict[str, Any]:
    """Write a state as plain values that do not depend on the order of what counts as a set."""
    found = {name: plain(getattr(state, name)) for name in names_of(AccountState) if name not in NOT_COMPARED}
    found["recent_ids"] = _pieces(state.recent_old + state.recent_new, HASH_BYTES)
    found["users"] = _pieces(state.users, USER_BYTES)
    del found["recent_old"], found["recent_new"]
    return found


def _pieces(whole: bytes, size: int) -> list[str]:
    return sorted(whole[start : start + size].hex() for start in range(0, len(whole), size))


def names_of(kind: type) -> tuple[str, ...]:
    """Name the attributes of a class of the core, plain or compiled."""
    found: tuple[str, ...] = getattr(kind, "__slots__", ()) or getattr(kind, "__mypyc_attrs__", ())
    return found


def plain(value: Any) -> Any:
    """Turn a value of the core into one that JSON and a person can read."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "items"):
        return {str(key): plain(inner) for key, inner in sorted(value.items(), key=lambda item: str(item[0]))}
    slots = names_of(type(value))
    if slots and not isinstance(value, tuple):
        return {name: plain(getattr(value, name)) for name in slots}
    return [plain(inner) for inner in value]


def plain_score(message: bytes) -> dict[str, Any]:
    """Take what a score says whenever it is told; words and ages in it are those of the moment of the flush."""
    data = json.loads(message)["data"]
    found = {name: data[name] for name in SCORE_FIELDS}
    found["factors"] = {factor["name"]: [factor["output"], factor["weight"]] for factor in data["factors"]}
    return found


def plain_action(message: bytes) -> dict[str, Any]:
    """Take what an outcome says whatever the account's other records did to its clock meanwhile."""
    data: dict[str, Any] = json.loads(message)["data"]
    del data["as_of"]
    data.pop("found", None)  # of an erasure: it may come before all that it erases
    return data
