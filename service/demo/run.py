"""The demo from start to end: broker, topics, worker, page, stream; then drain, page and worker, broker.

Whatever happens, what was started is stopped, within a bounded time. Nothing is drawn here: a `Reporter` is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from service.adapters.embedded_kafka import free_ports
from service.adapters.kafka_artifacts import kafka_version
from service.adapters.topic_admin import committed_offsets, end_offsets, ensure_topics
from service.demo.board import Board
from service.demo.stream import ACCOUNTS, Pace, demo_lines, paced_events
from service.errors import ConfigError, DependencyError
from service.local.page import Page
from service.local.processes import Role, running_broker
from service.local.signals import StopSignals
from service.publish import publish_events
from service.settings import Settings
from service.topic_catalogue import TopicNames
from service.watch import follow

FIRST_SCORE_SECONDS = 60.0
DRAIN_SECONDS = 15.0
LOOK_SECONDS = 0.1
LAG_INTERVAL_SECONDS = 0.5


class Reporter(Protocol):
    """Whoever tells people about it."""

    def say(self, text: str) -> None:
        """Tell one step."""

    def show(self, board: Board) -> None:
        """Show the figures; called often while the stream runs."""

    def stream_ended(self, board: Board) -> None:
        """Take the last look at the running stream: it ends now."""


def run_demo(settings: Settings, seconds: float | None, report: Reporter, *, with_page: bool) -> Board:
    """Run the demo for so many seconds of stream, None: until a signal; return the final figures.

    Raises RoleEndedError when the worker or a role of the page dies, DependencyError when a part does not answer,
    KeyboardInterrupt when a signal comes before the stream has begun. Brokers and names of the settings are not used:
    it has its own.
    """
    home = (settings.home / "demo").absolute()
    began = time.monotonic()
    with StopSignals() as signals:
        try:
            report.say(f"starting Apache Kafka {kafka_version()} in {home}")
            # Its home is emptied at every start instead of giving each run topic names of its own: nothing of an older
            # run has to be loaded or pays for disk.
            with running_broker(home, "demo", port=0, brokers=1, keeps_data=False) as kafka:
                report.say(f"Kafka answers at {kafka.bootstrap} after {time.monotonic() - began:.1f} s")
                variables = {"VITALS_BROKER": kafka.bootstrap}
                if settings.model is not None:
                    variables["VITALS_MODEL"] = str(settings.model.absolute())
                try:
                    page = Page(home, free_ports(1)[0], variables) if with_page else None
                    demo = _Demo(home, kafka.bootstrap, variables, seconds, report, page=page)
                    return asyncio.run(demo.run(signals))
                finally:
                    signals.ignore()
                    report.say("stopping Kafka")
        finally:
            report.say("all processes are stopped")


class _Demo:
    """The part of a demo that lives while its broker runs."""

    def __init__(
        self,
        home: Path,
        bootstrap: str,
        variables: Mapping[str, str],
        seconds: float | None,
        report: Reporter,
        *,
        page: Page | None,
    ) -> None:
        # The default names and app id: the broker has no other user.
        self._names = TopicNames()
        self._bootstrap = bootstrap
        self._seconds = seconds
        self._report = report
        self._worker = Role("worker", home, variables, "--clock", "event")
        self._page = page
        self._board = Board(self._names)
        self._pace = Pace()
        self._began: float | None = None
        self._drained = False
        self._signals_seen = 0
        self._stop_publishing = asyncio.Event()
        self._stop_following = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    async def run(self, signals: StopSignals) -> Board:
        loop = asyncio.get_running_loop()
        signals.hand_to(lambda: loop.call_soon_threadsafe(self._asked_to_stop))
        began = time.monotonic()
        try:
            self._report.say(f"starting the worker, its log: {self._worker.log}")
            await self._worker.start()
            await ensure_topics(self._bootstrap, self._names)  # while the worker still loads its code
            jobs = (self._follow(), self._publish(), self._measure_lag(), self._worker.fail_at_end())
            self._tasks = [asyncio.create_task(job) for job in jobs]
            if not await self._look_until(lambda: bool(self._board.scores or self._signals_seen), FIRST_SCORE_SECONDS):
                raise DependencyError(
                    f"no score within {FIRST_SCORE_SECONDS:.0f} s of the worker's start; its log: {self._worker.log}"
                )
            if self._board.scores:
                took_seconds = time.monotonic() - began
                self._report.say(
                    f"first score after another {took_seconds:.1f} s; {ACCOUNTS} accounts begin to live, Ctrl-C ends it"
                )
                if self._page is not None:
                    await self._start_page(self._page)
                await self._stream()
            return self._board
        finally:
            signals.ignore()
            await self._stop()

    def _asked_to_stop(self) -> None:
        self._signals_seen += 1

    async def _start_page(self, page: Page) -> None:
        def ready() -> None:
            self._board.page_url = page.url
            self._report.say(f"the page: {page.url}")

        try:
            await page.start()
        except (ConfigError, DependencyError) as error:  # the demo goes on without one
            self._report.say(f"there is no page: {error}")
        else:
            self._tasks.append(asyncio.create_task(page.run(ready)))

    # -- jobs beside each other ----------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        def progress(events: int) -> None:
            self._board.events = events

        events = paced_events(demo_lines(), self._pace)
        published = await publish_events(
            self._bootstrap, self._names, events, stop=self._stop_publishing, progress=progress
        )
        self._board.events = published.events

    async def _follow(self) -> None:
        topics = self._board.outputs
        records = follow(self._bootstrap, topics, from_start=True, stop=self._stop_following)
        async with aclosing(records):
            async for record in records:
                self._board.take(record)

    async def _measure_lag(self) -> None:
        """Keep the lag up to date, and see when nothing is left to do: all is committed and every output was taken."""
        names = self._names
        inputs = {*names.inputs, names.rekeyed}
        while True:
            publishing = not self._tasks[1].done()
            committed = await committed_offsets(self._bootstrap, names.app_id)
            ends = await end_offsets(self._bootstrap, [*inputs, *self._board.outputs])
            lag = sum(end - committed.get(place, 0) for place, end in ends.items() if place[0] in inputs)
            self._board.lag_records = self._pace.lag_records = lag
            self._drained = not publishing and lag == 0 and self._board.has_read_to(ends)
            await asyncio.sleep(LAG_INTERVAL_SECONDS)

    # -- the course ----------------------------------------------------------------------------------------------------

    async def _stream(self) -> None:
        self._began = time.monotonic()
        self._pace.begin()
        await self._look_until(lambda: self._signals_seen > 0, self._seconds)
        self._note_time()
        self._report.stream_ended(self._board)
        self._report.say("the stream ends; waiting until the worker has done all of it")
        self._began = None
        self._end_stream()
        if not await self._look_until(lambda: self._drained or self._signals_seen > 1, DRAIN_SECONDS):
            self._report.say(f"the worker still lags by {self._board.lag_records} records")

    async def _look_until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Look after the jobs and show the figures until the condition holds; False if it does not in time.

        Raises what a job raised.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not condition():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            for task in self._tasks:
                if task.done():
                    task.result()
            self._note_time()
            self._report.show(self._board)
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _note_time(self) -> None:
        if self._began is not None:
            self._board.note_time(time.monotonic() - self._began, self._pace.passed_ms)

    def _end_stream(self) -> None:
        self._pace.stop()
        self._stop_publishing.set()

    async def _stop(self) -> None:
        self._end_stream()
        self._stop_following.set()
        self._report.say("stopping the worker" if self._page is None else "stopping the worker and the page")
        page = [] if self._page is None else [self._page.stop(self._report.say)]
        await asyncio.gather(self._worker.stop(self._report.say), *page)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
