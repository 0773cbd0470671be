"""What a cluster is like now: brokers, topics, the group, the clock. Only facts; `service.doctor` judges them.

Everything is read, but for the clock: brokers tell their time only of records that they append. It is measured with
records of a topic of its own, which nobody reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from service.adapters.api_versions import ApiVersionsRequest, kafka_release
from service.adapters.clients import REQUEST_TIMEOUT_MS, Partition, client_options, errors_named
from service.adapters.topic_admin import committed_offsets, open_admin
from service.adapters.topic_reader import open_reader

BROKER_SECONDS: Final = 5.0
CLOCK_RECORDS: Final = 3  # the one that was acknowledged fastest counts
WRITE_SECONDS: Final = 10.0
LOG_APPEND_TIME: Final = 1
SETTINGS: Final = ("min.insync.replicas", "unclean.leader.election.enable", "cleanup.policy", "max.message.bytes")


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """One broker that the cluster names: whether it answers us, and its release, None when it does not tell."""

    node_id: int
    address: str
    answers: bool
    release: str | None = None


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic: its partitions, how many have no leader, and the fewest replicas that exist and are in sync.

    `away` are the brokers that hold replicas of it and are not in the cluster now.
    """

    name: str
    partitions: int
    leaderless: int
    replicas: int
    in_sync: int
    min_in_sync: int
    is_unclean: bool
    cleanup_policy: str
    max_message_bytes: int = 0
    away: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """The worker's group: its state, its members, and for every partition of its inputs first, committed and end."""

    state: str
    members: int
    offsets: dict[Partition, tuple[int, int | None, int]]

    @property
    def lag_records(self) -> int:
        """How many records are not committed."""
        return sum(end - (start if committed is None else committed) for start, committed, end in self.offsets.values())

    @property
    def committed(self) -> int:
        """The sum of all committed offsets, to see progress by."""
        return sum(committed or 0 for _, committed, _ in self.offsets.values())


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """How far a broker's clock is ahead of ours, give or take `uncertainty_ms`."""

    node_id: int
    ahead_ms: int
    uncertainty_ms: int


async def read_brokers(bootstrap: str) -> list[BrokerFacts]:
    """Ask every broker of the cluster for its release."""
    async with open_admin(bootstrap) as admin:
        brokers = (await admin.describe_cluster())["brokers"]
        return await asyncio.gather(*(_read_broker(admin, broker) for broker in brokers))


async def _read_broker(admin: Any, broker: dict[str, Any]) -> BrokerFacts:
    node_id, address = broker["node_id"], f"{broker['host']}:{broker['port']}"
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            response = await admin._send_request(ApiVersionsRequest(), node_id)  # noqa: SLF001 - the only way to send one
    except NotImplementedError:
        return BrokerFacts(node_id, address, answers=True)  # older than the request
    except (KafkaError, OSError, TimeoutError):
        return BrokerFacts(node_id, address, answers=False)
    return BrokerFacts(node_id, address, answers=True, release=kafka_release(response))


async def read_topics(bootstrap: str, topics: Iterable[str]) -> list[TopicFacts]:
    """Look at topics; those that do not exist are left out."""
    async with open_admin(bootstrap) as admin:
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        response = await admin._send_request(request)  # noqa: SLF001 - describe_topics would make missing ones
        metadata = response.to_object()
        found = [topic for topic in metadata["topics"] if topic["partitions"]]
        settings = await _settings(admin, [topic["topic"] for topic in found])
    alive = {broker["node_id"] for broker in metadata["brokers"]}
    return [_topic(topic, settings[topic["topic"]], alive) for topic in found]


async def _settings(admin: Any, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(SETTINGS, "")) for name in topics]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked):
        for error_code, _, _, topic, entries in response.resources:
            if error_code:
                raise for_code(error_code)(topic)
            found[topic] = {entry[0]: entry[1] for entry in entries}
    return found


def _topic(topic: dict[str, Any], settings: dict[str, str], alive: set[int]) -> TopicFacts:
    partitions = topic["partitions"]
    holders = {node for partition in partitions for node in partition["replicas"]}
    return TopicFacts(
        name=topic["topic"],
        partitions=len(partitions),
        leaderless=sum(partition["leader"] < 0 for partition in partitions),
        replicas=min(len(partition["replicas"]) for partition in partitions),
        in_sync=min(len(partition["isr"]) for partition in partitions),
        min_in_sync=int(settings["min.insync.replicas"]),
        is_unclean=settings["unclean.leader.election.enable"] == "true",
        cleanup_policy=settings["cleanup.policy"],
        max_message_bytes=int(settings["max.message.bytes"]),
        away=tuple(sorted(holders - alive)),
    )


async def read_group(bootstrap: str, group: str, topics: Iterable[TopicFacts]) -> GroupFacts:
    """Look at a consumer group, and at how far it read these topics."""
    committed = await committed_offsets(bootstrap, group)
    async with open_admin(bootstrap) as admin:
        described = (await admin.describe_consumer_groups([group]))[0].to_object()["groups"][0]
    places = [(topic.name, number) for topic in topics for number in range(topic.partitions)]
    async with open_reader(bootstrap) as reader:
        bounds = await reader.all_bounds(places)
    offsets = {place: (start, committed.get(place), end) for place, (start, end) in bounds.items()}
    return GroupFacts(described["state"] or "Dead", len(described["members"]), offsets)


async def read_clocks(bootstrap: str, clock_topic: str) -> list[ClockFacts]:
    """Measure the clock of every broker that leads a partition of the clock topic; none when it keeps other times.

    Raises DependencyError when the topic takes no writes.
    """
    # No waiting for followers, and so for no reader: the measurement wants the leader's clock, soon.
    producer = AIOKafkaProducer(**client_options(bootstrap), acks=1, request_timeout_ms=REQUEST_TIMEOUT_MS)
    async with errors_named(bootstrap):
        try:
            await producer.start()
            async with asyncio.timeout(WRITE_SECONDS):
                numbers = await producer.partitions_for(clock_topic)
                led = {producer.client.cluster.leader_for_partition(TopicPartition(clock_topic, n)): n for n in numbers}
                leaders = {node: number for node, number in led.items() if node is not None and node >= 0}
                found = [await _measure(producer, clock_topic, number, node) for node, number in leaders.items()]
        finally:
            await producer.stop()
    return [clock for clock in found if clock is not None]


async def _measure(producer: Any, clock_topic: str, number: int, node_id: int) -> ClockFacts | None:
    fastest: ClockFacts | None = None
    for _ in range(CLOCK_RECORDS):
        sent_ms = time.time_ns() // 1_000_000
        ack = await producer.send_and_wait(clock_topic, b"clock", partition=number)
        acked_ms = time.time_ns() // 1_000_000
        if ack.timestamp_type != LOG_APPEND_TIME:
            return None
        uncertainty_ms = (acked_ms - sent_ms + 1) // 2
        if fastest is None or uncertainty_ms < fastest.uncertainty_ms:
            fastest = ClockFacts(node_id, ack.timestamp - (sent_ms + acked_ms) // 2, uncertainty_ms)
    return fastest
