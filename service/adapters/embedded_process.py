"""Processes that outlive the command that started them: start, recognise later, signal, end.

A process is known by its id and its start time, so that an id which the system has given to another process is never
signalled. What the processes are for is not known here.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

# Start times come from clock ticks and the boot time, which both are rounded.
START_TOLERANCE_SECONDS = 2.0


class ProcessMark(BaseModel):
    """What a process is recognised by."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float  # seconds since the epoch


def spawn(argv: list[str], log: Path) -> ProcessMark:
    """Start a process in a session of its own, its output appended to `log`."""
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        argv[0],
        argv,
        # Only these: JAVA_TOOL_OPTIONS and its like would change a broker behind our back.
        {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # Ctrl-C in the terminal is for the command, not for the broker
    )
    return ProcessMark(pid=pid, started_at=psutil.Process(pid).create_time())


def state_of(mark: ProcessMark | None) -> str:
    """Return `running`, `paused` or `stopped`."""
    process = _find(mark)
    try:
        status = process.status() if process else psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return "stopped"
    if status == psutil.STATUS_ZOMBIE:
        return "stopped"
    return "paused" if status == psutil.STATUS_STOPPED else "running"


def send(mark: ProcessMark | None, signal_number: signal.Signals) -> None:
    """Signal a process if it still is the one that was marked."""
    process = _find(mark)
    if process:
        try:
            process.send_signal(signal_number)
        except psutil.NoSuchProcess:
            pass  # it ended meanwhile, which is all that a signal is sent for


def wait_stopped(marks: Iterable[ProcessMark | None], seconds: float) -> bool:
    """Wait until all have ended; False if one has not within the time."""
    return _wait_in(marks, {"stopped"}, seconds)


def wait_paused(mark: ProcessMark | None, seconds: float) -> bool:
    """Wait until one no longer runs; every thread of it has to take the signal. False if it has not within the time."""
    return _wait_in([mark], {"paused", "stopped"}, seconds)


def _wait_in(marks: Iterable[ProcessMark | None], states: set[str], seconds: float) -> bool:
    left, deadline = list(marks), time.monotonic() + seconds
    while left:
        left = [mark for mark in left if state_of(mark) not in states]
        if left and time.monotonic() > deadline:
            return False
        if left:
            time.sleep(0.05)
    return True


def _find(mark: ProcessMark | None) -> psutil.Process | None:
    if mark is None:
        return None
    try:
        os.waitpid(mark.pid, os.WNOHANG)  # takes the exit status if we are the parent: no zombie stays
    except ChildProcessError:
        pass  # another command started it
    try:
        process = psutil.Process(mark.pid)
        same = abs(process.create_time() - mark.started_at) < START_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same else None
