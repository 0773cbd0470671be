"""Where the workers go on in their inputs, set by hand, and only while none of them runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from service.adapters.clients import REQUEST_TIMEOUT_MS, Partition, client_options, errors_named, stop_consumer
from service.adapters.cluster_facts import read_group, read_topics
from service.errors import DependencyError, UsageError
from service.topic_catalogue import TopicNames

_PLACE = re.compile(r"([^/]+)(?:/([0-9]{1,9})(?:/([0-9]{1,18}))?)?")


async def seek_inputs(
    bootstrap: str, names: TopicNames, places: Sequence[str], *, execute: bool
) -> dict[Partition, tuple[int | None, int]]:
    """Set the group's offset at each place, or only say what would be set; return what it was and what it becomes.

    A place is `topic`, `topic/partition` or `topic/partition/offset`; none: every input. Without an offset it is the
    earliest record's. Raises UsageError for a place that is none, DependencyError while a worker runs.
    """
    topics = await read_topics(bootstrap, [*names.inputs, names.rekeyed])
    group = await read_group(bootstrap, names.app_id, topics)
    wanted = _wanted(places or [topic.name for topic in topics], group.offsets)
    if execute:
        if group.members:
            raise DependencyError(f"group {names.app_id} has members ({group.members}): stop every worker first")
        await _commit(bootstrap, names.app_id, wanted)
    return {place: (group.offsets[place][1], offset) for place, offset in wanted.items()}


def _wanted(places: Sequence[str], offsets: Mapping[Partition, tuple[int, int | None, int]]) -> dict[Partition, int]:
    wanted: dict[Partition, int] = {}
    for place in places:
        match = _PLACE.fullmatch(place)
        topic, number, offset = match.groups() if match else ("", None, None)
        chosen = [each for each in offsets if each[0] == topic and number in {None, str(each[1])}]
        if not chosen:
            inputs = ", ".join(sorted({name for name, _ in offsets}))
            raise UsageError(f"{place}: expected TOPIC[/PARTITION[/OFFSET]] of an input that exists: {inputs}")
        for each in chosen:
            start, _, end = offsets[each]
            wanted[each] = start if offset is None else int(offset)
            if not start <= wanted[each] <= end:
                raise UsageError(f"{place}: the partition holds offsets from {start} to {end}")
    return wanted


async def _commit(bootstrap: str, group: str, offsets: Mapping[Partition, int]) -> None:
    # The brokers refuse this commit of a stranger when a worker has joined meanwhile.
    consumer = AIOKafkaConsumer(
        **client_options(bootstrap), group_id=group, enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    async with errors_named(bootstrap):
        try:
            await consumer.start()
            await consumer._client.force_metadata_update()  # noqa: SLF001 - nothing public asks for the partitions
            consumer.assign([TopicPartition(*place) for place in offsets])
            await consumer.commit({TopicPartition(*place): offset for place, offset in offsets.items()})
        finally:
            await stop_consumer(consumer)
