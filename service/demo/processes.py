"""The processes of the demo: one demo per home, its broker, its worker; and that none of them outlives it.

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

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_process import ProcessMark, send, wait_stopped
from service.errors import DependencyError, VitalsError

# The worker ends by itself within 10 s of SIGTERM; after this it is killed.
WORKER_STOP_SECONDS = 12.0
LAST_LINES = 12


class WorkerEndedError(VitalsError):
    """The worker ended although nobody asked it to; `last_lines` of its log say why."""

    def __init__(self, exit_code: int, log: Path) -> None:
        super().__init__(f"the worker ended with exit code {exit_code}; its log: {log}")
        self.last_lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]


@contextmanager
def demo_broker(home: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker without data in the demo's home, which no other demo can use meanwhile."""
    with _only_demo(home):
        kafka = EmbeddedKafka(home, brokers=1, port=0)
        try:
            _end_leftover(home)
            kafka.stop()
            shutil.rmtree(kafka.data, ignore_errors=True)
            kafka.start()
            yield kafka
        finally:
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


def _mark_path(home: Path) -> Path:
    return home / "worker.json"


def _end_leftover(home: Path) -> None:
    """Kill the worker of a demo that was itself killed; its data is not wanted any more."""
    try:
        mark = ProcessMark.model_validate_json(_mark_path(home).read_bytes())
    except (FileNotFoundError, ValueError):
        return
    send(mark, signal.SIGKILL)
    wait_stopped([mark], WORKER_STOP_SECONDS)
    _mark_path(home).unlink(missing_ok=True)


class Worker:
    """`vitals worker` on the event clock, in a process and a session of its own."""

    def __init__(self, home: Path, bootstrap: str, model: Path | None) -> None:
        self.log = home / "worker.log"
        self._home = home
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        self._environment |= {"VITALS_BROKER": bootstrap, "VITALS_HOME": str(home)}
        if model is not None:
            self._environment["VITALS_MODEL"] = str(model.absolute())
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; its log begins anew."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service.cli.main", "worker", "--clock", "event"),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which stops the worker in its turn
            )
        mark = ProcessMark(pid=self._process.pid, started_at=time.time())
        _mark_path(self._home).write_text(mark.model_dump_json(), encoding="utf-8")

    async def fail_at_end(self) -> None:
        """Wait until it ends, then raise WorkerEndedError."""
        if self._process is not None:
            raise WorkerEndedError(await self._process.wait(), self.log)

    async def stop(self, say: Callable[[str], None]) -> None:
        """Stop it if it runs: SIGTERM, and SIGKILL when it takes too long."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(WORKER_STOP_SECONDS):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                code = await process.wait()
            if code != 0:
                say(f"the worker did not stop cleanly (exit code {code}); its log: {self.log}")
        _mark_path(self._home).unlink(missing_ok=True)
