"""One run of one engine, seen from outside: its process tree's processor time and memory at the marks it sends.

Marks carry the engine's own clock; processor time is read when a mark arrives, a few milliseconds later. Everything the
engine started is ended by its process id when the block is left, however it is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import psutil

from benchmarks.worker_process import BenchmarkError

MEMORY_SAMPLE_SECONDS: Final = 0.1
END_SECONDS: Final = 10.0
TOLD_CHARACTERS: Final = 1_500


@dataclass(frozen=True, slots=True)
class Mark:
    """How many events were done at an instant of the wall clock, and the processor time used until then."""

    at_ns: int
    events: int
    cpu_seconds: float


@dataclass(slots=True)
class Measured:
    """What a run came to; the warm half is None when the marks do not tell it.

    `stopped_` is with the graceful stop, after which all is as durable as the engine makes it.
    """

    events_per_second: float
    warm_events_per_second: float | None
    cpu_us_per_event: float
    warm_cpu_us_per_event: float | None
    stopped_events_per_second: float
    stopped_cpu_us_per_event: float
    peak_rss_mib: float


@dataclass(slots=True)
class Watch:
    """What is seen of one process tree while it runs."""

    root: psutil.Process
    marks: list[Mark] = field(default_factory=list)
    members: dict[int, psutil.Process] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    done: Mark | None = None
    _by_worker: dict[str, int] = field(default_factory=dict)

    def tree(self) -> list[psutil.Process]:
        """List the processes that are there now; remembers each, to end it later."""
        found = [self.root]
        with contextlib.suppress(psutil.NoSuchProcess):
            found += self.root.children(recursive=True)
        self.members.update((process.pid, process) for process in found)
        return found

    def cpu_seconds(self) -> float:
        """Add up the processor time of the tree, with that of children that have ended."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def note_memory(self) -> None:
        """Take a sample of resident memory."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        self.peak_rss_bytes = max(self.peak_rss_bytes, total)

    def note_mark(self, line: bytes) -> None:
        """Take a mark of one worker of the engine."""
        worker, count, at_ns = line.decode().split()
        if worker != "done":
            self._by_worker[worker] = int(count)
        mark = Mark(int(at_ns), sum(self._by_worker.values()), self.cpu_seconds())
        if worker == "done":
            self.done = mark
        else:
            self.marks.append(mark)

    def measured(self, events: int) -> Measured:
        """Compute the figures; raises BenchmarkError when the engine did not do all events."""
        whole = [mark for mark in self.marks if mark.events >= events]
        if not whole or self.done is None:
            done = self.marks[-1].events if self.marks else 0
            raise BenchmarkError(f"it did {done:,} of {events:,} events")
        begin, end = self.marks[0], whole[0]
        if begin is end:
            raise BenchmarkError("all events came in one piece: take more of them")
        half = next(mark for mark in self.marks if mark.events * 2 >= events)
        has_half = half is not end
        return Measured(
            events_per_second=_rate(begin, end),
            warm_events_per_second=_rate(half, end) if has_half else None,
            cpu_us_per_event=_cpu_us(begin, end),
            warm_cpu_us_per_event=_cpu_us(half, end) if has_half else None,
            stopped_events_per_second=_rate(begin, self.done),
            stopped_cpu_us_per_event=_cpu_us(begin, self.done),
            peak_rss_mib=self.peak_rss_bytes / 2**20,
        )


def _rate(begin: Mark, end: Mark) -> float:
    return (end.events - begin.events) / max(end.at_ns - begin.at_ns, 1) * 1e9


def _cpu_us(begin: Mark, end: Mark) -> float:
    return (end.cpu_seconds - begin.cpu_seconds) / (end.events - begin.events) * 1e6


def run_engine(command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds_max: float) -> Watch:
    """Run an engine until it ends; raises BenchmarkError with the end of its log when it fails."""
    log = folder / "engine.log"
    with log.open("wb") as output, _watched(command, environment, folder, output) as (process, watch):
        try:
            code = process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"not done after {seconds_max:.0f} s\n{_tail(log)}") from None
    if code or watch.done is None:
        raise BenchmarkError(f"it ended with {code}\n{_tail(log)}")
    return watch


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-TOLD_CHARACTERS:]


@contextlib.contextmanager
def _watched(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, output: IO[bytes]
) -> Iterator[tuple[subprocess.Popen[bytes], Watch]]:
    pipe = Path(tempfile.mkdtemp(dir=folder)) / "marks"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)  # never at its end, however often an engine opens and closes it
    process = subprocess.Popen(
        command,
        env={**environment, "PEER_MARKS": str(pipe)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the runner, which then ends the engine
    )
    watch, stopped = Watch(psutil.Process(process.pid)), threading.Event()
    threads = [
        threading.Thread(target=_read_marks, args=(reader, watch)),
        threading.Thread(target=_sample_memory, args=(watch, stopped)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield process, watch
    finally:
        _end(process, watch)
        stopped.set()
        os.write(reader, b"end 0 0\n")
        for thread in threads:
            thread.join()
        os.close(reader)


def _read_marks(reader: int, watch: Watch) -> None:
    buffered = b""
    while True:
        buffered += os.read(reader, 65_536)
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            if line.startswith(b"end "):
                return
            watch.note_mark(line)


def _sample_memory(watch: Watch, stopped: threading.Event) -> None:
    while not stopped.wait(MEMORY_SAMPLE_SECONDS):
        with contextlib.suppress(psutil.NoSuchProcess):
            watch.note_memory()


def _end(process: subprocess.Popen[bytes], watch: Watch) -> None:
    """End what is left of the tree: asked first, by force after a while."""
    with contextlib.suppress(psutil.NoSuchProcess):
        watch.tree()
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [member for member in watch.members.values() if member.is_running()]
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline and any(_runs(member) for member in left):
            time.sleep(0.05)
            process.poll()
    process.wait()


def _runs(member: psutil.Process) -> bool:
    try:
        return bool(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
