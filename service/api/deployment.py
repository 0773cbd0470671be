"""How the workers do, for the person on call: read from the brokers when somebody looks, and kept for a moment.

Nothing is read while nobody looks, and many who look cost one look. Two looks make a rate. Brokers that do not answer
are an answer, too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.adapters.clients import Partition
from service.adapters.cluster_facts import BrokerFacts, GroupFacts, read_brokers, read_group, read_topics
from service.adapters.embedded_kafka import resolve_bootstrap
from service.adapters.topic_admin import end_offsets
from service.adapters.topic_reader import open_reader
from service.dead_letters import Counted, Filters, dead_letter_partitions, list_letters
from service.doctor import PROGRESS_SECONDS_MIN, Finding, judge_brokers, judge_group
from service.errors import VitalsError
from service.settings import Settings
from service.topic_catalogue import TopicNames

LOOK_SECONDS: Final = 5.0
WINDOW_SECONDS: Final = 60.0  # rates and progress are told of so long at most
LETTERS_SECONDS: Final = 30.0  # all dead letters are read to count them
LETTERS_HOURS: Final = 24
ANSWER_SECONDS: Final = 10.0

Matter = TypeVar("Matter")


@dataclass(frozen=True, slots=True)
class Flow:
    """One topic: records that wait for a worker, and records a second that arrived and that were done.

    Rates are None before the second look; what workers only write has neither waiting nor done.
    """

    topic: str
    arrived: float | None
    waiting: int | None = None
    done: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was found: judgements with their cures, and the flow of every topic; rates are of so many seconds."""

    findings: list[Finding]
    inputs: list[Flow]
    outputs: list[Flow]
    seconds: float | None

    @property
    def lag_records(self) -> int:
        """How many records wait."""
        return sum(flow.waiting or 0 for flow in self.inputs)


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look read; `at_seconds` is of a clock that never goes back."""

    at_seconds: float
    brokers: list[BrokerFacts]
    group: GroupFacts
    ends: dict[Partition, int]


class Deployment:
    """The deployment that the settings name; it need not run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = TopicNames.from_settings(settings)
        self._seen: deque[Facts] = deque()
        self._look = _Kept(self._look_anew, LOOK_SECONDS)
        self._letters = _Kept(self._count_letters, LETTERS_SECONDS)

    async def look(self) -> Look | VitalsError:
        """Tell how the workers do, or why that cannot be said."""
        return await self._look.get()

    async def letters(self) -> list[Counted] | VitalsError:
        """Count the dead letters of the last hours by reason and topic, most open ones first, or say why not."""
        return await self._letters.get()

    async def _look_anew(self) -> Look:
        bootstrap = resolve_bootstrap(self._settings)
        names = self._names
        topics = await read_topics(bootstrap, [*names.inputs, names.rekeyed])
        brokers, group, ends = await asyncio.gather(
            read_brokers(bootstrap),
            read_group(bootstrap, self._settings.app_id, topics),
            end_offsets(bootstrap, [names.scores, names.alerts]),
        )
        now = Facts(time.monotonic(), brokers, group, ends)
        while self._seen and now.at_seconds - self._seen[0].at_seconds > WINDOW_SECONDS:
            self._seen.popleft()
        before = self._seen[0] if self._seen else None
        self._seen.append(now)
        partitions = max((topic.partitions for topic in topics), default=0)
        return judge_look(self._settings, names, partitions, before, now)

    async def _count_letters(self) -> list[Counted]:
        bootstrap = resolve_bootstrap(self._settings)
        since_ms = time.time_ns() // 1_000_000 - LETTERS_HOURS * 3_600_000
        partitions = await dead_letter_partitions(bootstrap, self._names)
        async with open_reader(bootstrap) as reader:
            filters = Filters(since_ms=since_ms)
            found = await list_letters(reader, self._names, partitions, filters, with_records=False)
        return sorted(found.counts.values(), key=lambda counted: (-counted.open, counted.reason, counted.topic))


def judge_look(settings: Settings, names: TopicNames, partitions: int, before: Facts | None, now: Facts) -> Look:
    """Put two looks together: what is wrong, what waits, and what moved between them."""
    seconds = None if before is None else now.at_seconds - before.at_seconds
    # A worker that commits seldom has not stopped.
    is_long_enough = seconds is not None and seconds >= max(PROGRESS_SECONDS_MIN, 2 * settings.commit_interval_seconds)
    earlier = before.group if before is not None and is_long_enough else now.group
    findings = [
        *judge_brokers(now.brokers),
        *judge_group(settings.app_id, earlier, now.group, partitions, seconds or 0.0),
    ]
    inputs = [_input(topic, before, now) for topic in (*names.inputs, names.rekeyed)]
    outputs = [Flow(topic, _rate(topic, before, now, _end)) for topic in (names.scores, names.alerts)]
    return Look(findings, inputs, outputs, seconds)


def _input(topic: str, before: Facts | None, now: Facts) -> Flow:
    places = [offsets for (name, _), offsets in now.group.offsets.items() if name == topic]
    waiting = sum(end - (start if committed is None else committed) for start, committed, end in places)
    return Flow(topic, _rate(topic, before, now, _input_end), waiting, _rate(topic, before, now, _committed))


def _rate(topic: str, before: Facts | None, now: Facts, read: Callable[[Facts, str], int]) -> float | None:
    if before is None:
        return None
    return max(0, read(now, topic) - read(before, topic)) / (now.at_seconds - before.at_seconds)


def _end(facts: Facts, topic: str) -> int:
    return sum(end for (name, _), end in facts.ends.items() if name == topic)


def _input_end(facts: Facts, topic: str) -> int:
    return sum(end for (name, _), (_, _, end) in facts.group.offsets.items() if name == topic)


def _committed(facts: Facts, topic: str) -> int:
    return sum(committed or 0 for (name, _), (_, committed, _) in facts.group.offsets.items() if name == topic)


class _Kept(Generic[Matter]):
    """The last answer to a question, kept for some seconds; one asks at a time, the others wait for the answer."""

    def __init__(self, ask: Callable[[], Awaitable[Matter]], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._answer: Matter | VitalsError | None = None
        self._answered_at = 0.0

    async def get(self) -> Matter | VitalsError:
        """Return the kept answer, or ask anew."""
        async with self._lock:
            if self._answer is None or time.monotonic() - self._answered_at > self._seconds:
                self._answer = await self._anew()
                self._answered_at = time.monotonic()
            return self._answer

    async def _anew(self) -> Matter | VitalsError:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._ask()
        except TimeoutError:
            return VitalsError(f"no answer within {ANSWER_SECONDS:.0f} s: see `vitals doctor`")
        except VitalsError as error:
            return error
