"""The scorer: the owned partitions' tasks, what leaves when a state is durable, and the loops beside the agents.

It is what the runtime asks for (`StateHooks`): encode and decode states, make score and alert records of the very
state that is flushed, note what was acknowledged. The tick loop lets time move scores without events; the urgent loop
brings alerts out before the next commit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.erasure import Erasure, completed, decode_erasure, encode_erasure, record_digest
from agents.figures import Figures
from agents.inputs import Inputs
from agents.partition_task import DROPPED, PartitionTask
from agents.runtime.commit import Committer, first_error
from agents.runtime.producer import OutRecord
from agents.runtime.table import OWN, Partition
from service.errors import ConfigError
from service.outputs import CLOUD_EVENT_HEADERS, action_message, alert_message, erasure_message, score_message
from service.scoring import effects
from service.scoring.engine import mark_actions_told, mark_sent
from service.scoring.explain import score_view
from service.scoring.model import Model, plan_of
from service.scoring.state import AccountState
from service.scoring.state_codec import decode, encode
from service.settings import Clock
from service.topic_catalogue import TopicNames

log = logging.getLogger(__name__)

REPORT_INTERVAL_SECONDS = 10.0
# A quiet worker says so after so many reports with nothing in them.
QUIET_REPORTS = 6
OUTCOME_NAMES = ((effects.SKIPPED, "already_applied"), (effects.DUPLICATE, "duplicate"), (effects.LATE, "late"))
TICK_INTERVAL_SECONDS = 0.1
# Accounts of a partition whose alerts may wait to get out; the bound on what a crash repeats, and on the alerts' delay.
URGENT_ACCOUNTS_MAX = 32
BACKLOG_WAIT_SECONDS = 0.002
# Accounts woken before input gets its turn, when logs are read: a few milliseconds of work.
TICK_SLICE_ACCOUNTS = 200
# The same under the wall clock: half a millisecond, less than a batch of input takes. Ticks then stand back for so many
# times what the others just took, because what is woken must be stored and published too: a busy worker keeps its
# latency and is through with a midnight later, an idle one goes on at once.
LIVE_TICK_SLICE_ACCOUNTS = 5
TICK_PAUSE_FACTOR = 5.0
TICK_PAUSE_SECONDS_MAX = 0.05


def wall_clock_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Counters:
    """What the worker did since its start, for the log and for the people who read it."""

    outcomes: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: str, count: int = 1) -> None:
        """Count something that happened."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count


class Scorer:
    """Implements the runtime's `StateHooks` for account states."""

    def __init__(
        self, model: Model, topics: TopicNames, clock: Clock, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self.model = model
        self.topics = topics
        self.clock = clock
        self.now_ms = now_ms
        self.tasks: dict[int, PartitionTask] = {}
        self.counters = Counters()
        self.figures = Figures(is_live=clock == "wall")
        self._urgent = asyncio.Event()
        # Of partitions that were given up.
        self._past_events: Counter[tuple[int, str]] = Counter()
        self._past_band_changes: Counter[str] = Counter()

    # -- the runtime's hooks -----------------------------------------------------------------------------

    @property
    def views_topic(self) -> str:
        """The topic of the scores."""
        return self.topics.scores

    def encode(self, value: AccountState | Erasure) -> bytes:
        """Serialise an account's state, or the record of an erased one."""
        return encode(value) if isinstance(value, AccountState) else encode_erasure(value)

    def decode(self, key: bytes, payload: bytes) -> AccountState | Erasure:
        """Read what `encode` wrote; raises StateError for an unknown format."""
        return decode_erasure(payload) if key[0] == OWN else decode(key.decode(), payload)

    def ends(self, key: bytes, payload: bytes) -> bytes | None:  # noqa: ARG002 - the runtime's signature
        """Return the key of the account that a record of an erasure still names."""
        account = decode_erasure(payload).account
        return None if account is None else account.encode()

    def progress(self, partition: Partition) -> int:
        """Return the partition's watermark."""
        return self.tasks[partition.number].watermark_ms

    def outputs(self, partition: Partition, key: bytes, value: AccountState | Erasure) -> list[OutRecord]:
        """Make the alerts and the outcomes of actions not yet acknowledged, or what is to be told of an erasure."""
        if isinstance(value, Erasure):
            return self._erasure_outputs(partition.number, key, value)
        alerts, acted = value.unsent, value.acting.unsent if value.acting is not None else ()
        if not alerts and not acted:
            return []
        last = (alerts[-1].seq if alerts else 0, acted[-1].seq if acted else 0)
        self.tasks[partition.number].publishing_seq[key] = last
        messages = [(self.topics.alerts, alert_message(alert)) for alert in alerts]
        messages += [(self.topics.audit, action_message(taken)) for taken in acted]
        return [OutRecord(topic, partition.number, key, value, CLOUD_EVENT_HEADERS) for topic, value in messages]

    def _erasure_outputs(self, number: int, key: bytes, erasure: Erasure) -> list[OutRecord]:
        """Take the account back where it was told; once that is acknowledged, tell those who asked for it."""
        self.tasks[number].publishing_revision[key] = erasure.revision
        if erasure.account is not None:
            account = erasure.account.encode()
            return [OutRecord(topic, number, account, None) for topic in (self.topics.scores, self.topics.alerts)]
        digest = record_digest(key)
        done = [erasure_message(completed(digest, erasure, request)) for request in erasure.requests]
        return [OutRecord(self.topics.audit, number, digest.encode(), value, CLOUD_EVENT_HEADERS) for value in done]

    def view(self, partition: Partition, key: bytes, value: AccountState) -> OutRecord:
        """Make the score, by the model that computed it: the one in force may not have come to this account yet."""
        self.tasks[partition.number].rescored.discard(key)
        score = score_message(score_view(value, plan_of(value).model))
        return OutRecord(self.topics.scores, partition.number, key, score, CLOUD_EVENT_HEADERS)

    def published(
        self, partition: Partition, key: bytes, value: AccountState | Erasure | None, outputs: list[OutRecord]
    ) -> bool:
        """Take what is acknowledged off the state, which is then stored at once: a crash repeats few alerts."""
        task = self.tasks.get(partition.number)
        if task is None or task.partition is not partition:
            return False  # revoked meanwhile: its next owner publishes again, with the same ids
        if isinstance(value, Erasure):
            if value.revision == task.publishing_revision.pop(key):  # else another command came meanwhile
                self.counters.add("actions", 0 if value.account is not None else len(value.requests))
                value.note_told()
                partition.dirty.add(key)
            return True
        if value is None:
            return False  # erased meanwhile
        alerts = sum(output.topic == self.topics.alerts for output in outputs)
        acted = sum(output.topic == self.topics.audit for output in outputs)
        urgent = alerts + acted
        if urgent and key in task.publishing_seq:  # else the account was erased meanwhile
            alert_seq, action_seq = task.publishing_seq.pop(key)
            if alerts:
                sent = [alert for alert in value.unsent if alert.seq <= alert_seq]
                self.figures.note_alerts(sent, task.alert_since_ms.pop(key, None), self.now_ms())
            mark_sent(value, alert_seq)
            mark_actions_told(value, action_seq)
            partition.dirty.add(key)
            self.counters.add("alerts", alerts)
            self.counters.add("actions", acted)
        self.counters.add("scores", len(outputs) - urgent)
        return urgent > 0

    def recovered(self, partition: Partition, unpublished: list[bytes]) -> None:
        """Start the task of a recovered partition; raises ConfigError for one that follows the other clock."""
        self._keep_clock(partition)
        task = self.tasks[partition.number] = PartitionTask(partition, self.model)
        task.take_over(unpublished)
        self.wake_urgent(task)

    def _keep_clock(self, partition: Partition) -> None:
        if partition.clock not in (None, self.clock):
            raise ConfigError(
                f"partition {partition.number} of {self.topics.changelog} follows the {partition.clock} clock, this "
                f"worker the {self.clock} clock, which would move its accounts to another time for good: start it with "
                f"--clock {partition.clock}, or give it a VITALS_APP_ID and a VITALS_TOPIC_PREFIX of its own"
            )
        partition.clock = self.clock

    def revoked(self, partition: Partition) -> None:
        """Drop the task of a revoked partition."""
        task = self.tasks.get(partition.number)
        if task is not None and task.partition is partition:
            del self.tasks[partition.number]
            self._past_events += _named(task.tallies)
            self._past_band_changes += task.band_changes

    def use_model(self, model: Model) -> None:
        """Score with another model from now on; every account of the owned partitions is then stale."""
        self.model = model
        for task in self.tasks.values():
            task.use_model(model)

    # -- loops -------------------------------------------------------------------------------------------

    def has_backlog(self, task: PartitionTask) -> bool:
        """Return whether the partition must wait for its alerts to get out before it decides more of them."""
        return len(task.urgent) > URGENT_ACCOUNTS_MAX

    async def backlog_gone(self, task: PartitionTask) -> None:
        """Wait until `has_backlog` is over."""
        while self.has_backlog(task) and self.tasks.get(task.partition.number) is task:  # noqa: ASYNC110 - two conditions
            await asyncio.sleep(BACKLOG_WAIT_SECONDS)

    def wake_urgent(self, task: PartitionTask) -> None:
        """Have the urgent loop bring out the task's alerts, if there are any."""
        if task.urgent:
            self._urgent.set()

    def outcomes(self) -> dict[str, int]:
        """Return how many records, alerts and scores came out how, since the start; revoked partitions count too."""
        totals = dict(self.counters.outcomes)
        for (_, name), count in self.events().items():
            totals[name] = totals.get(name, 0) + count
        return totals

    def events(self) -> Counter[tuple[int, str]]:
        """Return how many records of each input, by source index, came out how, since the start."""
        return sum((_named(task.tallies) for task in self.tasks.values()), self._past_events)

    def band_changes(self) -> Counter[str]:
        """Return how often accounts moved to each band since the start."""
        return sum((task.band_changes for task in self.tasks.values()), self._past_band_changes)

    async def report_forever(self, unknown_fields: Mapping[str, int]) -> None:
        """Log what was done since the last report, for ever; unknown fields are counted by event.

        When nothing was, say once a minute that the worker waits.
        """
        reported: dict[str, int] = {}
        quiet = 0
        while True:
            await asyncio.sleep(REPORT_INTERVAL_SECONDS)
            ignored = {f"unknown_fields_of_{event}": count for event, count in unknown_fields.items()}
            done = {**self.outcomes(), **ignored}
            news = {name: count - reported.get(name, 0) for name, count in done.items()}
            if any(news.values()):
                told = ", ".join(f"{name} {count}" for name, count in sorted(news.items()) if count)
                log.info("in %.0f s: %s", REPORT_INTERVAL_SECONDS, told)
                quiet = 0
            else:
                quiet += 1
                if quiet % QUIET_REPORTS == 0:
                    owned = "1 partition" if len(self.tasks) == 1 else f"{len(self.tasks)} partitions"
                    log.info("waiting: nothing read for %.0f s, %s", quiet * REPORT_INTERVAL_SECONDS, owned)
            reported = done

    async def publish_urgent(self, committer: Committer) -> None:
        """Wait for alerts and bring each partition's out as soon as their states are durable, for ever."""
        busy: set[PartitionTask] = set()

        async def bring_out(task: PartitionTask) -> None:
            while task.urgent:
                await committer.flush_urgent(task.partition, task.take_urgent())
            busy.discard(task)

        with first_error():
            async with asyncio.TaskGroup() as flushes:
                while True:
                    await self._urgent.wait()
                    self._urgent.clear()
                    for task in self.tasks.values():
                        if task.urgent and task not in busy:
                            busy.add(task)
                            flushes.create_task(bring_out(task))

    async def tick_forever(self, inputs: Inputs) -> None:
        """Wake due accounts as time passes, for ever.

        Time is each partition's watermark; under the wall clock it is that clock's as soon as nothing is left to
        read, so that after an outage the waiting events come before the ticks that would judge their absence.
        """
        while True:
            await asyncio.sleep(TICK_INTERVAL_SECONDS)
            for task in list(self.tasks.values()):
                as_of_ms = task.watermark_ms
                if self.clock == "wall":
                    now_ms = self.now_ms()
                    as_of_ms = now_ms if inputs.are_read(task.partition.number) else min(as_of_ms, now_ms)
                await self.tick_task(task, as_of_ms)

    async def tick_task(self, task: PartitionTask, as_of_ms: int) -> None:
        """Wake the due accounts of one partition, in slices between which input gets its turn."""
        most = LIVE_TICK_SLICE_ACCOUNTS if self.clock == "wall" else TICK_SLICE_ACCOUNTS
        while self.tasks.get(task.partition.number) is task:
            await self.backlog_gone(task)
            ticked = task.tick_due(as_of_ms, most)
            self.figures.ticks += ticked
            self.wake_urgent(task)
            if ticked < most:
                return
            await self._let_others_work()

    async def _let_others_work(self) -> None:
        now_seconds = asyncio.get_running_loop().time
        begin = now_seconds()
        await asyncio.sleep(0)
        if self.clock == "wall":
            await asyncio.sleep(min(TICK_PAUSE_FACTOR * (now_seconds() - begin), TICK_PAUSE_SECONDS_MAX))


def _named(tallies: Sequence[Sequence[int]]) -> Counter[tuple[int, str]]:
    """Add up tallies of effects, by source index, by the name of the outcome."""
    totals: Counter[tuple[int, str]] = Counter()
    for source, tally in enumerate(tallies):
        for done, count in enumerate(tally):
            if count:
                name = next((name for effect, name in OUTCOME_NAMES if done & effect), "applied")
                totals[source, "erased" if done == DROPPED else name] += count
    return totals
