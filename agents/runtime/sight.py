"""What the event loop tells the watchdog, and what it asks the brokers meanwhile.

Twice a second: that it runs, what is delivered and not done, what is to be read. Every few seconds it asks the brokers
for the topics and for the ends of partitions. No answer means that nothing can be expected to move; that brokers are
away, and that they are back, is logged once. A topic that is
gone, has another partition count or ends before what was read of it stops the worker, once a second look agrees; a
record of somebody else in the worker's own topics stops it at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, cast

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.runtime.foreign_writes import ForeignWriteError, refuse_foreign
from agents.runtime.watchdog import Sight, Waiting, Watchdog
from service.errors import DependencyError, NotAllowedError, TopicError, VitalsError

if TYPE_CHECKING:
    from agents.runtime.app import RuntimeApp
    from agents.runtime.transport import BatchConsumer

BEAT_SECONDS = 0.5
LOOK_SECONDS = 3.0
# After so long without an answer the brokers count as away: two looks and the time that one may take.
ANSWER_SECONDS = 10.0
# The client gives up a question to the brokers after 40 s by itself; what takes longer is the client's own trouble.
CLIENT_SECONDS = 60.0
# One look may hit a broker that has just started and does not know every topic yet.
LOOKS_THAT_AGREE = 2

log = logging.getLogger(__name__)


class BrokerView:
    """What the brokers said last."""

    def __init__(self, app: RuntimeApp) -> None:
        self._app = app
        self._answered_seconds: float | None = None
        self._silent_seconds = 0.0  # a process that does not run hears no answer either, so only beats count
        self._beat_seconds = time.monotonic()
        self._failed_looks = 0
        self._is_told_away = False
        self._faults = [("", 0), ("", 0)]  # of topics and of ends, and how many looks in turn found it
        self.fault: VitalsError | None = None
        """What looks that agree found wrong with the topics."""
        self.ends: dict[TP, int] = {}
        self.client_answers = 0

    def answers(self, now_seconds: float) -> bool:
        """Return whether the brokers answered a moment ago."""
        return self._answered_seconds is not None and now_seconds - self._answered_seconds < ANSWER_SECONDS

    def tell_whether_away(self, now_seconds: float) -> None:
        """Log once that the brokers do not answer, and once that they do again."""
        self._silent_seconds += min(now_seconds - self._beat_seconds, 2 * BEAT_SECONDS)
        self._beat_seconds = now_seconds
        is_away = self._failed_looks >= LOOKS_THAT_AGREE or self._silent_seconds >= ANSWER_SECONDS
        if is_away and not self._is_told_away:
            log.warning(
                "the brokers do not answer: waiting; what is read and not committed is kept and written when they do"
            )
        elif self._is_told_away and not is_away:
            log.warning("the brokers answer again")
        self._is_told_away = is_away

    async def look_at_topics_forever(self) -> None:
        """Look at the topics, for ever; raises what two looks in turn found wrong."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(CLIENT_SECONDS):
                    await self._app.options.check_topics()
                self._note_answer()
                self._faults[0] = ("", 0)
            except NotAllowedError as fault:
                self._note_answer()
                self._confirm(0, fault)
            except (DependencyError, KafkaError, TimeoutError):
                self._answered_seconds = None  # no broker answers, or a partition has no leader
                self._failed_looks += 1
            except VitalsError as fault:
                self._note_answer()
                self._confirm(0, fault)

    def _note_answer(self) -> None:
        self._answered_seconds = time.monotonic()
        self._failed_looks, self._silent_seconds = 0, 0.0

    async def look_at_ends_forever(self) -> None:
        """Look at the ends of partitions, for ever; raises what two looks in turn, or one foreign record, found wrong.

        Apart from the topics: the client asks for the end of a partition that is gone until it gives up.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look_at_ends()
                await self._look_at_own_ends()
                self._faults[1] = ("", 0)
            except (KafkaError, TimeoutError):
                pass  # the watchdog sees that the client answers no more
            except ForeignWriteError:
                raise
            except VitalsError as fault:
                self._confirm(1, fault)

    def _confirm(self, kind: int, fault: VitalsError) -> None:
        seen, times = self._faults[kind]
        self._faults[kind] = (str(fault), times + 1 if seen == str(fault) else 1)
        if self._faults[kind][1] >= LOOKS_THAT_AGREE:
            self.fault = fault
            raise fault

    async def _look_at_own_ends(self) -> None:
        """Raise ForeignWriteError when somebody else wrote to a partition that rests; others see it as they write."""
        owned = self._app.state_table.owned
        resting = {
            TP(topic, number): (partition, partition.generation, end)
            for number, partition in owned.items()
            if not partition.lock.locked()
            for topic, end in partition.own_ends.items()
        }
        if not resting:
            return
        async with asyncio.timeout(CLIENT_SECONDS):
            found = await self._app.consumer.highwaters(*resting)
        for tp, (partition, generation, own_end) in resting.items():
            still_rests = not partition.lock.locked() and partition.generation == generation
            if owned.get(tp.partition) is partition and still_rests:
                # A leader that is new may not know yet how far it is, so an end before ours says nothing.
                refuse_foreign(tp.topic, tp.partition, own_end, max(own_end, found[tp]))

    async def _look_at_ends(self) -> None:
        inputs = self._app.owned_inputs()
        generation = self._app.consumer_generation_id
        read = {tp: self._app.consumer.read_offset(tp) or 0 for tp in inputs}  # type: ignore[attr-defined]  # a BatchConsumer
        self.ends = {tp: end for tp, end in self.ends.items() if tp in read}
        if not read:
            return
        async with asyncio.timeout(CLIENT_SECONDS):
            found = await self._app.consumer.highwaters(*read)
        self.client_answers += 1
        if generation != self._app.consumer_generation_id:
            return
        self.ends = {TP(*tp): end for tp, end in found.items()}
        for tp, end in self.ends.items():
            if end < read[tp]:
                raise TopicError(
                    f"{tp.topic}/{tp.partition} ends before offset {read[tp]}, up to which it was read: it was deleted "
                    "and made anew, or the brokers lost records; see docs/failure-modes.md"
                )


class Lookout:
    """Makes the sights of a worker."""

    def __init__(self, app: RuntimeApp, brokers: BrokerView) -> None:
        self._app = app
        self._brokers = brokers
        self._working_seconds = 0.0
        self._unready_seconds = 0.0
        self._unready_mark: object = None
        self._told_seconds = time.monotonic()

    async def tell_forever(self, watchdog: Watchdog) -> None:
        """Tell the watchdog what is seen, for ever."""
        while True:
            now_seconds = time.monotonic()
            watchdog.tell(self.see(now_seconds))
            self._brokers.tell_whether_away(now_seconds)
            await asyncio.sleep(BEAT_SECONDS)

    def see(self, now_seconds: float) -> Sight:
        """Look at everything that must move."""
        app = self._app
        since_seconds, self._told_seconds = now_seconds - self._told_seconds, now_seconds
        passed_seconds = min(since_seconds, 2 * BEAT_SECONDS) if self._brokers.answers(now_seconds) else 0.0
        recovered = app.tables.recovery.recovered_records  # type: ignore[attr-defined]  # a ChunkedRecovery
        if self._is_working():
            self._working_seconds += passed_seconds  # a pause is no work
            self._unready_seconds = 0.0
        else:
            mark = (app.consumer_generation_id, recovered)
            self._unready_seconds = self._unready_seconds + passed_seconds if mark == self._unready_mark else 0.0
            self._unready_mark = mark
        inputs = app.owned_inputs()
        consumer = app.consumer
        read = {tp: consumer.read_offset(tp) or 0 for tp in inputs}  # type: ignore[attr-defined]  # a BatchConsumer
        return Sight(
            seconds=now_seconds,
            is_recovering=bool(app.state_table.recovering),
            working_seconds=self._working_seconds,
            waiting={**self._delivered(), **self._commit(), **self._unread(read)} if inputs else {},
            work_done=(sum(read.values()), app.committer.stats.state_records, recovered),
            unready_seconds=self._unready_seconds,
        )

    def _is_working(self) -> bool:
        app, consumer = self._app, cast("BatchConsumer", self._app.consumer)
        return consumer.flow_active and not app.rebalancing and not app.state_table.recovering

    def _delivered(self) -> dict[object, Waiting]:
        """Find the first batch of each partition that is not done; its inputs wait for one another."""
        heads: dict[int, list[tuple[TP, int]]] = {}
        for tp, offset in self._app.consumer.first_unapplied().items():  # type: ignore[attr-defined]  # a BatchConsumer
            heads.setdefault(tp.partition, []).append((tp, offset))
        return {
            ("delivered", number): Waiting(
                tuple(found),
                f"{found[0][0].topic}/{number}: the batch from offset {found[0][1]} on is delivered, but not applied",
            )
            for number, found in heads.items()
        }

    def _commit(self) -> dict[object, Waiting]:
        committer = self._app.committer
        if not committer.is_committing:
            return {}
        stats = committer.stats
        return {"commit": Waiting((stats.commits, stats.flushes), "a commit is under way and does not go on")}

    def _unread(self, read: dict[TP, int]) -> dict[object, Waiting]:
        waiting: dict[object, Waiting] = {
            "client": Waiting(self._brokers.client_answers, "the consumer's client does not answer, but the brokers do")
        }
        for tp, end in self._brokers.ends.items():
            position = read.get(tp, end)
            if position < end and not self._app.consumer.is_held(tp):  # type: ignore[attr-defined]  # a BatchConsumer
                told = f"{tp.topic}/{tp.partition} has records from offset {position} to {end - 1}, and none is read"
                waiting["unread", tp] = Waiting(position, told)
        return waiting
