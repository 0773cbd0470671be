"""Actions as commands: made, published, and awaited until the scorer tells what became of them.

A command is checked by the very decoder that the worker reads it with, so none that is published is refused there. Its
outcome is read from the audit topic without a consumer group: a desk sees every outcome from its opening on, and those
of a repeated command by looking back. The scorer answers each action once, so who repeats one must look back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.codec import encode_input, read_action_taken
from schemas.envelope import STRUCTURED_HEADERS
from schemas.outputs import ActionName, ActionTakenData
from service.account_topics import account_key, partition_of
from service.adapters.clients import REQUEST_TIMEOUT_MS, errors_named
from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import describe_partitions
from service.adapters.topic_reader import ConsumedRecord, open_reader
from service.errors import DependencyError, InputError, RecordRejected
from service.ingest import Decoder
from service.topic_catalogue import TopicNames

SHORT_NAMES: Final[dict[ActionName, str]] = {
    "acknowledge": "acknowledge_alert",
    "snooze": "snooze_alerts",
    "resolve": "resolve_alert",
    "override": "override_band",
    "sentiment": "set_sentiment",
    "note": "add_note",
}
LOOK_BACK_MS: Final = 24 * 3_600_000
_POLL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Command:
    """One action, ready to be published; `action_id` and `source` together are its idempotency key."""

    account: str
    action_id: str
    source: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command stands."""

    topic: str
    partition: int
    offset: int


def make_command(
    action: ActionName, account: str, said: Mapping[str, Any], *, source: str, action_id: str | None = None
) -> Command:
    """Make the command of an action that happens now; `said` is the event's data, without what was not said.

    Without an `action_id` it gets one of its own. Raises InputError when the worker would not take it.
    """
    now_ms = time.time_ns() // 1_000_000
    action_id = action_id or str(uuid4())
    try:
        value = encode_input(
            SHORT_NAMES[action], said, event_id=action_id, source=source, account=account, time_ms=now_ms
        )
        Decoder(lambda: now_ms).decode("action", account_key(account), value, STRUCTURED_HEADERS)
    except (RecordRejected, ValueError, TypeError) as error:
        raise InputError(f"{action} {account}: {error}") from None
    return Command(account, action_id, source, value)


class Desk:
    """Publishes commands and follows their outcomes; made by `open_desk`."""

    def __init__(self, bootstrap: str, names: TopicNames, producer: Any, counts: Mapping[str, int]) -> None:
        self._bootstrap = bootstrap
        self._names = names
        self._producer = producer
        self._counts = counts
        self._waiting: dict[tuple[str, str, str], asyncio.Future[ActionTakenData]] = {}

    async def publish(self, command: Command) -> Place:
        """Publish a command; return where it stands, once the brokers have it."""
        self._outcome_of(command)
        topic, key = self._names.input("action"), account_key(command.account)
        number = partition_of(key, self._counts[topic])
        async with errors_named(self._bootstrap):
            sent = await self._producer.send_and_wait(
                topic, command.value, key=key, partition=number, headers=list(STRUCTURED_HEADERS)
            )
        return Place(topic, number, sent.offset)

    async def outcome(self, command: Command, seconds: float) -> ActionTakenData | None:
        """Wait for what becomes of a command that was published here; None when that takes longer."""
        waited = self._outcome_of(command)
        try:
            return await asyncio.wait_for(asyncio.shield(waited), seconds)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(_name_of(command), None)

    async def earlier_outcome(self, command: Command) -> ActionTakenData | None:
        """Look for the outcome that a command of this idempotency key had within the last day."""
        topic, key = self._names.audit, account_key(command.account)
        number = partition_of(key, self._counts[topic])
        async with open_reader(self._bootstrap) as reader:
            end = (await reader.bounds(topic, number)).end
            since = await reader.offset_since(topic, number, time.time_ns() // 1_000_000 - LOOK_BACK_MS)
            async for records in reader.read(topic, number, end if since is None else since, end):
                for record in records:
                    taken = _taken(record) if record.key == key else None
                    if taken is not None and _name_of(taken) == _name_of(command):
                        return taken
        return None

    async def follow(self, consumer: Any) -> None:
        """Hand outcomes to those who wait for them, for ever."""
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._hand_over(record)

    def _hand_over(self, record: ConsumedRecord) -> None:
        taken = _taken(record)
        waited = None if taken is None else self._waiting.get(_name_of(taken))
        if taken is not None and waited is not None and not waited.done():
            waited.set_result(taken)

    def _outcome_of(self, command: Command) -> asyncio.Future[ActionTakenData]:
        return self._waiting.setdefault(_name_of(command), asyncio.get_running_loop().create_future())


@asynccontextmanager
async def open_desk(bootstrap: str, names: TopicNames) -> AsyncIterator[Desk]:
    """Open a desk on a cluster; raises DependencyError for topics that do not exist and brokers that do not answer."""
    topics = (names.input("action"), names.audit)
    counts = {name: count or 0 for name, count in (await describe_partitions(bootstrap, topics)).items()}
    if missing := [name for name, count in counts.items() if not count]:
        raise DependencyError(f"no such topic: {', '.join(missing)}; create it with `vitals topics apply`")
    options = {"request_timeout_ms": REQUEST_TIMEOUT_MS}
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **options)
    async with errors_named(bootstrap), open_consumer(bootstrap, **options) as consumer:
        places = [TopicPartition(names.audit, number) for number in range(counts[names.audit])]
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        await producer.start()
        desk = Desk(bootstrap, names, producer, counts)
        following = asyncio.create_task(desk.follow(consumer))
        try:
            yield desk
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await producer.stop()


def _taken(record: ConsumedRecord) -> ActionTakenData | None:
    """Read an outcome; None for what is none."""
    try:
        return read_action_taken(record.value or b"").data
    except ValueError:
        return None


def _name_of(action: Command | ActionTakenData) -> tuple[str, str, str]:
    return action.account, action.source, action.action_id
