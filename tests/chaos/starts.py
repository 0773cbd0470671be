"""Workers started and stopped again and again on a busy machine, with fresh and with old topics, while others are made.

    python -m tests.chaos.starts [COUNT]

Each start must become ready and each stop must end with 0, both in their time. A worker with fresh topics makes them by
itself. Between two stops of an old deployment events are published, so that there is something to recover and to read.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.topic_admin import apply_topics
from service.errors import DependencyError
from service.topic_catalogue import TopicNames
from tests.chaos.admin import delete_topics
from tests.chaos.logs import LOGIN, event
from tests.integration.kafka_tools import TestedProcess, produce

READY = "Worker ready"
READY_SECONDS = 90.0
STOP_SECONDS = 10.0
# A busy machine takes its time to start and to end a process.
SLACK_SECONDS = 5.0
BUSY_PROCESSES = 2
FRESH_EVERY = 2
DAY_MS = 1_772_323_200_000  # 2026-03-01


@dataclass
class Figures:
    """What the rounds took, and the rounds that failed."""

    ready_seconds: list[float]
    stop_seconds: list[float]
    failures: list[str]

    def told(self) -> str:
        """Return one line for people."""
        return (
            f"{len(self.ready_seconds)} starts and stops, {len(self.failures)} failed: "
            f"ready in {_spread(self.ready_seconds)}, ended in {_spread(self.stop_seconds)}"
        )


def _spread(seconds: list[float]) -> str:
    ranked = sorted(seconds)
    if not ranked:
        return "no time known"
    return f"{median(ranked):.2f} s (p95 {ranked[int(0.95 * (len(ranked) - 1))]:.2f}, at most {ranked[-1]:.2f})"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keep every core busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_PROCESSES)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@contextmanager
def topics_being_made(bootstrap: str) -> Iterator[None]:
    """Make and delete topics of deployments that nobody uses."""
    done = threading.Event()

    def make() -> None:
        while not done.is_set():
            prefix = f"x{uuid.uuid4().hex[:8]}-"
            names = TopicNames(app_id=f"{prefix}app", prefix=prefix)
            with suppress(DependencyError):  # leaders take their time
                asyncio.run(apply_topics(bootstrap, names))
            with suppress(Exception):  # some were not made
                delete_topics(bootstrap, names.worker_topics())

    making = threading.Thread(target=make, name="making topics", daemon=True)
    making.start()
    try:
        yield
    finally:
        done.set()
        making.join(60)


def start_and_stop(bootstrap: str, names: TopicNames, log: Path, dwell_seconds: float) -> tuple[float, float]:
    """Start a worker, let it be, stop it; return how long it took to be ready and to end."""
    began = time.monotonic()
    with TestedProcess(
        log,
        "tests.chaos.worker",
        "worker",
        VITALS_BROKER=bootstrap,
        VITALS_APP_ID=names.app_id,
        VITALS_TOPIC_PREFIX=names.prefix,
    ) as worker:
        worker.wait_for(READY, READY_SECONDS)
        ready_seconds = time.monotonic() - began
        time.sleep(dwell_seconds)
        asked = time.monotonic()
        code = worker.terminate(STOP_SECONDS + SLACK_SECONDS)
        assert code == 0, f"ended with {code}:\n{worker.output()[-4000:]}"
        return ready_seconds, time.monotonic() - asked


def rounds(bootstrap: str, folder: Path, count: int, seed: int, note: Callable[[str], None]) -> Figures:
    """Start and stop a worker so often; a round that fails is kept, and the next one begins."""
    rng = Random(seed)
    figures = Figures([], [], [])
    names = TopicNames()
    for number in range(count):
        is_fresh = number % FRESH_EVERY == 0
        if is_fresh:
            if number:
                delete_topics(bootstrap, names.worker_topics())
            prefix = f"s{uuid.uuid4().hex[:8]}-"
            names = TopicNames(app_id=f"{prefix}app", prefix=prefix)
        else:
            made = [event(LOGIN, f"a{each % 20}", f"{number}-{each}", DAY_MS, {"user": "u"}) for each in range(200)]
            produce(bootstrap, names.input("usage"), [(each.key, each.value, (), each.partition) for each in made])
        log = folder / f"start-{number:03d}.log"
        told = f"{number + 1}/{count} {'fresh' if is_fresh else 'old'}"
        try:
            ready, stop = start_and_stop(bootstrap, names, log, rng.choice((0.0, 0.0, 0.3, 1.5)))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            figures.failures.append(f"{told}: {error}\n{log.read_text(errors='replace')[-4000:]}")
            note(f"FAILED {figures.failures[-1]}")
            continue
        figures.ready_seconds.append(ready)
        figures.stop_seconds.append(stop)
        note(f"{told}: ready in {ready:.1f} s, ended in {stop:.1f} s")
    return figures


def told(line: str) -> None:
    """Write a line for people, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as many rounds as asked on an embedded broker of its own; exit code 1 when one failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the broker and the busy processes must end with it
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        kafka = EmbeddedKafka(folder / "broker", port=0)
        kafka.start()
        try:
            with busy_machine(), topics_being_made(kafka.bootstrap):
                figures = rounds(kafka.bootstrap, folder, count, 1, told)
            told(figures.told())
        finally:
            kafka.stop()
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
