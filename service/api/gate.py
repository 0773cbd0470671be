"""The gate before every route: who asks, may they, and how often. What is not named open here needs a key.

Without keys only this machine is served, and only under its own names, so that no web page that the owner visits can
ask by a name of its own (DNS rebinding). With keys every request needs one in `Authorization: Bearer`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.keys import ApiKey, KeyRing, Role
from service.api.problems import Problem, problem_response
from service.api.rate import Allowance, RateLimit

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/openapi.json"})
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
# Ids may hold any character, "/" too: below here the path is matched as it was sent, each part decoded later.
RAW_PREFIX: Final = "/v1/accounts/"
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="vitals"'}
_LOCAL: Final = ApiKey(id="0" * 8, name="this machine", role="admin", sha256="0" * 64)


class Gate:
    """ASGI middleware: lets through what may pass, and announces limits on every answer."""

    def __init__(self, app: ASGIApp, *, keys: KeyRing | None, limit: RateLimit) -> None:
        self._app = app
        self._keys = keys
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _match_raw(scope)
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, _with_headers(send, {}))
            return
        headers = Headers(scope=scope)
        found = self._who(headers)
        caller = f"key {found.id}" if isinstance(found, ApiKey) else _address(scope)
        allowance = self._limit.take(caller)
        announced = _announce(allowance, self._limit.per_second)
        send = _with_headers(send, announced)
        if not allowance.allowed:
            wait = {"Retry-After": str(max(1, math.ceil(allowance.wait_seconds)))}
            await problem_response("too-many-requests", headers=wait)(scope, receive, send)
        elif isinstance(found, Response):
            await found(scope, receive, send)
        else:
            scope.setdefault("state", {})["key"] = found
            await self._app(scope, receive, send)

    def _who(self, headers: Headers) -> ApiKey | Response:
        """Return whose request it is, or the answer to one that is nobody's."""
        if self._keys is None:
            host = headers.get("host", "")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            return _LOCAL if name in LOOPBACK_NAMES else problem_response("wrong-host")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return problem_response("no-key", headers=_CHALLENGE)
        return self._keys.find(token.strip()) or problem_response("wrong-key", headers=_CHALLENGE)


def check_role(request: Request, role: Role) -> ApiKey:
    """Return the caller's key when its role is at least this one; raises Problem."""
    key: ApiKey = request.state.key
    if not key.may(role):
        raise Problem("role-too-small", f"needed is {role}, the key has {key.role}")
    return key


def requires(role: Role) -> Any:
    """Depend on a caller whose role is at least this one."""

    async def check(request: Request) -> ApiKey:
        return check_role(request, role)

    return Depends(check)


Reader = Annotated[ApiKey, requires("read")]
Actor = Annotated[ApiKey, requires("act")]


def _match_raw(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.partition(b"?")[0]
    if path.startswith(RAW_PREFIX.encode()):
        scope["path"] = path.decode("ascii", "replace")


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return f"address {client[0]}" if client else "address unknown"


def _announce(allowance: Allowance, per_second: int) -> dict[str, str]:
    """Write the headers of the IETF draft on rate limits."""
    return {
        "RateLimit-Policy": f'"second";q={per_second};w=1',
        "RateLimit": f'"second";r={allowance.left};t=1',
    }


_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),  # customers' data; an ETag still saves the body
)


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    added = [*((name.lower().encode(), value.encode()) for name, value in headers.items()), *_ALWAYS]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return sent
