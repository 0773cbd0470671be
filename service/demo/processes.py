"""The processes of the demo: one demo per home, its broker, its Redis, its roles; and that none of them outlives it.

The demo's home is emptied at every start instead of giving each run topic names of its own: nothing of an older run
has to be loaded or pays for disk, and what a killed demo left running is found and ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_process import ProcessMark, send, wait_stopped
from service.adapters.embedded_redis import EmbeddedRedis
from service.errors import DependencyError, VitalsError

RoleName = Literal["worker", "projector", "api"]
ROLES: tuple[RoleName, ...] = get_args(RoleName)
# A role ends by itself within 10 s of SIGTERM; after this it is killed.
STOP_SECONDS = 12.0
LAST_LINES = 12


class RoleEndedError(VitalsError):
    """A role ended although nobody asked it to; `last_lines` of its log say why."""

    def __init__(self, name: RoleName, exit_code: int, log: Path) -> None:
        super().__init__(f"the {name} ended with exit code {exit_code}; its log: {log}")
        self.last_lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]


@contextmanager
def demo_broker(home: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker without data in the demo's home, which no other demo can use meanwhile; its Redis ends with it."""
    with _only_demo(home):
        kafka = EmbeddedKafka(home, brokers=1, port=0)
        try:
            _end_leftovers(home)
            kafka.stop()
            shutil.rmtree(kafka.data, ignore_errors=True)
            kafka.start()
            yield kafka
        finally:
            EmbeddedRedis(home).stop()
            kafka.stop()


@contextmanager
def _only_demo(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / "demo.lock").open("w")
    except OSError as error:
        raise DependencyError(f"{home} cannot be used: {error.strerror}; name another place with VITALS_HOME") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by the system if this process dies
        except BlockingIOError:
            raise DependencyError(f"a demo already runs in {home}; stop it, or set VITALS_HOME for another") from None
        yield


def _mark_path(home: Path, name: str) -> Path:
    return home / f"{name}.json"


def _end_leftovers(home: Path) -> None:
    """Kill the processes of a demo that was itself killed; their data is not wanted any more."""
    EmbeddedRedis(home).kill()
    for name in ROLES:
        try:
            mark = ProcessMark.model_validate_json(_mark_path(home, name).read_bytes())
        except (FileNotFoundError, ValueError):
            continue
        send(mark, signal.SIGKILL)
        wait_stopped([mark], STOP_SECONDS)
        _mark_path(home, name).unlink(missing_ok=True)


class Role:
    """A command of ours, as `vitals worker`, in a process and a session of its own."""

    def __init__(self, name: RoleName, home: Path, bootstrap: str, model: Path | None, *options: str) -> None:
        self.log = home / f"{name}.log"
        self._name = name
        self._home = home
        self._options = options
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        self._environment |= {"VITALS_BROKER": bootstrap, "VITALS_HOME": str(home)}
        if model is not None:
            self._environment["VITALS_MODEL"] = str(model.absolute())
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; its log begins anew."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service.cli.main", self._name, *self._options),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which stops its roles in their turn
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
