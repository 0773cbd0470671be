"""The oracle's own ground: the live log has one outcome in every interleaving, and each difference is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from schemas.outputs import ActionName, ActionRefusal
from service.ingest import Decoder
from service.model.loader import load_model
from service.topic_catalogue import REKEYED_SOURCE, TOPIC_KINDS, TopicNames
from tests.chaos.logs import EXPECT_HEADER, LIVE_NOON_MS, LogRecord, acting_log, history_log, home_of, live_log
from tests.chaos.oracle import Applied, CoreAccounting, Expected, NaiveAccounting, expected_outcome

LIVE = Path(__file__).parent / "live.yaml"
MODEL = load_model(LIVE)
TOPICS = TopicNames()


def written(log: list[LogRecord]) -> dict[str, list[Any]]:
    """Give the records the places that a broker would give them."""
    read: dict[str, list[Any]] = {TOPICS.input(kind): [] for kind in TOPIC_KINDS}
    ends: dict[tuple[str, int], int] = {}
    for record in log:
        topic = TOPICS.input(record.kind)
        offset = ends[topic, record.partition] = ends.get((topic, record.partition), -1) + 1
        fields = {"key": record.key, "value": record.value, "headers": record.headers}
        read[topic].append(SimpleNamespace(partition=record.partition, offset=offset, **fields))
    for records in read.values():
        records.sort(key=lambda record: (record.partition, record.offset))
    return read


@pytest.mark.parametrize("seed", range(3))
def test_the_live_log_has_one_outcome_in_every_interleaving(seed: int) -> None:
    """However the topics of a partition interleave, scores, alerts and states are those of the oracle."""
    read = written(live_log(seed, accounts=60, ticket_rounds=5))
    copies: dict[str, int] = {}
    for record in (record for records in read.values() for record in records):
        if record.key and not record.headers and record.partition != home_of(record.key):
            copies[record.key.decode()] = copies.get(record.key.decode(), -1) + 1
    expected = expected_outcome(TOPICS, "wall", [CoreAccounting(MODEL), NaiveAccounting(LIVE)], read, copies)
    assert sum(map(len, expected.alerts.values())) > 300
    assert len(expected.dead_letters) >= 15
    assert len(expected.strays) >= 10
    assert sum(map(len, expected.actions.values())) > 60
    for shuffle in range(5):
        found = Expected()
        accounting = CoreAccounting(MODEL)
        for each in interleaved(read, Random(shuffle)):
            accounting.apply(each)
        accounting.finish(found, LIVE_NOON_MS)
        assert found.states == expected.states
        assert found.alerts == expected.alerts
        assert found.actions == expected.actions
        assert found.scores == expected.scores


def interleaved(read: dict[str, list[Any]], rng: Random) -> Iterator[Applied]:
    """Take the records of every partition of every topic in order, and the topics in any."""
    decoder = Decoder(lambda: 1 << 62)
    streams: dict[tuple[int, int], list[Applied]] = {}
    for topic, kind in TOPICS.inputs.items():
        source = TOPICS.source_of(topic)
        for record in read[topic]:
            if EXPECT_HEADER in dict(record.headers):
                continue
            event = decoder.decode(kind, record.key, record.value, ())
            stray = record.partition != home_of(record.key)
            place = (REKEYED_SOURCE, rng.randrange(4)) if stray else (source, record.partition)
            streams.setdefault(place, []).append(Applied(place[0], record.offset, event, record.value))
    numbers: dict[str, int] = {}
    while streams:
        place = rng.choice(list(streams))
        each = streams[place].pop(0)
        if place[0] == REKEYED_SOURCE:
            number = numbers[each.event.account] = numbers.get(each.event.account, -1) + 1
            each = each._replace(offset=number)
        yield each
        if not streams[place]:
            del streams[place]


def test_the_history_log_covers_what_it_says() -> None:
    """The log of the event clock holds alerts, dead letters, strays, duplicates and late records."""
    log = history_log(7, accounts=40, days=100)
    assert log == history_log(7, accounts=40, days=100)
    read = written(log)
    expected = expected_outcome(
        TOPICS, "event", [CoreAccounting(load_model(None)), NaiveAccounting(None, every=4)], read, {}
    )
    assert sum(map(len, expected.alerts.values())) > 20
    assert len(expected.dead_letters) >= 15
    assert len(expected.strays) >= 10
    values = [record.value for record in log if not record.headers]
    assert len(values) - len(set(values)) > len(values) // 50


def test_the_acting_log_covers_what_it_says() -> None:
    """It holds every kind of action, applied and refused for every reason but age, and alerts that were held back."""
    log = acting_log(7, accounts=40, days=100)
    assert log == acting_log(7, accounts=40, days=100)
    expected = expected_outcome(
        TOPICS, "event", [CoreAccounting(load_model(None)), NaiveAccounting(None, every=2)], written(log), {}
    )
    actions = [each for found in expected.actions.values() for each in found]
    assert {each["action"] for each in actions if each["refusal"] is None} == set(get_args(ActionName))
    refusals = set(get_args(ActionRefusal)) - {"old_alert"}
    assert {each["refusal"] for each in actions if each["refusal"] is not None} == refusals
    alerts = [json.loads(alert)["data"] for found in expected.alerts.values() for alert in found]
    assert sum(alert["suppressed"] for alert in alerts) > 5
    values = [record.value for record in log if record.kind == "action"]
    assert len(values) - len(set(values)) > len(values) // 50
