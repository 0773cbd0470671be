"""What Vitals asks of Kafka about topics and groups: compare, create, alter, look at offsets. Nothing is ever deleted.

The layouts come from `service.topic_catalogue`; this module only brings a cluster and them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from service.adapters.clients import REQUEST_TIMEOUT_MS, Partition, client_options, errors_named
from service.adapters.group_less import open_consumer
from service.adapters.incremental_configs import IncrementalAlterConfigsRequest
from service.errors import ConfigError, DependencyError, NotAllowedError
from service.topic_catalogue import TopicNames, TopicSpec, topic_specs

READY_SECONDS = 15.0


@dataclass(slots=True)
class TopicPlan:
    """One topic of the layout beside what the cluster has."""

    topic: str
    action: Literal["ok", "create", "alter", "refuse"]  # refuse: another partition count, which is never changed
    partitions: int
    found_partitions: int | None = None
    differences: dict[str, tuple[str | None, str]] = field(default_factory=dict)  # setting: (found, wanted)


@dataclass(frozen=True, slots=True)
class _Found:
    partitions: int
    replicas: int
    ready: bool


async def broker_ids(bootstrap: str) -> set[int]:
    """Return the ids of the brokers that are in the cluster now."""
    async with open_admin(bootstrap) as admin:
        return {broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]}


async def plan_topics(bootstrap: str, names: TopicNames) -> list[TopicPlan]:
    """Compare the layout of every topic with the cluster; changes nothing."""
    async with open_admin(bootstrap) as admin:
        return await _plan(admin, topic_specs(names))


async def apply_topics(bootstrap: str, names: TopicNames) -> list[TopicPlan]:
    """Create what is missing and alter the settings that differ; return what was done, as a plan.

    Raises ConfigError, before anything is changed, when a topic has another partition count.
    """
    async with open_admin(bootstrap) as admin:
        specs = topic_specs(names)
        plans = await _plan(admin, specs)
        refused = [f"{plan.topic} has {plan.found_partitions}" for plan in plans if plan.action == "refuse"]
        if refused:
            raise ConfigError(
                f"partition counts are never changed, as keys would move; "
                f"want {plans[0].partitions}, but {', '.join(refused)}: "
                "take another VITALS_TOPIC_PREFIX, or move or delete these topics yourself; nothing was changed"
            )
        created = {plan.topic for plan in plans if plan.action == "create"}
        await create_topics(admin, bootstrap, [spec for spec in specs if spec.name in created])
        await _alter(admin, [plan for plan in plans if plan.action == "alter"])
        return plans


async def ensure_topics(bootstrap: str, names: TopicNames) -> list[str]:
    """Create the topics that are missing and return their names; the others are left as they are."""
    async with open_admin(bootstrap) as admin:
        specs = topic_specs(names)
        found = await _describe(admin, [spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in found]
        await create_topics(admin, bootstrap, missing)
        return [spec.name for spec in missing]


async def describe_partitions(bootstrap: str, topics: Iterable[str]) -> dict[str, int | None]:
    """Return the partition count of each topic, None for one that does not exist."""
    async with open_admin(bootstrap) as admin:
        wanted = list(topics)
        found = await _describe(admin, wanted)
        return {name: found[name].partitions if name in found else None for name in wanted}


async def existing_partitions(bootstrap: str, topics: Iterable[str]) -> dict[str, int]:
    """Return the partition count of each topic; raises DependencyError that names those that do not exist."""
    counts = await describe_partitions(bootstrap, topics)
    if missing := [name for name, count in counts.items() if not count]:
        raise DependencyError(f"no such topic: {', '.join(missing)}; create it with `vitals topics apply`")
    return {name: count or 0 for name, count in counts.items()}


async def end_offsets(bootstrap: str, topics: Iterable[str]) -> dict[Partition, int]:
    """Return the offset after the last record of every partition; topics that do not exist are left out."""
    counts = await describe_partitions(bootstrap, topics)
    return await _end_offsets(bootstrap, [(name, number) for name in counts for number in range(counts[name] or 0)])


async def _end_offsets(bootstrap: str, wanted: list[Partition]) -> dict[Partition, int]:
    partitions = [TopicPartition(topic, number) for topic, number in wanted]
    async with errors_named(bootstrap), open_consumer(bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS) as consumer:
        found = await consumer.end_offsets(partitions) if partitions else {}
    return {(partition.topic, partition.partition): offset for partition, offset in found.items()}


async def committed_offsets(bootstrap: str, group: str) -> dict[Partition, int]:
    """Return the offset that a consumer group goes on from, for every partition it has committed."""
    async with open_admin(bootstrap) as admin:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while True:
            try:
                found = await admin.list_consumer_group_offsets(group)
                break
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                # The first question about a group ever makes the topic of offsets, which takes a moment.
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)
        return {
            (partition.topic, partition.partition): meta.offset for partition, meta in found.items() if meta.offset >= 0
        }


async def other_app_ids(bootstrap: str, names: TopicNames) -> list[str]:
    """Name the other app ids that score the same inputs: each has records in a changelog under the same prefix.

    A prefix may be the beginning of another one, or of an app id. So names alone tell nothing: the group of such an
    app id must have read inputs of this prefix, too.
    """
    async with open_admin(bootstrap) as admin:
        found = {topic: names.other_app_id(topic) for topic in await admin.list_topics()}
    others = {topic: app_id for topic, app_id in found.items() if app_id is not None}
    ends = await end_offsets(bootstrap, others) if others else {}
    written = {topic for (topic, _), end in ends.items() if end}
    scoring = []
    for topic in sorted(written):
        try:
            read = {name for name, _ in await committed_offsets(bootstrap, others[topic])}
        except NotAllowedError:
            continue  # its group is not for this user to see, as topics of others mostly are not either
        if read & {*names.inputs, names.rekeyed}:
            scoring.append(others[topic])
    return scoring


@asynccontextmanager
async def open_admin(bootstrap: str) -> AsyncIterator[Any]:
    """Open an admin client; its errors become a DependencyError that names the cluster."""
    admin = AIOKafkaAdminClient(**client_options(bootstrap), request_timeout_ms=REQUEST_TIMEOUT_MS)
    async with errors_named(bootstrap):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def _describe(admin: Any, topics: list[str]) -> dict[str, _Found]:
    """Look at topics; those that do not exist are left out. One without a leader yet exists, but is not ready."""
    # Not admin.describe_topics: where the broker makes topics by itself, that would make them.
    request = MetadataRequest(topics, allow_auto_topic_creation=False)
    response = await admin._send_request(request)  # noqa: SLF001 - the only way to send one
    described: list[dict[str, Any]] = response.to_object()["topics"]
    if refused := [topic["topic"] for topic in described if topic["error_code"] == TopicAuthorizationFailedError.errno]:
        raise TopicAuthorizationFailedError(", ".join(refused))
    return {
        topic["topic"]: _Found(
            partitions=len(topic["partitions"]),
            replicas=min(len(partition["replicas"]) for partition in topic["partitions"]),
            ready=all(partition["leader"] >= 0 for partition in topic["partitions"]),
        )
        for topic in described
        if topic["partitions"]
    }


async def _plan(admin: Any, specs: list[TopicSpec]) -> list[TopicPlan]:
    found = await _describe(admin, [spec.name for spec in specs])
    configs = await _configs(admin, [spec for spec in specs if spec.name in found])
    plans = []
    for spec in specs:
        if spec.name not in found:
            plans.append(TopicPlan(spec.name, "create", spec.partitions))
            continue
        topic = found[spec.name]
        differences = {
            name: (configs[spec.name].get(name), wanted)
            for name, wanted in _config_for(spec, topic.replicas).items()
            if not _same(configs[spec.name].get(name), wanted)
        }
        action: Literal["ok", "alter", "refuse"] = "alter" if differences else "ok"
        if topic.partitions != spec.partitions:
            action = "refuse"
        plans.append(TopicPlan(spec.name, action, spec.partitions, topic.partitions, differences))
    return plans


def _config_for(spec: TopicSpec, replicas: int) -> dict[str, str]:
    """Fit the layout to a topic's replicas: with fewer, one may be away, as far as that leaves one in sync."""
    config = dict(spec.config)
    if "min.insync.replicas" in config:
        config["min.insync.replicas"] = str(max(1, min(int(config["min.insync.replicas"]), replicas - 1)))
    return config


def _same(found: str | None, wanted: str) -> bool:
    try:
        return found is not None and float(found) == float(wanted)
    except ValueError:
        return found == wanted


async def _configs(admin: Any, specs: list[TopicSpec]) -> dict[str, dict[str, str | None]]:
    if not specs:
        return {}
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, spec.name, configs=dict.fromkeys(spec.config, "")) for spec in specs
    ]
    found: dict[str, dict[str, str | None]] = {}
    for response in await admin.describe_configs(resources):
        for error_code, error_message, _, topic, entries in response.resources:
            _raise_for(error_code, error_message, topic)
            found[topic] = {entry[0]: entry[1] for entry in entries}
    return found


async def create_topics(admin: Any, bootstrap: str, specs: list[TopicSpec]) -> None:
    """Create topics and wait until every partition of them takes records."""
    if not specs:
        return
    brokers = len((await admin.describe_cluster())["brokers"])
    topics = []
    for spec in specs:
        replicas = min(spec.replication_factor, brokers)
        topics.append(NewTopic(spec.name, spec.partitions, replicas, topic_configs=_config_for(spec, replicas)))
    response = await admin.create_topics(topics)
    for topic, error_code, error_message in response.topic_errors:
        # Two workers that start together both find them missing.
        if error_code != TopicAlreadyExistsError.errno:
            _raise_for(error_code, error_message, topic)
    await _wait_leaders(admin, [spec.name for spec in specs])
    # Metadata names a leader a moment before that broker knows; this asks the leaders until they do.
    await _end_offsets(bootstrap, [(spec.name, number) for spec in specs for number in range(spec.partitions)])


async def _wait_leaders(admin: Any, topics: list[str]) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                found = await _describe(admin, topics)
                if all(topic in found and found[topic].ready for topic in topics):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DependencyError(
            f"topics were created but have no leader after {READY_SECONDS:.0f} s: see the brokers' logs"
        ) from None


async def _alter(admin: Any, plans: list[TopicPlan]) -> None:
    if not plans:
        return
    changes = {plan.topic: {name: wanted for name, (_, wanted) in plan.differences.items()} for plan in plans}
    # aiokafka's own alter_configs replaces all settings of a topic, also those that an operator made.
    response = await admin._send_request(IncrementalAlterConfigsRequest(changes))  # noqa: SLF001 - the only way to send one
    for error_code, error_message, _, topic in response.resources:
        _raise_for(error_code, error_message, topic)


def _raise_for(error_code: int, error_message: str | None, topic: str) -> None:
    if error_code:
        raise DependencyError(f"Kafka refused topic {topic}: {error_message or for_code(error_code).__name__}")
