"""Runs an app until SIGTERM, SIGINT or a crash, and ends within a bounded time whatever hangs.

Exit codes: 0 stopped cleanly (everything applied is committed), 1 crashed, ended by the watchdog or not stopped in
time, 2 topics that a restart will refuse as well. The process manager restarts a worker that exits with 1; nothing is
retried in here.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Any

from agents.runtime.app import RuntimeApp
from agents.runtime.crash_reports import filter_reports
from agents.runtime.ending import Ending
from agents.runtime.sight import BrokerView, Lookout
from agents.runtime.watchdog import STALL_SHARE, Limits, Watchdog
from service.errors import DependencyError, NotAllowedError, VitalsError

STOP_SECONDS = 9.0
# Of which so much may be used to find out what is wrong.
CAUSE_SECONDS = 2.0
# And so much for a last commit after an error, so that the rest can be stopped as well.
LAST_COMMIT_SECONDS = 4.0

# Young objects before a collection: batches and states are freed by reference counts, so collections find little, and
# the second of two looks at some 20,000 objects at most: more would take longer than an alert should wait.
GC_THRESHOLDS = (10_000, 1, 50_000)


async def run_app(build: Callable[[], RuntimeApp], stop_seconds: float = STOP_SECONDS) -> int:
    """Build, start and supervise the app; return the exit code, with which the process must end at once."""
    gc.set_threshold(*GC_THRESHOLDS)
    reports = filter_reports()
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    app = build()
    brokers = BrokerView(app)
    ending = Ending(app, brokers, reports)
    limits = Limits(app.options.session_timeout_seconds * STALL_SHARE, stop_seconds)
    watchdog = Watchdog(limits, ending.known_delay)

    def ask_to_stop(*_: object) -> None:
        watchdog.note_stop()  # here, as the loop may be deaf
        loop.call_soon_threadsafe(stop_asked.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    watchdog.start()
    app.before_write = watchdog.end_if_paused
    watches = [
        asyncio.ensure_future(Lookout(app, brokers).tell_forever(watchdog)),
        asyncio.ensure_future(brokers.look_at_topics_forever()),
        asyncio.ensure_future(brokers.look_at_ends_forever()),
    ]
    started = asyncio.ensure_future(app.start())
    crashed = asyncio.ensure_future(app._crashed.wait())  # noqa: SLF001 - mode offers no public way to await a crash
    asked = asyncio.ensure_future(stop_asked.wait())
    ends: set[asyncio.Future[Any]] = {crashed, asked, _failure_of(started), *watches}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    watchdog.note_stop()
    failure = next((each.exception() for each in watches if each.done()), None) or _reason(app, started)
    watchdog.stops_for = await _cause(app, failure)
    ending.begin(watchdog.stops_for)
    if watchdog.stops_for is not None:
        app.last_commit_until = loop.time() + LAST_COMMIT_SECONDS
    await _stop(app)  # the watches go on: the watchdog must know whether the loop runs and the brokers answer
    failure = ending.failure or await _cause(app, _reason(app, started))
    for task in (*watches, started, crashed, asked):
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    return 0 if failure is None else ending.tell(failure)


async def _stop(app: RuntimeApp) -> None:
    try:
        await app.stop()
    except Exception as error:
        app.note_failure(error)


def _failure_of(started: asyncio.Future[None]) -> asyncio.Future[None]:
    """Return a future that ends only when starting failed."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is not None and not failed.done():
            failed.set_result(None)

    started.add_done_callback(note)
    return failed


async def _cause(app: RuntimeApp, failure: BaseException | None) -> BaseException | None:
    """Return what is wrong with the topics, if that is it: a client whose topic is gone fails in many ways."""
    if failure is None or isinstance(failure, VitalsError):
        return failure
    try:
        async with asyncio.timeout(CAUSE_SECONDS):
            await app.options.check_topics()
    except NotAllowedError as cause:
        return cause
    except (DependencyError, TimeoutError):
        return failure
    except VitalsError as cause:
        return cause
    return failure


def _reason(app: RuntimeApp, started: asyncio.Future[None]) -> BaseException | None:
    if started.done() and not started.cancelled() and started.exception() is not None:
        return started.exception()
    return next(iter(app.failures), None)
