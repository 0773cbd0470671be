"""The live stream as server-sent events: resumable, filtered, never waiting for a client that does not read.

Every 15 s without news a `state` event tells the age of the data, which keeps connections open and shows a page that
it is still connected. It has no id, so it does not move the place to resume from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from schemas.fields import AccountId, Identifier
from schemas.outputs import Band
from service.account_copy.reader import CopyReader, NoCopy
from service.adapters.redis_client import REDIS_FAILURES
from service.api.accounts import Copy
from service.api.answers import PROBLEMS
from service.api.gate import Reader
from service.api.hub import Event, Filter, Hub
from service.api.keys import ApiKey, KeyRing
from service.api.problems import Problem

RETRY_MS: Final = 2_000
SEND_SECONDS: Final = 10.0
STREAMS_MAX: Final = 1_000

routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["stream"])


class _Stream(StreamingResponse):
    """A response that gives up on a client which takes nothing for so long."""

    async def stream_response(self, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await super().stream_response(sent)
        except TimeoutError:
            pass  # ending here without the last part makes the server close the connection


@routes.get("/stream", response_class=StreamingResponse)
async def stream(
    *,
    request: Request,
    copy: Copy,
    key: Reader,
    kind: Annotated[list[Literal["score", "alert", "action", "reset"]] | None, Query(max_length=4)] = None,
    account: Annotated[list[AccountId] | None, Query(max_length=200)] = None,
    owner: Annotated[list[Identifier] | None, Query(max_length=20)] = None,
    band: Annotated[list[Band] | None, Query(max_length=4, description="before or after")] = None,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> StreamingResponse:
    """Follow scores, alerts and what people do as server-sent events, from now or from after `Last-Event-ID`."""
    hub: Hub = request.app.state.hub
    if len(hub) >= STREAMS_MAX:
        raise Problem("too-many-requests", f"{STREAMS_MAX} streams are open")
    await copy.state()  # without a copy the answer is a problem, not an empty stream
    wanted = Filter(*(frozenset(values or ()) for values in (kind, account, owner, band)))
    lines = _lines(hub=hub, copy=copy, wanted=wanted, last_event_id=last_event_id, key=key, keys=request.app.state.keys)
    return _Stream(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _lines(
    *, hub: Hub, copy: CopyReader, wanted: Filter, last_event_id: str, key: ApiKey, keys: KeyRing | None
) -> AsyncIterator[bytes]:
    yield b"retry: %d\n" % RETRY_MS + await _state(copy)
    async with hub.follow(wanted, last_event_id) as events, aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if event is None and keys is not None and not keys.still_holds(key):
                return
            yield await _state(copy) if event is None else _text(event)


def _text(event: Event) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.kind.encode(), orjson.dumps(event.data))


async def _state(copy: CopyReader) -> bytes:
    told: dict[str, Any] = {"as_of": None, "stale": True}
    try:
        state = await copy.state()
        told = {"as_of": state.as_of, "stale": state.stale}
    except (NoCopy, *REDIS_FAILURES):
        pass  # which is what stale says
    return b"event: state\ndata: %s\n\n" % orjson.dumps(told)
