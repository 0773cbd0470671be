"""What the tests of the API share: the API on a real server and a real Redis, and clients with keys."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from service.account_copy.reader import STATE_SECONDS
from service.adapters.embedded_kafka import resolve_bootstrap
from service.adapters.redis_client import open_redis
from service.api.app import build_api
from service.api.deployment import Deployment
from service.api.http import Http
from service.api.keys import KeyRing
from service.commands import open_desk
from service.model.loader import load_model
from service.settings import Settings, load_settings
from service.topic_catalogue import TopicNames
from tests.service.copy_kit import Copy

NO_LIMIT = 100_000
NO_BROKER = "127.0.0.1:1"


@dataclass
class Served:
    """A running API and the copy that it reads."""

    url: str
    redis_url: str
    base: str
    api: FastAPI

    def client(self, token: str | None = None) -> httpx.Client:
        """Open a client, with a key or without."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def change(self, job: Callable[[Copy], Awaitable[Any]]) -> Any:
        """Write to the copy, as a projector would, and wait until the API looks at its state anew."""

        async def run() -> Any:
            async with open_redis(self.redis_url) as client:
                copy = Copy(client, self.base)
                await copy.begin()
                return await job(copy)

        result = asyncio.run(run())
        time.sleep(STATE_SECONDS)
        return result


@contextmanager
def serving(
    redis_url: str,
    base: str,
    *,
    keys: KeyRing | None = None,
    per_second: int = NO_LIMIT,
    settings: Settings | None = None,
) -> Iterator[Served]:
    """Run the API on a free port of this machine; without settings of a deployment, of one that nobody started."""
    known = settings or load_settings(broker=NO_BROKER)
    api = build_api(
        redis_url,
        base,
        load_model(),
        keys=keys,
        requests_per_second=per_second,
        open_desk=lambda: open_desk(resolve_bootstrap(known), TopicNames.from_settings(known)),
        deployment=Deployment(known),
    )
    server = uvicorn.Server(uvicorn.Config(api, port=0, http=Http, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", redis_url, base, api)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
