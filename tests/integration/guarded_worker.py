"""A worker under test that breaks in the way that `GUARD_FAULT` names, with limits of seconds instead of minutes.

Only tests start it. What it changes is patched from here, never in the product.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

from agents.ingest import Ingest
from agents.runtime import runner, watchdog
from agents.runtime.commit import Committer
from agents.runtime.transport import BatchConsumer
from service.cli.main import main as cli
from tests.chaos import dump
from tests.chaos.patching import patch

SPIN_SECONDS = 4.0
STILL_SECONDS = 12.0
# A machine that others use leaves less than a core.
SPIN_SHARE = 0.05


def stall() -> None:
    """Block the loop in a call that lets other threads run."""
    patch(Ingest, "_handle", lambda *_: time.sleep(600))


def compute() -> None:
    """Block the loop in Python code."""

    async def handle(*_: object) -> None:
        while True:
            pass

    patch(Ingest, "_handle", handle)


def hold_the_interpreter() -> None:
    """Block every thread of Python, as native code may."""
    patch(watchdog, "BACKSTOP_SECONDS", 1.0)
    patch(watchdog, "BACKSTOP_INTERVAL_SECONDS", 0.0)
    patch(Ingest, "_handle", lambda *_: ctypes.PyDLL(None).sleep(600))


def keep_a_batch() -> None:
    """Never be done with a batch."""

    async def handle(*_: object) -> None:
        await asyncio.Event().wait()

    patch(Ingest, "_handle", handle)


def read_nothing() -> None:
    """Fetch nothing any more."""

    async def wait_next_records(*_: object) -> tuple[Any, None]:
        await asyncio.sleep(0.1)
        return {}, None

    patch(BatchConsumer, "_wait_next_records", wait_next_records)


def commit_for_ever() -> None:
    """Never be done with a flush."""

    async def flush(*_: object) -> None:
        await asyncio.Event().wait()

    patch(Committer, "_flush_slices", flush)


def spin() -> None:
    """Keep the loop busy, though it runs, from the first event on; a slow start is not judged by limits of seconds."""
    handle, spinning = Ingest._handle, watchdog.Rules._spinning
    turns: list[asyncio.Future[None]] = []

    async def turn() -> None:
        while True:  # noqa: ASYNC110 - that is the fault
            await asyncio.sleep(0)

    async def handle_then_turn(*told: Any) -> None:
        await handle(*told)
        turns.append(asyncio.ensure_future(turn()))

    patch(Ingest, "_handle", handle_then_turn)
    patch(watchdog.Rules, "_spinning", lambda *told: spinning(*told) if turns else None)


FAULTS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "stall": stall,
    "compute": compute,
    "hold the interpreter": hold_the_interpreter,
    "keep a batch": keep_a_batch,
    "read nothing": read_nothing,
    "commit for ever": commit_for_ever,
    "spin": spin,
}


def limits(fault: str, told: str) -> dict[str, float]:
    """Choose limits under which the fault is found by its own rule, or, for `long`, by none."""
    if told == "long":
        return {"stall_seconds": 600.0}
    return (
        {"spin_seconds": SPIN_SECONDS, "spin_share": SPIN_SHARE}
        if fault == "spin"
        else {"still_seconds": STILL_SECONDS}
    )


def main() -> None:
    """Break the worker, then run the command line as a person would."""
    fault = os.environ.get("GUARD_FAULT", "none")
    chosen = limits(fault, os.environ.get("GUARD_LIMITS", "short"))

    def make(stall_seconds: float, stop_seconds: float) -> watchdog.Limits:
        return watchdog.Limits(**{"stall_seconds": stall_seconds, "stop_seconds": stop_seconds, **chosen})

    patch(runner, "Limits", make)
    FAULTS[fault]()
    dump.install()
    cli()


if __name__ == "__main__":
    main()
