"""A replay split by account over processes of its own: the same files, byte for byte, in less time.

Every process reads all of the input, takes the accounts that are its share, and writes its part of the results; an
account's alerts depend on its own events alone, so nothing else passes between them but the time of the end. The
processes live and die with the one that starts them.
"""

from __future__ import annotations

import heapq
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from time import time_ns
from typing import Any, BinaryIO, Final, cast

import orjson

from service.errors import DependencyError, UsageError, VitalsError
from service.ingest import Decoder
from service.input_files import STDIN, InputFile, RefusedLine, Share
from service.model.loader import load_model
from service.replay.files import (
    ACTIONS_NAME,
    ALERTS_NAME,
    SCORES_NAME,
    Progress,
    Refuse,
    ReplayOptions,
    feed,
    new_replay,
    opened_results,
    summary_bytes,
    write_scores,
)
from service.replay.spool import opened_spools
from service.replay.summary import ReplaySummary

END_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class _Task:
    """What one process does; its results go to `folder`."""

    files: Sequence[InputFile]
    model_path: Path | None
    options: ReplayOptions
    share: Share
    folder: Path


def replay_in_processes(
    files: Sequence[InputFile],
    model_path: Path | None,
    options: ReplayOptions,
    processes: int,
    *,
    refuse: Refuse = lambda _: None,
    progress: Progress = lambda _: None,
) -> ReplaySummary:
    """Replay files with so many processes; the rest is as with `replay_files`. Standard input cannot be split."""
    if any(file.path == STDIN for file in files):
        raise UsageError("--processes cannot split standard input; name a file, or leave the option out")
    with tempfile.TemporaryDirectory(prefix="vitals-replay-") as folder:
        tasks = [_Task(files, model_path, options, Share(index, processes), Path(folder)) for index in range(processes)]
        summary = _Workers(tasks, refuse, progress).run()
        with opened_results(options.out) as results:
            if results is not None:
                _merge_lines(_parts(tasks, SCORES_NAME), results.scores, _score_order)
                _merge_lines(_parts(tasks, ALERTS_NAME), results.alerts, _told_order)
                _merge_lines(_parts(tasks, ACTIONS_NAME), results.actions, _told_order)
                results.summary.write(summary_bytes(summary))
    return summary


class _Workers:
    """The processes of one replay, seen from the one that waits for them."""

    def __init__(self, tasks: Sequence[_Task], refuse: Refuse, progress: Progress) -> None:
        self._tasks = tasks
        self._refuse = refuse
        self._progress = progress
        self._events: dict[int, int] = {}
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    def run(self) -> ReplaySummary:
        """Start all, tell them the end of time when all have read, and add up what they did."""
        context = get_context("spawn")  # a fork would share open files, threads and terminal state
        try:
            with _interrupts_held():
                for task in self._tasks:
                    mine, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(task, theirs), daemon=True)
                    process.start()
                    theirs.close()
                    self._processes.append(process)
                    self._pipes.append(mine)
            latest = [latest_ms for latest_ms in self._gather("latest") if latest_ms is not None]
            until_ms = self._tasks[0].options.until_ms
            for pipe in self._pipes:
                pipe.send(max(latest, default=None) if until_ms is None else until_ms)
            first, *others = self._gather("summary")
            for part in others:
                first.add(part)
            return cast("ReplaySummary", first)
        finally:
            self._end()

    def _gather(self, what: str) -> list[Any]:
        """Wait for this message from every process, in their order, and pass on what else they say."""
        found: dict[int, Any] = {}
        while len(found) < len(self._pipes):
            for ready in wait([pipe for index, pipe in enumerate(self._pipes) if index not in found]):
                index = self._pipes.index(cast("Connection", ready))
                try:
                    name, content = self._pipes[index].recv()
                except EOFError:
                    self._processes[index].join(END_SECONDS)
                    raise DependencyError(
                        f"a process of the replay ended with exit code {self._processes[index].exitcode};"
                        " try fewer --processes, as each needs memory of its own"
                    ) from None
                if name == what:
                    found[index] = content
                else:
                    self._pass_on(index, name, content)
        return [found[index] for index in range(len(self._pipes))]

    def _pass_on(self, index: int, name: str, content: Any) -> None:
        if name == "error":
            raise content
        if name == "refused":
            self._refuse(content)
            return
        self._events[index], bytes_read = content
        for file, count in zip(self._tasks[0].files, bytes_read, strict=True):
            file.bytes_read = max(file.bytes_read, count)
        self._progress(sum(self._events.values()))

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C for later, and for good from the processes started meanwhile: they are ended by the one waiting."""
    ensure_running()  # a helper of the standard library's, whose own start would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(task: _Task, pipe: Connection) -> None:
    """Do one process's share; an error of ours is told, and when nobody listens any more the work ends."""
    with suppress(BrokenPipeError, EOFError, ConnectionResetError):
        try:
            _replay_share(task, pipe)
        except VitalsError as error:
            pipe.send(("error", error))


def _replay_share(task: _Task, pipe: Connection) -> None:
    model = load_model(task.model_path)
    options = task.options
    paths = [task.folder / f"{task.share.index}.{name}" for name in (SCORES_NAME, ALERTS_NAME, ACTIONS_NAME)]
    with opened_spools() as spools, ExitStack() as stack:
        scores, alerts, actions = (stack.enter_context(path.open("wb")) for path in paths)
        replay = new_replay(model, options, spools)

        def refuse(line: RefusedLine) -> None:
            pipe.send(("refused", line))

        def progress(events: int) -> None:
            pipe.send(("progress", (events, [file.bytes_read for file in task.files])))

        decoder = Decoder(lambda: time_ns() // 1_000_000)
        feed(replay, task.files, decoder, refuse=refuse, progress=progress, part=task.share)
        pipe.send(("latest", replay.latest_ms))
        write_scores(replay, model, pipe.recv(), scores if options.out is not None else None)
        spools.alerts.write_sorted(alerts)
        spools.actions.write_sorted(actions)
    pipe.send(("summary", replay.summary))


def _parts(tasks: Sequence[_Task], name: str) -> list[Path]:
    return [task.folder / f"{task.share.index}.{name}" for task in tasks]


def _merge_lines(parts: Sequence[Path], out: BinaryIO, order: Callable[[bytes], Any]) -> None:
    """Merge sorted files of lines into one."""
    opened = [part.open("rb") for part in parts]
    try:
        out.writelines(heapq.merge(*opened, key=order))
    finally:
        for file in opened:
            file.close()


def _score_order(line: bytes) -> str:
    return cast("str", orjson.loads(line)["subject"])


def _told_order(line: bytes) -> tuple[str, str, int]:
    """Order as the spool does: times of one form sort as texts."""
    told = orjson.loads(line)
    return told["time"], told["subject"], told["data"]["seq"]
