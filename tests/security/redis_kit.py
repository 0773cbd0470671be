"""A Redis with the users of deploy/redis/users.acl, and TLS before it: the packaged server is built without."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_redis import _server
from tests.security.kit import HOST, Identity

USERS = Path(__file__).resolve().parents[2] / "deploy" / "redis" / "users.acl"
NOBODY = "#" + "0" * 64  # the hash of no password that anybody knows
PASSWORDS = {"vitals-projector": "hush-projector-77", "vitals-api": "hush-api-77"}


def users_with_passwords() -> str:
    """Return the file of users as an operator fills it in."""
    filled = []
    for line in USERS.read_text(encoding="utf-8").splitlines():
        name = line.split()[1]
        digest = hashlib.sha256(PASSWORDS.get(name, "").encode()).hexdigest()
        assert (NOBODY in line) == (name in PASSWORDS)
        filled.append(line.replace(NOBODY, f"#{digest}") + "\n")
    return "".join(filled)


@contextmanager
def guarded_redis(folder: Path) -> Iterator[int]:
    """Run a server with these users on a port of this machine; gives the port."""
    users, port = folder / "users.acl", free_ports(1)[0]
    users.write_text(users_with_passwords())
    options = {"port": str(port), "bind": HOST, "aclfile": str(users), "dir": str(folder), "save": ""}
    with (folder / "redis.log").open("wb") as log:
        command = [_server(), *(part for name, value in options.items() for part in (f"--{name}", value))]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while b"Ready to accept" not in (folder / "redis.log").read_bytes():
            assert process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class TlsFront:
    """Where TLS is ended."""

    port: int

    def url(self, user: str, password: str | None = None) -> str:
        """Make the address for a user, with its own password unless another is given."""
        return f"rediss://{user}:{password or PASSWORDS[user]}@{HOST}:{self.port}/0"


@contextmanager
def tls_before(port: int, identity: Identity) -> Iterator[TlsFront]:
    """End TLS on another port of this machine and pass on what is inside."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    front: Future[tuple[TlsFront, Callable[[], object]]] = Future()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, port)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(pass_on, HOST, 0, ssl=context)
        front.set_result((TlsFront(server.sockets[0].getsockname()[1]), lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    made, end = front.result(10)
    try:
        yield made
    finally:
        end()
        thread.join(5)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
