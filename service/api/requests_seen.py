"""Counts requests by route, method and status. A route is its template, never the path that was asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics.buckets import Buckets
from service.metrics.catalogue import REQUEST_DURATION, REQUESTS
from service.metrics.exposition import Sample

NO_ROUTE: Final = "none"
METHODS: Final = frozenset({"GET", "HEAD", "POST"})


class RequestsSeen:
    """What was asked since the start."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, Buckets] = {}

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request whose answer begins."""
        self._counts[route, method if method in METHODS else "OTHER", status] += 1
        self._durations.setdefault(route, Buckets(REQUEST_DURATION.bounds)).add(seconds)

    def samples(self) -> Iterator[Sample]:
        """Give what was counted."""
        for (route, method, status), count in self._counts.items():
            yield Sample(REQUESTS, count, {"route": route, "method": method, "status": str(status)})
        for route, seconds in self._durations.items():
            yield Sample(REQUEST_DURATION, seconds, {"route": route})


class Counting:
    """ASGI middleware around everything else, also around the gate."""

    def __init__(self, app: ASGIApp, *, seen: RequestsSeen) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", NO_ROUTE)
                self._seen.note(route, scope["method"], message["status"], time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, counted)
