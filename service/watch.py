"""Follows an output topic without a consumer group: nothing is committed, so watching disturbs nobody.

What comes is only read and put into words here; how it is shown is the command's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.catalogue import OUTPUTS
from schemas.codec import read_action_taken, read_alert, read_erasure_completed, read_score
from service.adapters.clients import NOT_ALLOWED, not_allowed
from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import ConsumedRecord
from service.dead_letters import Note, key_text, letter_of, note_of, payload_json
from service.errors import DependencyError
from service.topic_catalogue import TOPIC_KINDS, TopicNames

Watched = Literal["scores", "alerts", "actions", "dlq"]
POLL_MS = 200
_ERASURE_TYPE = OUTPUTS["erasure_completed"].type.encode()


@dataclass(frozen=True, slots=True)
class WatchedMessage:
    """One message in words; `state` is its band, alert kind or reason. Texts are as they came, not yet escaped."""

    time_ms: int
    subject: str
    state: str
    figure: str
    sentence: str
    as_json: dict[str, Any]
    alert_seq: int | None = None  # the alert's number within its account, which `vitals act --alert` takes
    suppressed: int = 0  # alerts held back since the one before


def watched_topics(what: Watched, names: TopicNames) -> list[str]:
    """Return the topics behind a word of the command line."""
    if what == "dlq":
        return [names.dead_letters(kind) for kind in TOPIC_KINDS]
    return [{"scores": names.scores, "alerts": names.alerts, "actions": names.audit}[what]]


async def follow(
    bootstrap: str, topics: Sequence[str], *, from_start: bool, stop: asyncio.Event, seconds: float | None = None
) -> AsyncGenerator[ConsumedRecord, None]:
    """Yield the topics' records as they come, from now or from their start, until `stop` or for so many seconds.

    Raises DependencyError for a topic that does not exist and for brokers that do not answer.
    """
    counts = await existing_partitions(bootstrap, topics)
    deadline = None if seconds is None else time.monotonic() + seconds
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    try:
        async with open_consumer(bootstrap) as consumer:
            consumer.assign(partitions)
            await (consumer.seek_to_beginning(*partitions) if from_start else consumer.seek_to_end(*partitions))
            while not stop.is_set() and (deadline is None or time.monotonic() < deadline):
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        yield record
    except NOT_ALLOWED as error:
        raise not_allowed(bootstrap, error) from error
    except KafkaError as error:
        raise DependencyError(f"Kafka at {bootstrap}: {error}; see `vitals kafka status`") from error


def describe(what: Watched, record: ConsumedRecord) -> WatchedMessage:
    """Put one record into words; one that cannot be read is described as such, never raised."""
    readers: dict[Watched, Callable[[ConsumedRecord], WatchedMessage]] = {
        "scores": _score,
        "alerts": _alert,
        "actions": _action,
        "dlq": _dead_letter,
    }
    try:
        return readers[what](record)
    except ValueError:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        unread = {"unreadable": place, "size": len(record.value or b"")}
        return WatchedMessage(record.timestamp, key_text(record.key), "unreadable", "", f"not what {what} hold", unread)


def _score(record: ConsumedRecord) -> WatchedMessage:
    if record.value is None:
        return _erased(record)
    value = record.value
    data = read_score(value).data
    worst = max(data.factors, key=lambda factor: factor.points_lost, default=None)
    sentence = worst.sentence if worst is not None else "no data yet"
    return WatchedMessage(data.as_of_ms, data.account, data.band, _points(data.score), sentence, orjson.loads(value))


def _alert(record: ConsumedRecord) -> WatchedMessage:
    if record.value is None:
        return _erased(record)
    value = record.value
    data = read_alert(value).data
    told = (data.as_of_ms, data.account, data.kind, _points(data.score), data.sentence)
    return WatchedMessage(*told, orjson.loads(value), data.seq, data.suppressed)


def _action(record: ConsumedRecord) -> WatchedMessage:
    value = record.value or b""
    if _ERASURE_TYPE in value:
        done = read_erasure_completed(value).data
        sentence = f"{done.actor}: {done.reason}"
        return WatchedMessage(done.as_of_ms, done.account_sha256, "erase", "", sentence, orjson.loads(value))
    data = read_action_taken(value).data
    about = "" if data.alert_seq is None else f"alert {data.alert_seq}"
    sentence = ": ".join(text for text in (data.actor, data.reason, data.note) if text)
    if data.refusal is not None:
        sentence += f" (refused, {data.refusal})"
    return WatchedMessage(data.as_of_ms, data.account, data.action, about, sentence, orjson.loads(value))


def _erased(record: ConsumedRecord) -> WatchedMessage:
    """Tell of a record without a value: its account is erased."""
    account = key_text(record.key)
    as_json = {"account": account, "erased": True}
    return WatchedMessage(record.timestamp, account, "erased", "", "nothing is kept of it any more", as_json)


def _dead_letter(record: ConsumedRecord) -> WatchedMessage:
    if (note := note_of(record)) is not None:
        return _note(record, note)
    letter = letter_of(record)
    if letter is None:
        raise ValueError("no dead letter")
    told = letter.told
    as_json = {**letter.as_json(), **payload_json(record)}
    return WatchedMessage(
        told.failed_at_ms, str(letter.source), told.reason, f"{letter.value_bytes} B", told.detail, as_json
    )


def _note(record: ConsumedRecord, note: Note) -> WatchedMessage:
    """Tell of a redrive: it writes a note before and after each chunk that it publishes."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    settled = sum(map(len, (note.offsets or {}).values()))
    sentence = "a redrive begins" if note.offsets is None else f"{settled} records were published again"
    as_json = {"redrive": note.run, "published": None if note.offsets is None else settled, "dead_letter": place}
    return WatchedMessage(record.timestamp, place, "redrive", "", sentence, as_json)


def _points(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"
