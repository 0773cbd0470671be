"""A worker under measurement: the real command in a process of its own, seen from outside.

Nothing in the worker knows that it is measured: its log says when it is ready, the brokers say how far it is, the
operating system says what it used.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.adapters.topic_admin import committed_offsets
from service.errors import VitalsError
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.integration.kafka_tools import WORKER_MODULE, TestedProcess, start_worker

SAMPLE_SECONDS = 0.2
READY_SECONDS = 300.0  # a million accounts on a busy machine
READY = "Worker ready"
RECOVERED = re.compile(r"Recovered (\d+) changelog records of \d+ partitions in ([\d.]+) s")


class BenchmarkError(VitalsError):
    """A benchmark cannot say what it should: the reason, and what to look at."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How far a worker was at an instant (of `time.monotonic`) and what it had used."""

    at_seconds: float
    committed: int
    cpu_seconds: float
    rss_bytes: int


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of all threads of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


class MeasuredWorker:
    """A started worker process."""

    def __init__(self, settings: Settings, process: TestedProcess, started_seconds: float) -> None:
        self._settings = settings
        self._process = process
        self._started_seconds = started_seconds
        self._usage = psutil.Process(process.process.pid)
        self.ready_seconds = 0.0

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        rss: int = self._usage.memory_info().rss
        return rss

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all threads so far."""
        return cpu_seconds(self._usage)

    def wait_ready(self) -> None:
        """Wait until it takes input; `ready_seconds` is then the time since its start."""
        deadline = self._started_seconds + READY_SECONDS
        while READY not in self._process.output():
            self._check_alive(deadline)
            time.sleep(0.02)
        self.ready_seconds = time.monotonic() - self._started_seconds

    def recovery(self) -> tuple[int, float]:
        """Return the changelog records that it recovered, and in how many seconds, as its log says."""
        found = RECOVERED.search(self._process.output())
        if found is None:
            raise BenchmarkError(f"no word of recovery in {self._process.log}")
        return int(found[1]), float(found[2])

    async def catch_up(self, total: int, within_seconds: float = 180.0) -> list[Sample]:
        """Sample until `total` records of the inputs are committed; the first sample is of now."""
        deadline = time.monotonic() + within_seconds
        samples = [await self._sample()]
        while samples[-1].committed < total:
            self._check_alive(deadline)
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append(await self._sample())
        return samples

    async def _sample(self) -> Sample:
        names = TopicNames.from_settings(self._settings)
        offsets = await committed_offsets(self._settings.broker or "", self._settings.app_id)
        committed = sum(offset for (topic, _), offset in offsets.items() if topic in names.inputs)
        return Sample(time.monotonic(), committed, self.cpu_seconds, self.rss_bytes)

    def _check_alive(self, deadline: float) -> None:
        if self._process.process.poll() is not None:
            raise BenchmarkError(f"the worker ended:\n{self._process.output()[-2000:]}")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the worker is too slow to be measured:\n{self._process.output()[-2000:]}")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it as a process manager does; raises BenchmarkError when it does not end cleanly."""
        code = self._process.terminate(within_seconds=15)
        if code != 0:
            raise BenchmarkError(f"the worker ended with {code}:\n{self._process.output()[-2000:]}")


@contextmanager
def running_worker(
    settings: Settings, log: Path, module: str = WORKER_MODULE, **variables: str
) -> Iterator[MeasuredWorker]:
    """Run a worker that is ready, stop it at the end, and leave nothing behind when anything fails."""
    started_seconds = time.monotonic()
    with start_worker(settings, log, module=module, **variables) as process:
        worker = MeasuredWorker(settings, process, started_seconds)
        worker.wait_ready()
        yield worker
        worker.stop()
