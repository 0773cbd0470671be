"""One set of processes per home: its broker, its Redis, its roles; and that none of them outlives who started it.

Who runs them holds a lock, in which its process id stands until all has ended. So what a killed one left running is
known, and the next one ends it before it starts.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, get_args

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_process import ProcessMark, send, wait_stopped
from service.adapters.embedded_redis import EmbeddedRedis
from service.errors import ConfigError, DependencyError, VitalsError

RoleName = Literal["worker", "projector", "api"]
ROLES: tuple[RoleName, ...] = get_args(RoleName)
# A role ends by itself within 10 s of SIGTERM; after this it is killed.
STOP_SECONDS = 12.0
LAST_LINES = 12


class RoleEndedError(VitalsError):
    """A role ended although nobody asked it to; `last_lines` of its log say why."""

    def __init__(self, name: RoleName, exit_code: int, log: Path) -> None:
        super().__init__(f"the {name} ended with exit code {exit_code}; its log: {log}")
        if exit_code == ConfigError.exit_code:  # no start will help before somebody has corrected the settings
            self.exit_code = exit_code
        self.last_lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]


@contextmanager
def last_lines_told(say: Callable[[str], None]) -> Iterator[None]:
    """Say the last lines of the log when a role ended in the block."""
    try:
        yield
    except RoleEndedError as error:
        for line in error.last_lines:
            say(f"  {line}")
        raise


@contextmanager
def running_broker(
    home: Path, command: str, *, port: int | None, brokers: int | None = None, keeps_data: bool
) -> Iterator[EmbeddedKafka]:
    """Run the broker of a home, which nobody else can use meanwhile; its Redis ends with it.

    Raises DependencyError when the home is in use, and when data is kept and its broker was started by somebody else.
    """
    with _only_one(home, command) as was_killed:
        kafka = EmbeddedKafka(home, brokers, port)
        if keeps_data and not was_killed:
            _refuse_others(home, kafka, command)
        try:
            _end_leftovers(home)
            kafka.stop()
            if not keeps_data:
                shutil.rmtree(kafka.data, ignore_errors=True)
            kafka.start()
            yield kafka
        finally:
            EmbeddedRedis(home).stop()
            kafka.stop()


def _refuse_others(home: Path, kafka: EmbeddedKafka, command: str) -> None:
    running = {"kafka": kafka.status().state != "stopped", "redis": EmbeddedRedis(home).is_running()}
    if found := [name for name, runs in running.items() if runs]:
        raise DependencyError(
            f"{home} is in use: {' and '.join(found)} run there, and not by `vitals {command}`; run "
            f"{' and '.join(f'`vitals {name} down`' for name in found)} first, or name another folder (VITALS_HOME)"
        )


@contextmanager
def _only_one(home: Path, command: str) -> Iterator[bool]:
    """Hold the home; yields whether the last one that held it was killed."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / f"{command}.lock").open("a+")
    except OSError as error:
        raise DependencyError(f"{home} cannot be used: {error.strerror}; name another place with VITALS_HOME") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by the system if this process dies
        except BlockingIOError:
            raise DependencyError(
                f"`vitals {command}` already runs in {home} (process {_holder(file)}): stop it, or name another folder "
                "(VITALS_HOME)"
            ) from None
        was_killed = bool(_holder(file))
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield was_killed
        finally:
            file.truncate(0)


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _mark_path(home: Path, name: str) -> Path:
    return home / f"{name}.json"


def _end_leftovers(home: Path) -> None:
    """End the roles and the Redis of one that was itself killed."""
    marks = []
    for name in ROLES:
        try:
            marks.append(ProcessMark.model_validate_json(_mark_path(home, name).read_bytes()))
        except (FileNotFoundError, ValueError):
            continue
    for number in (signal.SIGTERM, signal.SIGKILL):
        for mark in marks:
            send(mark, number)
        if wait_stopped(marks, STOP_SECONDS):
            break
    for name in ROLES:
        _mark_path(home, name).unlink(missing_ok=True)
    EmbeddedRedis(home).kill()


class Role:
    """A command of ours, as `vitals worker`, in a process and a session of its own."""

    def __init__(self, name: RoleName, home: Path, variables: Mapping[str, str], *options: str) -> None:
        """Name it; of the settings in the environment it gets those in `variables` alone."""
        self.log = home / f"{name}.log"
        self._name = name
        self._home = home
        self._options = options
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        self._environment = {**inherited, **variables, "VITALS_HOME": str(home)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; its log begins anew, and that of the time before is kept beside it."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service.cli.main", self._name, *self._options),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for who started it, and stops it in its turn
            )
        mark = ProcessMark(pid=self._process.pid, started_at=time.time())
        _mark_path(self._home, self._name).write_text(mark.model_dump_json(), encoding="utf-8")

    async def fail_at_end(self) -> None:
        """Wait until it ends, then raise RoleEndedError."""
        if self._process is not None:
            raise RoleEndedError(self._name, await self._process.wait(), self.log)

    async def stop(self, say: Callable[[str], None]) -> None:
        """Stop it if it runs: SIGTERM, and SIGKILL when it takes too long."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                code = await process.wait()
            if code not in {0, -signal.SIGTERM}:  # the signal itself ends one that has not begun to listen to it
                say(f"the {self._name} did not stop cleanly (exit code {code}); its log: {self.log}")
        _mark_path(self._home, self._name).unlink(missing_ok=True)
