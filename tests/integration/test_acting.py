"""Actions on a real broker: from the command line through the worker to the audit, the alerts and the view."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.codec import encode_input
from schemas.outputs import ActionTakenData
from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import describe_partitions
from service.commands import Desk, make_command, open_desk
from service.errors import DependencyError
from service.settings import Settings
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce, read_topic
from tests.integration.test_worker import Deployment, home_of, login

pytestmark = pytest.mark.kafka

MODEL = Path(__file__).parents[1] / "chaos" / "live.yaml"  # a ticket decides


@pytest.fixture
def deployment(settings: Settings, vitals: Vitals, tmp_path: Path) -> Deployment:
    """Make a deployment with its topics."""
    return Deployment(settings, vitals, tmp_path)


def open_ticket(deployment: Deployment, account: str, ticket: str) -> None:
    """Let trouble begin for an account."""
    now_ms = time.time_ns() // 1_000_000
    data = {"ticket": ticket, "severity": "normal"}
    value = encode_input("ticket_opened", data, event_id=ticket, source="test", account=account, time_ms=now_ms)
    produce(deployment.bootstrap, deployment.names.input("ticket"), [(account.encode(), value, (), None)])


def act(deployment: Deployment, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run `vitals act`; returns what it says as JSON."""
    done = deployment.run("act", *arguments, "--actor", "dana", "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def audit(deployment: Deployment) -> list[dict[str, Any]]:
    """Return what became of every action, in the order of the topic."""
    return [json.loads(record.value)["data"] for record in read_topic(deployment.bootstrap, deployment.names.audit)]


def wait_until(what: Any, within_seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_a_person_does_is_applied_once_and_answered(deployment: Deployment) -> None:
    """Waited for, repeated, published while no worker runs, killed after: each action is applied once, in order."""
    with deployment.start("--model", str(MODEL)) as worker:
        produce(deployment.bootstrap, deployment.names.input("usage"), [(b"acme", login("acme", "l1"), (), None)])
        open_ticket(deployment, "acme", "t1")
        wait_until(lambda: len(deployment.alerts()) == 1)
        done = act(deployment, "acknowledge", "acme", "--alert", "1", "--wait", "--id", "first")
        assert (done["action_id"], done["outcome"]["alert_state"]) == ("first", "acknowledged")
        assert act(deployment, "acknowledge", "acme", "--alert", "1", "--wait", "--id", "first") == done
        refused = act(deployment, "resolve", "acme", "--alert", "7", "--wait", code=1)
        assert refused["outcome"]["refusal"] == "unknown_alert"
        worker.kill()
    until = ("--until", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 9 * 86_400)))
    assert act(deployment, "snooze", "acme", *until, "--note", "on holiday")["outcome"] is None
    act(deployment, "override", "acme", "--band", "endangered", "--reason", "champion left", *until)
    act(deployment, "sentiment", "acme", "--value=-0.5")
    with deployment.start("--model", str(MODEL)) as worker:
        open_ticket(deployment, "other", "t2")
        noted = act(deployment, "note", "acme", "--note", "Größe \x1b[31m".replace("\x1b", "?"), "--wait")
        assert noted["outcome"]["seq"] == 6
        wait_until(lambda: deployment.scores()["acme"]["csm_sentiment"] == -0.5)
        wait_until(lambda: len(deployment.alerts()) == 2)
        deployment.wait(worker)
        assert worker.terminate() == 0
    taken = {each["seq"]: each for each in audit(deployment)}
    assert sorted(taken) == [1, 2, 3, 4, 5, 6]
    whats = [(each["action"], each["refusal"]) for _, each in sorted(taken.items())]
    assert whats == [
        ("acknowledge", None),
        ("resolve", "unknown_alert"),
        ("snooze", None),
        ("override", None),
        ("sentiment", None),
        ("note", None),
    ]
    assert {each["actor"] for each in taken.values()} == {"dana"}
    # The override put the band into endangered, but the account is snoozed.
    assert sorted(alert["account"] for alert in deployment.alerts()) == ["acme", "other"]
    score = deployment.scores()["acme"]
    assert (score["band"], score["computed_band"], score["override_reason"]) == (
        "endangered",
        "at_risk",
        "champion left",
    )
    assert score["snoozed_until"] == score["override_until"]
    shown = json.loads(deployment.run("state", "show", "acme", "--model", str(MODEL), "--json").stdout)
    assert (shown["action_seq"], shown["alert_states"], shown["unsent_actions"]) == (6, {"1": "acknowledged"}, [])
    explained = deployment.run("explain", "acme", "--live")
    assert "acknowledged" in explained.stdout
    assert "dana override endangered champion left" in explained.stdout
    watched = deployment.run("watch", "actions", "--from-start", "--limit", "6")
    assert "dana (refused, unknown_alert)" in watched.stdout


def test_a_desk_that_hears_nothing_any_more_says_so(deployment: Deployment) -> None:
    """Instead of letting those wait who cannot be told."""
    names, topics = deployment.names, (deployment.names.input("action"), deployment.names.audit)

    async def act_deaf() -> None:
        counts = {name: count or 0 for name, count in (await describe_partitions(deployment.bootstrap, topics)).items()}
        async with open_consumer(deployment.bootstrap) as consumer:
            consumer.assign([TopicPartition(names.audit, 0)])
            producer = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap)
            await producer.start()
            desk = Desk(deployment.bootstrap, names, counts, producer, consumer)
            try:
                await consumer.stop()
                await desk.settle(make_command("note", "acme", {"actor": "eve", "note": "?"}, source="test"), 60.0)
            finally:
                await desk.close()
                await producer.stop()

    began = time.monotonic()
    with pytest.raises(DependencyError, match="cannot be read"):
        asyncio.run(act_deaf())
    assert time.monotonic() - began < 30


def test_actions_that_are_no_use_or_astray_are_treated_as_every_record(deployment: Deployment) -> None:
    """One that cannot be read is set aside with its reason, one on a foreign partition is applied once all the same."""
    topic = deployment.names.input("action")
    said = {"actor": "eve", "note": "astray"}
    now_ms = time.time_ns() // 1_000_000
    stray = encode_input("add_note", said, event_id="stray", source="test", account="acme", time_ms=now_ms)
    bad = stray.replace(b"actor", b"tutor")
    produce(
        deployment.bootstrap,
        topic,
        [
            (b"acme", stray, (), (home_of(b"acme") + 1) % 8),
            (b"acme", bad, (), None),
            (b"acme", login("acme", "l1"), (), None),
        ],
    )

    async def act_and_wait() -> list[tuple[int, str | None]]:
        async with open_desk(deployment.bootstrap, deployment.names) as desk:
            commands = [make_command("note", "acme", {"actor": "eve", "note": str(n)}, source="test") for n in range(3)]
            taken = await asyncio.gather(*(desk.settle(command, 60.0) for command in commands))
            again = await desk.outcome(commands[1].key)
            assert again == taken[1]
            return [(each.seq, each.note) for each in taken if isinstance(each, ActionTakenData)]

    with deployment.start("--model", str(MODEL)) as worker:
        found = asyncio.run(act_and_wait())
        deployment.wait(worker)
        wait_until(lambda: len(audit(deployment)) == 4)
        assert worker.terminate() == 0
    assert [note for _, note in found] == ["0", "1", "2"]
    assert sorted(each["seq"] for each in audit(deployment)) == [1, 2, 3, 4]
    letters = read_topic(deployment.bootstrap, deployment.names.dead_letters("action"))
    reasons = {record.value: dict(record.headers)["dlq.reason"] for record in letters}
    assert sorted(reasons.values()) == [b"invalid_event", b"wrong_topic"]
    assert reasons[bad] == b"invalid_event"
