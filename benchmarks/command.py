"""What every benchmark's command does: a broker in a temporary folder, progress on stderr, figures on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, as_json, machine, print_table
from service.adapters.embedded_kafka import EmbeddedKafka
from service.errors import VitalsError

OnBroker = Callable[[str, Path], Awaitable[list[Figure]]]


def say(text: str) -> None:
    """Tell on stderr what happens now."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def on_broker(home: Path, measure: OnBroker) -> list[Figure]:
    """Measure with a broker of its own, which is given by its address."""
    kafka = EmbeddedKafka(home, brokers=1, port=0)
    say("starting a broker ...")
    try:
        await asyncio.to_thread(kafka.start)
        return await measure(kafka.bootstrap, home)
    finally:
        await asyncio.to_thread(kafka.stop)


def run(measure: Callable[[Path], list[Figure]], *, in_json: bool, is_quick: bool = False) -> int:
    """Measure in a temporary folder and print; the exit code is that of an error when something was not measured."""
    begin_seconds, where = time.monotonic(), machine()
    try:
        with tempfile.TemporaryDirectory(prefix="vitals-bench-") as home, contextlib.chdir(home):
            figures = measure(Path(home))
    except VitalsError as error:
        say(f"error: {error}")
        return error.exit_code
    told: dict[str, Any] = {
        "machine": where,
        "quick": is_quick,
        "seconds": round(time.monotonic() - begin_seconds, 1),
    }
    if in_json:
        print(as_json(figures, told))
    else:
        print_table(figures, told)
    return 0
