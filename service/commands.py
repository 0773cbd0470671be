"""Actions as commands: made, published, and awaited until the scorer tells what became of them.

A command is checked by the very decoder that the worker reads it with, so none that is published is refused there. Its
outcome is read from the audit topic without a consumer group: a desk sees every outcome from its opening on, and those
of a repeated command by looking back. The scorer answers each action once, so who repeats one must look back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.codec import encode_input, read_action_taken, read_erasure_completed
from schemas.envelope import STRUCTURED_HEADERS
from schemas.outputs import ActionName, ActionTakenData, ErasureCompletedData
from service.account_topics import account_key, digest_key, partition_of, records_since
from service.adapters.clients import REQUEST_TIMEOUT_MS, client_options, errors_named
from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import ConsumedRecord, open_reader
from service.errors import DependencyError, InputError, RecordRejected
from service.ingest import Decoder
from service.topic_catalogue import TopicNames

CommandName: TypeAlias = ActionName | Literal["erase"]
Outcome: TypeAlias = ActionTakenData | ErasureCompletedData

SHORT_NAMES: Final[dict[CommandName, str]] = {
    "acknowledge": "acknowledge_alert",
    "snooze": "snooze_alerts",
    "resolve": "resolve_alert",
    "override": "override_band",
    "sentiment": "set_sentiment",
    "note": "add_note",
    "erase": "erase_account",
}
LOOK_BACK_MS: Final = 24 * 3_600_000
LOOKS_BACK_MAX: Final = 4  # at a time: each has a connection of its own
_SAID: Final = ("action", "actor", "alert_seq", "until_ms", "band", "reason", "sentiment", "note")
_POLL_MS: Final = 200

FoundT = TypeVar("FoundT")


class KeyReused(InputError):  # noqa: N818 - what the caller did
    """An idempotency key that another action of the account has."""


class ActionKey(NamedTuple):
    """The idempotency key of an action: its event's id and source, within its account."""

    account: str
    source: str
    action_id: str

    @property
    def heard_as(self) -> tuple[str, str, str]:
        """Name it as outcomes do; that of an erasure must not name the account, so none does here."""
        return digest_key(self.account).decode(), self.source, self.action_id


@dataclass(frozen=True, slots=True)
class Command:
    """One action, ready to be published; `is_repeatable` when its id was chosen by who acts."""

    key: ActionKey
    value: bytes
    said: tuple[Any, ...]
    is_repeatable: bool


def make_command(
    action: CommandName, account: str, said: Mapping[str, Any], *, source: str, action_id: str | None = None
) -> Command:
    """Make the command of an action that happens now; `said` is the event's data, without what was not said.

    Without an `action_id` it gets one of its own. Raises InputError when the worker would not take it.
    """
    now_ms = time.time_ns() // 1_000_000
    key = ActionKey(account, source, action_id or str(uuid4()))
    try:
        value = encode_input(
            SHORT_NAMES[action], said, event_id=key.action_id, source=source, account=account, time_ms=now_ms
        )
        event = Decoder(lambda: now_ms).decode("action", account_key(account), value, STRUCTURED_HEADERS)
    except (RecordRejected, ValueError, TypeError) as error:
        raise InputError(f"{action} {account}: {error}") from None
    return Command(key, value, _said(event), is_repeatable=action_id is not None)


class Desk:
    """Publishes commands and tells what became of them; made by `open_desk`."""

    def __init__(
        self, bootstrap: str, names: TopicNames, counts: Mapping[str, int], producer: Any, consumer: Any
    ) -> None:
        self._bootstrap = bootstrap
        self._names = names
        self._producer = producer
        self._counts = counts
        self._waiting: dict[tuple[str, str, str], set[asyncio.Future[Outcome]]] = {}
        self._looks_back = asyncio.Semaphore(LOOKS_BACK_MAX)
        self._following = asyncio.create_task(self._follow(consumer))

    async def settle(self, command: Command, seconds: float) -> Outcome | None:
        """Publish a command, unless it is a repetition of one that has its outcome, and wait for that outcome.

        None when that takes longer. Raises KeyReused when the outcome is that of another action.
        """
        with self._hearing(command.key) as heard:  # begun first, so that none comes between looking back and listening
            taken = await self.outcome(command.key) if command.is_repeatable else None
            if taken is None:
                await self._publish(command)
                taken = await self._hear(heard, seconds)
        if taken is not None and _said(taken) != command.said:
            raise KeyReused(f"{command.key.action_id} is the idempotency key of another action of this account")
        return taken

    async def outcome(self, key: ActionKey) -> Outcome | None:
        """Look for what became of an action within the last day."""

        def wanted(record: ConsumedRecord) -> Outcome | None:
            taken = _taken(record)
            return taken if taken is not None and _heard_as(taken) == key.heard_as else None

        return await self._look_back(self._names.audit, key, wanted)

    async def is_published(self, key: ActionKey) -> bool:
        """Tell whether the command of an action was published within the last day."""

        def wanted(record: ConsumedRecord) -> bool | None:
            with suppress(ValueError, TypeError, KeyError):
                event = orjson.loads(record.value or b"")
                return (event["source"], event["id"]) == key[1:] or None
            return None

        return await self._look_back(self._names.input("action"), key, wanted) is not None

    async def close(self) -> None:
        """Follow no more."""
        self._following.cancel()
        await asyncio.wait([self._following])

    async def _follow(self, consumer: Any) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._hand_over(record)

    async def _publish(self, command: Command) -> None:
        topic, key = self._names.input("action"), account_key(command.key.account)
        number = partition_of(key, self._counts[topic])
        async with errors_named(self._bootstrap):
            await self._producer.send_and_wait(
                topic, command.value, key=key, partition=number, headers=list(STRUCTURED_HEADERS)
            )

    async def _hear(self, heard: asyncio.Future[Outcome], seconds: float) -> Outcome | None:
        either: list[asyncio.Future[Any]] = [heard, self._following]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._following.done() and not heard.done():  # which an error only does
            error = self._following.exception()
            raise DependencyError(f"outcomes of actions cannot be read at {self._bootstrap}: {error!r}") from error
        return heard.result() if heard.done() else None

    async def _look_back(
        self, topic: str, key: ActionKey, wanted: Callable[[ConsumedRecord], FoundT | None]
    ) -> FoundT | None:
        record_key = account_key(key.account)
        number = partition_of(record_key, self._counts[topic])
        since_ms = time.time_ns() // 1_000_000 - LOOK_BACK_MS
        async with (
            self._looks_back,
            open_reader(self._bootstrap) as reader,
            aclosing(records_since(reader, topic, number, record_key, since_ms)) as records,
        ):
            async for record in records:
                if (found := wanted(record)) is not None:
                    return found
        return None

    @contextmanager
    def _hearing(self, key: ActionKey) -> Iterator[asyncio.Future[Outcome]]:
        """Give what will be the outcome of an action, once it is told; several may wait for the same one."""
        heard: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key.heard_as, set())
        waiting.add(heard)
        try:
            yield heard
        finally:
            waiting.discard(heard)
            if not waiting:
                self._waiting.pop(key.heard_as, None)

    def _hand_over(self, record: ConsumedRecord) -> None:
        taken = _taken(record)
        if taken is None:
            return
        for heard in self._waiting.get(_heard_as(taken), ()):
            if not heard.done():
                heard.set_result(taken)


@asynccontextmanager
async def open_desk(bootstrap: str, names: TopicNames) -> AsyncIterator[Desk]:
    """Open a desk on a cluster; raises DependencyError for topics that do not exist and brokers that do not answer."""
    topics = (names.input("action"), names.audit)
    counts = await existing_partitions(bootstrap, topics)
    options = {"request_timeout_ms": REQUEST_TIMEOUT_MS}
    async with errors_named(bootstrap), AsyncExitStack() as stack:
        consumer = await stack.enter_async_context(open_consumer(bootstrap, **options))
        places = [TopicPartition(names.audit, number) for number in range(counts[names.audit])]
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        producer = AIOKafkaProducer(**client_options(bootstrap), acks="all", enable_idempotence=True, **options)
        stack.push_async_callback(producer.stop)
        await producer.start()
        desk = Desk(bootstrap, names, counts, producer, consumer)
        stack.push_async_callback(desk.close)
        yield desk


def _said(action: Any) -> tuple[Any, ...]:
    """Give what an action says, which is the same in its event and in its outcome."""
    if isinstance(action, ErasureCompletedData):
        return tuple({"action": "erase", "actor": action.actor, "reason": action.reason}.get(name) for name in _SAID)
    return tuple(getattr(action, name) for name in _SAID)


def _taken(record: ConsumedRecord) -> Outcome | None:
    """Read an outcome; None for what is none."""
    for read in (read_action_taken, read_erasure_completed):
        with suppress(ValueError):
            return read(record.value or b"").data
    return None


def _heard_as(taken: Outcome) -> tuple[str, str, str]:
    """Name an outcome as `ActionKey.heard_as` does."""
    if isinstance(taken, ErasureCompletedData):
        return taken.account_sha256, taken.source, taken.action_id
    return ActionKey(taken.account, taken.source, taken.action_id).heard_as
