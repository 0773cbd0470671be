"""The API's composition root: `build_api(...)` puts gate, routes and errors together, and opens nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from service.account_copy.reader import CopyReader
from service.account_copy.watch import CopyWatch
from service.adapters.redis_client import open_redis
from service.api import accounts, actions, export, overview, stream
from service.api.deployment import Deployment
from service.api.desk import DeskKeeper, OpenDesk
from service.api.gate import Gate
from service.api.hub import Hub
from service.api.keys import KeyRing
from service.api.page import routes as page
from service.api.problems import add_problem_schema, handle_problems
from service.api.rate import RateLimit
from service.api.requests_seen import Counting, RequestsSeen
from service.api.session import Sessions
from service.metrics.beside import told
from service.scoring.model import Model

TITLE = "Vitals"
API_VERSION = "1.0.0"
WITHOUT_KEY: Final[dict[str, Any]] = {"security": []}


def build_api(
    redis_url: str,
    base: str,
    model: Model,
    *,
    keys: KeyRing | None,
    requests_per_second: int,
    open_desk: OpenDesk,
    deployment: Deployment,
    metrics_address: str | None = None,
) -> FastAPI:
    """Build the API on the copy under a key prefix and a cluster; without keys it answers this machine only.

    `deployment` is what the copy is of, for the page of the person on call; nothing else asks it. Metrics are served at
    an address of their own, if there is one.
    """
    seen = RequestsSeen()

    @contextlib.asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with open_redis(redis_url) as client:
            api.state.reader = CopyReader(client, base)
            api.state.hub = Hub(api.state.reader)
            api.state.desks = DeskKeeper(open_desk)
            following = asyncio.create_task(api.state.hub.run())
            watch = CopyWatch(api.state.reader)
            try:
                sources, watches = [seen.samples, watch.samples], [watch.watch_forever]
                async with told(metrics_address, "api", sources, watches, watch.unready):
                    yield
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
                await api.state.desks.close()

    # The pages of documentation would load scripts from elsewhere; /openapi.json is all there is.
    api = FastAPI(title=TITLE, version=API_VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    api.state.model, api.state.keys, api.state.sessions = model, keys, Sessions()
    api.state.deployment = deployment
    # The framework looks at every route of every part, twice, before it serves one; this one is asked most by far.
    api.router.routes.append(_Direct(accounts.VIEW_PATH, accounts.account_view))
    for part in (accounts, actions, overview, export, stream, page):
        api.include_router(part.routes)
    _add_probes(api)
    _complete_document(api)
    handle_problems(api)
    api.add_middleware(Gate, keys=keys, sessions=api.state.sessions, limit=RateLimit(requests_per_second))
    api.add_middleware(Counting, seen=seen)
    return api


class _Direct(Route):
    """A route without the framework's dependencies and document; it names itself to who counts, as the others do."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(path, endpoint)
        self.methods = {"GET"}  # as the document says; by itself it would add HEAD

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def _complete_document(api: FastAPI) -> None:
    """Add to /openapi.json what the framework cannot know: the gate's key, and the form of errors."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generate()
            add_problem_schema(document)
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
        return generate()

    api.openapi = openapi  # type: ignore[method-assign]  # the framework's documented way


def _add_probes(api: FastAPI) -> None:
    @api.get("/livez", tags=["probes"], openapi_extra=WITHOUT_KEY)
    async def livez() -> JSONResponse:
        """Say that the process answers."""
        return JSONResponse({"live": True})

    @api.get("/readyz", tags=["probes"], openapi_extra=WITHOUT_KEY)
    async def readyz(request: Request) -> JSONResponse:
        """Say that the copy can be read, a stale one too; 503 otherwise."""
        state: Any = await request.app.state.reader.state()
        return JSONResponse({"ready": True, "stale": state.stale})
