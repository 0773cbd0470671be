"""Files on a real broker: what is published stands where any Kafka client would put it, and what is watched is safe."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner

from schemas.codec import encode_input
from schemas.outputs import DeadLetter
from service.adapters.topic_admin import ensure_topics
from service.ingest import Decoder
from service.input_files import InputFile
from service.model.loader import load_model
from service.outputs import CLOUD_EVENT_HEADERS
from service.publish import publish_events
from service.replay import ReplayOptions, replay_files
from service.settings import Settings
from service.simulation import Simulation
from service.topic_catalogue import TopicNames
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce, read_topic

pytestmark = pytest.mark.kafka

FAR_MS = 4_000_000_000_000


def environment(settings: Settings) -> dict[str, str]:
    return {
        "VITALS_BROKER": settings.broker or "",
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
    }


def read_inputs(settings: Settings) -> dict[str, list[tuple[int, bytes, bytes]]]:
    """Read all input topics: per topic, (partition, key, value) in offset order within a partition."""
    return {
        topic: [(record.partition, record.key, record.value) for record in read_topic(str(settings.broker), topic)]
        for topic in TopicNames.from_settings(settings).inputs
    }


def create_topics(settings: Settings) -> TopicNames:
    names = TopicNames.from_settings(settings)
    asyncio.run(ensure_topics(str(settings.broker), names))
    return names


def test_published_files_stand_where_any_client_would_put_them(
    settings: Settings, tmp_path: Path, vitals: Vitals
) -> None:
    """NDJSON and CSV land in their kind's topic, keyed, on murmur2's partition, in file order, byte for byte."""
    simulated = [(line.kind, line.value) for line in Simulation(accounts=12, days=40, seed=2).lines()]
    events = tmp_path / "events.ndjson"
    events.write_bytes(b"\n".join(value for _, value in simulated) + b"\nnot json\n")
    rows = tmp_path / "logins.csv"
    rows.write_text("date,org,who\n2025-03-01,acme,ann\n2025-03-01,acme,ann\n2025-03-0x,acme,ann\n")

    done = vitals("publish", str(events), "--json", **environment(settings))
    assert done.returncode == 0, done.stderr
    assert f"{events}:{len(simulated) + 1}: not_json" in done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["events"] == len(simulated)
    assert summary["refused"] == {"not_json": 1}
    mapping = ("--columns", "account=org,user=who,time=date", "--set", "type=login")
    done = vitals("publish", str(rows), *mapping, **environment(settings))
    assert done.returncode == 0, done.stderr
    assert f"{rows}:4: invalid_event: time" in done.stderr

    names = TopicNames.from_settings(settings)
    decoder = Decoder(lambda: FAR_MS)
    for topic, records in read_inputs(settings).items():
        kind = names.inputs[topic]
        found: dict[bytes, list[bytes]] = defaultdict(list)
        for partition, key, value in records:
            decoder.decode(kind, key, value, ())
            assert DefaultPartitioner()(key, list(range(8)), list(range(8))) == partition
            found[key].append(value)
        acme = found.pop(b"acme", [])
        assert len({orjson.loads(value)["id"] for value in acme}) == len(acme) == (2 if kind == "usage" else 0)
        expected: dict[bytes, list[bytes]] = defaultdict(list)
        for line_kind, value in simulated:
            if line_kind == kind:
                expected[orjson.loads(value)["subject"].encode()].append(value)
        assert found == expected


def test_many_batches_arrive_in_order(settings: Settings, tmp_path: Path) -> None:
    """Values that fill many batches of one partition all arrive, in order."""
    path = tmp_path / "large.ndjson"
    with path.open("wb") as lines:
        for number in range(3_000):
            data = {"user": "ann", "note": "x" * 2_000}
            lines.write(
                encode_input("login", data, event_id=str(number), source="s", account="acme", time_ms=FAR_MS) + b"\n"
            )
    names = TopicNames.from_settings(settings)
    events = InputFile(str(path)).events(Decoder(lambda: FAR_MS), lambda _: None)
    summary = asyncio.run(publish_events(str(settings.broker), names, events))
    assert summary.topics == {names.input("usage"): 3_000}
    records = read_inputs(settings)[names.input("usage")]
    assert [orjson.loads(value)["id"] for _, _, value in records] == [str(number) for number in range(3_000)]


def test_strict_stops_after_the_lines_before(settings: Settings, tmp_path: Path, vitals: Vitals) -> None:
    """With --strict the first bad line ends it with exit code 1; the lines before it are published."""
    path = tmp_path / "events.ndjson"
    good = [line.value for line in Simulation(accounts=5, days=5, seed=2).lines()][:3]
    path.write_bytes(b"\n".join([*good, b"bad", *good]))
    done = vitals("publish", str(path), "--strict", **environment(settings))
    assert done.returncode == 1
    assert f"{path}:4: not_json" in done.stderr.replace("\n", "")
    found = read_inputs(settings)
    assert sorted(value for records in found.values() for _, _, value in records) == sorted(good)


def test_an_interrupt_publishes_what_was_read(settings: Settings) -> None:
    """Ctrl-C while the input is silent: what was read before is acknowledged, and the exit code is 130."""
    names = create_topics(settings)
    value = encode_input("login", {"user": "ann"}, event_id="1", source="s", account="acme", time_ms=1_700_000_000_000)
    command = [sys.executable, "-m", "service.cli.main", "publish", "-", "--json"]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("VITALS_")}
    with subprocess.Popen(
        command, env={**inherited, **environment(settings)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(value + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not read_topic(str(settings.broker), names.input("usage")):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        summary = orjson.loads(process.stdout.read())
        assert process.wait() == 130
    assert (summary["events"], summary["interrupted"]) == (1, True)


def test_alerts_are_watched_as_published(settings: Settings, tmp_path: Path, vitals: Vitals) -> None:
    """Of a band's and a rule's alert account, kind and sentence are shown, and what was held back; JSON has all."""
    log = tmp_path / "log.ndjson"
    log.write_bytes(b"\n".join(line.value for line in Simulation(accounts=30, days=120, seed=3).lines()))
    replay_files([InputFile(str(log))], Decoder(lambda: FAR_MS), load_model(), ReplayOptions(out=tmp_path / "out"))
    events = [orjson.loads(line) for line in (tmp_path / "out" / "alerts.ndjson").read_bytes().splitlines()]
    of_band = next(event for event in events if event["type"] == "io.vitals.alert.v1")
    of_rule = next(event for event in events if event["type"] == "io.vitals.rule_alert.v1")
    of_rule["data"]["suppressed"] = 2
    names = create_topics(settings)
    headers = list(CLOUD_EVENT_HEADERS)
    for event in (of_band, of_rule):
        record = (event["subject"].encode(), orjson.dumps(event), headers)
        produce(str(settings.broker), names.alerts, [record])

    options = ("--from-start", "--limit", "2", "--seconds", "30")
    shown = vitals("watch", "alerts", *options, **environment(settings))
    assert shown.returncode == 0, shown.stderr
    for event in (of_band, of_rule):
        (line,) = [line for line in shown.stdout.splitlines() if f" {event['data']['kind']} " in line]
        numbered = f"alert {event['data']['seq']}: {event['data']['sentence']}"  # the number that `act --alert` takes
        for text in (event["time"], event["subject"], numbered):
            assert text in line
        assert ("(2 held back before)" in line) == (event is of_rule)
    as_json = vitals("watch", "alerts", "--json", *options, **environment(settings))
    found = [orjson.loads(line) for line in as_json.stdout.splitlines()]
    assert sorted(found, key=lambda event: event["id"]) == sorted((of_band, of_rule), key=lambda event: event["id"])


def test_hostile_texts_do_not_reach_the_terminal(settings: Settings, vitals: Vitals) -> None:
    """A dead letter with control characters in its key and a message that cannot be read are shown escaped."""
    topic = create_topics(settings).dead_letters("usage")
    letter = DeadLetter(
        reason="not_json",
        detail="bad\x1b[2Jdetail\x9b\u202e",
        topic="product-usage",
        partition=3,
        offset=7,
        failed_at_ms=1_700_000_000_000,
        app_version="1",
    )
    records = [(b"k\x1b]0;owned\x07", b"\x00\x1b", list(letter.to_headers())), (b"\x1b[31mkey", b"no headers")]
    produce(str(settings.broker), topic, records)
    options = ("--from-start", "--limit", "2", "--seconds", "30")
    shown = vitals("watch", "dlq", *options, **environment(settings))
    assert shown.returncode == 0, shown.stderr
    assert "product-usage/3/7" in shown.stdout
    assert "bad\\x1b[2Jdetail\\x9b\\u202e" in shown.stdout
    assert "unreadable" in shown.stdout
    as_json = vitals("watch", "dlq", "--json", *options, **environment(settings))
    for output in (shown.stdout, as_json.stdout):
        assert all(char.isprintable() or char == "\n" for char in output)
    letters = [orjson.loads(line) for line in as_json.stdout.splitlines()]
    assert {letter.get("value_base64") for letter in letters} == {"ABs=", None}


def test_watching_a_missing_topic_names_the_cure(settings: Settings, vitals: Vitals) -> None:
    """A topic that does not exist is an error that says how to make it."""
    done = vitals("watch", "scores", **environment(settings))
    assert done.returncode == 1
    assert "vitals topics apply" in done.stderr


def test_brokers_that_do_not_answer_are_named(vitals: Vitals, tmp_path: Path) -> None:
    """Without a broker at the address, publishing ends with one line that names it."""
    path = tmp_path / "events.ndjson"
    path.touch()
    done = vitals("publish", str(path), VITALS_BROKER="127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
