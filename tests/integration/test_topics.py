"""Topics as data against a real broker: compared, created, altered, never deleted and never repartitioned."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import (
    committed_offsets,
    describe_partitions,
    end_offsets,
    ensure_topics,
    other_app_ids,
    plan_topics,
)
from service.settings import Settings
from service.topic_catalogue import REKEYED_SOURCE, TOPIC_KINDS, TopicNames, topic_specs
from tests.chaos.admin import rewind_group
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce

pytestmark = pytest.mark.kafka


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Give the command line this test's deployment."""
    assert settings.broker
    return {
        "VITALS_BROKER": settings.broker,
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
    }


@pytest.fixture
def bootstrap(settings: Settings) -> str:
    """Name the shared broker."""
    assert settings.broker
    return settings.broker


async def make_topic(bootstrap: str, name: str, partitions: int, **config: str) -> None:
    """Make a topic as an operator would, without our layout."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs={key.replace("_", "."): text for key, text in config.items()})]
        )
    finally:
        await admin.close()


async def config_of(bootstrap: str, name: str) -> dict[str, str]:
    """Read all settings of a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        response = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]))[0]
        return {entry[0]: entry[1] for entry in response.resources[0][4]}
    finally:
        await admin.close()


def plan_of(output: str) -> dict[str, Any]:
    """Index the JSON of `plan` and `apply` by topic."""
    return {topic["topic"]: topic for topic in json.loads(output)["topics"]}


def test_apply_creates_what_plan_shows_and_is_idempotent(
    vitals: Vitals, environment: dict[str, str], settings: Settings, bootstrap: str
) -> None:
    """`plan` exits 3 and creates nothing, `apply` creates all with 8 partitions, then both find nothing to do."""
    names = TopicNames.from_settings(settings)
    plan = vitals("topics", "plan", "--json", **environment)
    assert plan.returncode == 3
    assert {topic["action"] for topic in plan_of(plan.stdout).values()} == {"create"}
    assert set(asyncio.run(describe_partitions(bootstrap, names.worker_topics())).values()) == {None}

    assert vitals("topics", "apply", **environment).returncode == 0
    assert set(asyncio.run(describe_partitions(bootstrap, names.worker_topics())).values()) == {8}
    assert asyncio.run(config_of(bootstrap, names.changelog))["cleanup.policy"] == "compact"

    for command in ("apply", "plan"):
        again = vitals("topics", command, "--json", **environment)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["changes"] == 0


def test_apply_alters_what_differs_and_nothing_else(
    vitals: Vitals, environment: dict[str, str], settings: Settings, bootstrap: str
) -> None:
    """A wrong retention is shown and corrected; a setting that we do not name keeps the operator's value."""
    topic = TopicNames.from_settings(settings).input("usage")
    asyncio.run(make_topic(bootstrap, topic, 8, retention_ms="60000", compression_type="zstd"))
    shown = plan_of(vitals("topics", "plan", "--json", **environment).stdout)[topic]
    assert shown["action"] == "alter"
    assert shown["differences"]["retention.ms"] == ["60000", "1209600000"]

    assert vitals("topics", "apply", **environment).returncode == 0
    config = asyncio.run(config_of(bootstrap, topic))
    assert (config["retention.ms"], config["compression.type"]) == ("1209600000", "zstd")
    assert vitals("topics", "plan", **environment).returncode == 0


def test_another_partition_count_is_refused(
    vitals: Vitals, environment: dict[str, str], settings: Settings, bootstrap: str
) -> None:
    """With one topic of 3 partitions `plan` shows it, `apply` says so in one line and changes nothing at all."""
    names = TopicNames.from_settings(settings)
    asyncio.run(make_topic(bootstrap, names.alerts, 3))
    shown = plan_of(vitals("topics", "plan", "--json", **environment).stdout)[names.alerts]
    assert (shown["action"], shown["found_partitions"], shown["partitions"]) == ("refuse", 3, 8)

    refused = vitals("topics", "apply", **environment)
    assert refused.returncode == 2
    assert f"{names.alerts} has 3" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    found = asyncio.run(describe_partitions(bootstrap, names.worker_topics()))
    assert {name for name, count in found.items() if count} == {names.alerts}


def test_no_broker_is_one_line(vitals: Vitals, tmp_path: object) -> None:
    """Without a broker the cure is named, for the embedded and for a given one."""
    embedded = vitals("topics", "plan", VITALS_HOME=str(tmp_path))
    assert (embedded.returncode, "vitals kafka up" in embedded.stderr) == (1, True)
    given = vitals("topics", "plan", VITALS_BROKER="127.0.0.1:9")
    assert given.returncode == 1
    assert len(given.stderr.strip().splitlines()) == 1, given.stderr
    assert "127.0.0.1:9" in given.stderr


def test_two_workers_may_ensure_topics_at_once(settings: Settings, bootstrap: str) -> None:
    """Topics that both find missing are created once, and each can be written to at once."""
    names = TopicNames.from_settings(settings)

    async def both() -> list[list[str]]:
        return list(await asyncio.gather(*(ensure_topics(bootstrap, names) for _ in range(2))))

    made = asyncio.run(both())
    assert set(made[0]) | set(made[1]) == {*names.worker_topics(), names.clock}
    assert asyncio.run(ensure_topics(bootstrap, names)) == []
    assert {plan.action for plan in asyncio.run(plan_topics(bootstrap, names))} == {"ok"}


def test_old_events_are_kept(settings: Settings, bootstrap: str) -> None:
    """A record with a time of 2012 gets the broker's time, so that retention does not delete a replayed log."""
    names = TopicNames.from_settings(settings)
    old_ms = 1_340_000_000_000

    async def run() -> tuple[int, int]:
        await ensure_topics(bootstrap, names)
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(names.input("usage"), b"{}", partition=2, timestamp_ms=old_ms)
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        await consumer.start()
        try:
            consumer.assign([TopicPartition(names.input("usage"), 2)])
            await consumer.seek_to_beginning()
            record = await asyncio.wait_for(consumer.getone(), 20)
            return record.timestamp, record.timestamp_type
        finally:
            await consumer.stop()

    timestamp_ms, timestamp_type = asyncio.run(run())
    assert timestamp_ms > old_ms + 10 * 365 * 86_400_000
    assert timestamp_type == 1


def test_offsets_of_partitions_and_groups(settings: Settings, bootstrap: str) -> None:
    """End offsets count records per partition; a group shows what it committed and an unknown group shows nothing."""
    names = TopicNames.from_settings(settings)
    topic = names.input("payment")

    async def run() -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        await ensure_topics(bootstrap, names)
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for _ in range(3):
                await producer.send_and_wait(topic, b"{}", partition=5)
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=settings.app_id, enable_auto_commit=False)
        await consumer.start()
        try:
            partition = TopicPartition(topic, 5)
            consumer.assign([partition])
            await consumer.commit({partition: 2})
        finally:
            await consumer.stop()
        return (
            await end_offsets(bootstrap, [topic, "does-not-exist"]),
            await committed_offsets(bootstrap, settings.app_id),
            await committed_offsets(bootstrap, "nobody"),
        )

    ends, committed, nobody = asyncio.run(run())
    assert ends == {(topic, number): 3 if number == 5 else 0 for number in range(8)}
    assert committed == {(topic, 5): 2}
    assert nobody == {}


def test_offsets_of_no_partition_are_none(bootstrap: str) -> None:
    """A question about topics that do not exist is answered; the client's own tasks do not cancel who asked."""
    assert asyncio.run(end_offsets(bootstrap, ["never-made"])) == {}


def test_a_consumer_may_be_closed_right_away(bootstrap: str) -> None:
    """Whoever opens a consumer and needs nothing of it, or fails at once, meets no cancellation."""

    async def open_and_close() -> str:
        async with open_consumer(bootstrap):
            return "closed"

    assert asyncio.run(open_and_close()) == "closed"


def test_the_layout_names_every_topic_that_a_worker_uses() -> None:
    """topics.yaml and the catalogue agree, with and without a prefix; sources are stable numbers."""
    names = TopicNames(app_id="scores-eu", prefix="eu.")
    assert {spec.name for spec in topic_specs(names)} == {*names.worker_topics(), names.clock}
    assert {spec.partitions for spec in topic_specs(names)} == {8}
    assert names.changelog == "eu.scores-eu-state-changelog"
    assert [names.source_of(names.input(kind)) for kind in TOPIC_KINDS] == [0, 1, 2, 3, 4, 6]
    assert [names.source_of(topic) for topic in names.sources] == list(range(7))
    assert names.source_of(names.rekeyed) == REKEYED_SOURCE == 5


def leave_traces(bootstrap: str, names: TopicNames) -> None:
    """Leave what a deployment leaves that scored: records in its changelog, offsets of its group."""
    asyncio.run(ensure_topics(bootstrap, names))
    produce(bootstrap, names.changelog, [(b"acme", b"state")])
    rewind_group(bootstrap, names.app_id, [names.input("usage")])


def test_another_app_id_on_the_same_topics_is_refused(
    vitals: Vitals, environment: dict[str, str], settings: Settings, bootstrap: str
) -> None:
    """The worker and the doctor refuse it; deployments whose prefix begins alike, or an app id, are none."""
    names = TopicNames.from_settings(settings)
    leave_traces(bootstrap, names)
    leave_traces(bootstrap, TopicNames(f"{names.prefix}other", f"{names.prefix}eu-"))
    leave_traces(bootstrap, TopicNames(f"{names.prefix}first", ""))
    asyncio.run(ensure_topics(bootstrap, TopicNames("applied", names.prefix)))
    assert asyncio.run(other_app_ids(bootstrap, names)) == []

    leave_traces(bootstrap, TopicNames("second", names.prefix))
    assert asyncio.run(other_app_ids(bootstrap, names)) == ["second"]
    worker = vitals("worker", **environment)
    assert worker.returncode == 2
    assert "app id second scores the inputs" in worker.stderr
    assert "Traceback" not in worker.stderr
    doctor = vitals("doctor", "--json", **environment)
    found = {finding["check"]: finding["level"] for finding in json.loads(doctor.stdout)["findings"]}
    assert found["app id"] == "FAIL"


def test_seek_sets_where_workers_go_on_and_only_while_none_runs(
    vitals: Vitals, environment: dict[str, str], settings: Settings, bootstrap: str
) -> None:
    """Without --execute nothing is set; a place outside the inputs, or beyond a partition's end, is refused."""
    names = TopicNames.from_settings(settings)
    asyncio.run(ensure_topics(bootstrap, names))
    usage = names.input("usage")
    produce(bootstrap, usage, [(b"acme", b"{}", [], 3)] * 5)

    def committed() -> dict[tuple[str, int], int]:
        return asyncio.run(committed_offsets(bootstrap, settings.app_id))

    shown = vitals("topics", "seek", f"{usage}/3/4", **environment)
    assert (shown.returncode, committed()) == (0, {})
    assert f"{usage}/3: none -> 4" in shown.stdout
    assert vitals("topics", "seek", f"{usage}/3/4", "--execute", **environment).returncode == 0
    assert committed() == {(usage, 3): 4}
    for wrong in ("nonsense", f"{usage}/3/6", f"{usage}/8", f"{usage}/x", names.scores):
        refused = vitals("topics", "seek", wrong, "--execute", **environment)
        assert (refused.returncode, wrong in refused.stderr) == (2, True), refused.stderr
    assert committed() == {(usage, 3): 4}

    async def seek_beside_a_member() -> Any:
        consumer = AIOKafkaConsumer(
            usage, bootstrap_servers=bootstrap, group_id=settings.app_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            return await asyncio.to_thread(vitals, "topics", "seek", "--execute", **environment)
        finally:
            await consumer.stop()

    busy = asyncio.run(seek_beside_a_member())
    assert (busy.returncode, "stop every worker first" in busy.stderr) == (1, True), busy.stderr
    done = vitals("topics", "seek", "--execute", "--json", **environment)
    assert {"topic": usage, "partition": 3, "from": 4, "to": 0} in json.loads(done.stdout)["offsets"], done.stderr
    assert committed() == dict.fromkeys(((name, n) for name in (*names.inputs, names.rekeyed) for n in range(8)), 0)
