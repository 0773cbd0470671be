"""The gate before every route: who asks, may they, and how often. What is not named open here needs a key.

Without keys only this machine is served, and only under its own names, so that no web page that the owner visits can
ask by a name of its own (DNS rebinding). With keys every request needs one in `Authorization: Bearer`, or the session
of a browser that logged in with one. Browsers send requests that other sites made up, so of what changes something
only those of our own pages pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.keys import ApiKey, KeyRing, Role
from service.api.problems import Problem, problem_response
from service.api.rate import Allowance, RateLimit
from service.api.session import COOKIE, SAFE_METHODS, Session, Sessions, is_same_origin

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/openapi.json"})
STATIC_PREFIX: Final = "/static/"
LOGIN_PATH: Final = "/login"  # open to everybody, and counted like any request without a key
PAGES: Final = frozenset({"/", "/alerts", "/account", "/system"})  # who may not see them yet is led to the login
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
# Ids may hold any character, "/" too: below here the path is matched as it was sent, each part decoded later.
RAW_PREFIX: Final = "/v1/accounts/"
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="vitals"'}
_LOCAL: Final = ApiKey(id="0" * 8, name="this machine", role="admin", sha256="0" * 64)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is: a key's, by itself or through a session; nobody's on the way to the login."""

    key: ApiKey | None
    session: Session | None = None


class Gate:
    """ASGI middleware: lets through what may pass, and announces limits on every answer."""

    def __init__(self, app: ASGIApp, *, keys: KeyRing | None, sessions: Sessions, limit: RateLimit) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _match_raw(scope)
        if scope["path"].startswith(STATIC_PREFIX):
            await self._app(scope, receive, _with_headers(send, {}, _NO_GUESSING))
            return
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, _with_headers(send, {}, _NO_GUESSING, _NO_STORE))
            return
        headers = Headers(scope=scope)
        found = self._who(scope, headers)
        key = found.key if isinstance(found, Caller) else None
        allowance = self._limit.take(f"key {key.id}" if key else _address(scope))
        announced = _announce(allowance, self._limit.per_second)
        send = _with_headers(send, announced, _NO_GUESSING, _NO_STORE)
        if not allowance.allowed:
            wait = {"Retry-After": str(max(1, math.ceil(allowance.wait_seconds)))}
            await problem_response("too-many-requests", headers=wait)(scope, receive, send)
        elif isinstance(found, Response):
            await found(scope, receive, send)
        else:
            scope.setdefault("state", {}).update(key=found.key, session=found.session)
            await self._app(scope, receive, send)

    def _who(self, scope: Scope, headers: Headers) -> Caller | Response:
        """Return whose request it is, or the answer to one that is nobody's or that another site made up."""
        if self._keys is not None and "authorization" in headers:
            return _by_bearer(self._keys, headers)
        if scope["method"] not in SAFE_METHODS and not is_same_origin(headers):
            return problem_response("other-site")
        if self._keys is None:
            host = headers.get("host", "")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            return Caller(_LOCAL) if name in LOOPBACK_NAMES else problem_response("wrong-host")
        if scope["path"] == LOGIN_PATH:
            return Caller(None)
        return self._by_session(self._keys, scope, headers)

    def _by_session(self, keys: KeyRing, scope: Scope, headers: Headers) -> Caller | Response:
        session = self._sessions.find(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        key = keys.named(session.key_id) if session else None
        if session is None or key is None:
            return _to_login(scope, headers) or problem_response("no-key", headers=_CHALLENGE)
        if scope["method"] not in SAFE_METHODS and not session.allows(headers):
            return problem_response("no-csrf-token")
        return Caller(key, session)


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


def _by_bearer(keys: KeyRing, headers: Headers) -> Caller | Response:
    scheme, _, token = headers["authorization"].partition(" ")
    if scheme.lower() != "bearer" or not token:
        return problem_response("no-key", headers=_CHALLENGE)
    key = keys.find(token.strip())
    return Caller(key) if key else problem_response("wrong-key", headers=_CHALLENGE)


def _to_login(scope: Scope, headers: Headers) -> Response | None:
    """Lead to the login, and back afterwards; htmx follows a header, as it would show what a redirect leads to."""
    if scope["path"] not in PAGES:
        return None
    asked = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
    there = f"{LOGIN_PATH}?next={quote(asked, safe='')}"
    if "hx-request" in headers:
        return problem_response("no-key", headers={**_CHALLENGE, "HX-Redirect": there})
    return RedirectResponse(there, 303)


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


_NO_GUESSING: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", b"no-store")  # customers' data; an ETag still saves the body


def _with_headers(send: Send, headers: dict[str, str], *always: tuple[bytes, bytes]) -> Send:
    added = [*((name.lower().encode(), value.encode()) for name, value in headers.items()), *always]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return sent
