"""Runs an app until SIGTERM, SIGINT or a crash, and ends within a bounded time whatever hangs.

Exit codes: 0 stopped cleanly (everything applied is committed), 1 crashed or could not stop in time. The process
manager restarts a worker that exits with 1; nothing is retried in here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import faust

from service.errors import VitalsError

STOP_SECONDS = 9.0

log = logging.getLogger(__name__)


# Young objects before a collection: batches and states are freed by reference counts, so collections find little.
GC_THRESHOLDS = (50_000, 20, 1_000)


async def run_app(build: Callable[[], faust.App], stop_seconds: float = STOP_SECONDS) -> int:
    """Build, start and supervise the app; return the exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_asked.set)
    app = build()
    started = asyncio.ensure_future(app.start())
    crashed = asyncio.ensure_future(app._crashed.wait())  # noqa: SLF001 - mode offers no public way to await a crash
    asked = asyncio.ensure_future(stop_asked.wait())
    ends: set[asyncio.Future[Any]] = {crashed, asked, _failure_of(started)}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    failure = _reason(app, started)
    watchdog = _exit_after(stop_seconds, 1)
    if failure is not None:
        log.error("worker stops: %s", failure if isinstance(failure, VitalsError) else repr(failure))
    try:
        await app.stop()
    except Exception as error:
        failure = failure or error
        log.error("stopping failed: %r", error)  # noqa: TRY400 - no traceback for a person
    failure = failure or _reason(app, started)
    started.cancel()
    crashed.cancel()
    asked.cancel()
    watchdog.cancel()
    return 0 if failure is None else 1


def _failure_of(started: asyncio.Future[None]) -> asyncio.Future[None]:
    """Return a future that ends only when starting failed."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is not None and not failed.done():
            failed.set_result(None)

    started.add_done_callback(note)
    return failed


def _reason(app: faust.App, started: asyncio.Future[None]) -> BaseException | None:
    if started.done() and not started.cancelled() and started.exception() is not None:
        return started.exception()
    return app.crash_reason


def _exit_after(seconds: float, code: int) -> threading.Timer:
    """End the process hard after a while: a broker that does not answer must not keep it alive."""

    def end() -> None:
        sys.stderr.write(f"worker did not stop within {seconds:.0f} s; ending it now\n")
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer
