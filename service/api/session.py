"""Sessions of the page: who logged in with a key, kept in this process only, as a hash of what the browser holds.

A session is worth what its key is worth at that moment: a key that is removed or has expired takes its sessions along.
What changes something also needs the session's token, which no other site can read, in a header that none can set.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from starlette.datastructures import Headers

COOKIE: Final = "vitals_session"
TOKEN_HEADER: Final = "X-CSRF-Token"  # noqa: S105 - a name, no secret
SESSION_SECONDS: Final = 12 * 3600
SESSIONS_MAX: Final = 10_000  # the oldest is forgotten, its owner logs in again
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Session:
    """One login: of which key, what its requests must carry, and until when."""

    key_id: str
    token: str
    ends_at: float

    def allows(self, headers: Headers) -> bool:
        """Tell whether a request that changes something carries the session's token."""
        return secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self.token.encode())


class Sessions:
    """The sessions of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self, key_id: str) -> str:
        """Begin a session of a key and return the value of its cookie."""
        value = secrets.token_urlsafe(32)
        self._open[_hash(value)] = Session(key_id, secrets.token_urlsafe(32), self._clock() + SESSION_SECONDS)
        if len(self._open) > SESSIONS_MAX:
            self._open.popitem(last=False)
        return value

    def find(self, value: str) -> Session | None:
        """Return the session that a cookie is of, None when there is none any more."""
        found = self._open.get(_hash(value))
        return found if found is not None and found.ends_at > self._clock() else None

    def end(self, value: str) -> None:
        """End a session."""
        self._open.pop(_hash(value), None)


def is_same_origin(headers: Headers) -> bool:
    """Tell whether a request comes from a page of ours, as far as the browser says; others than browsers say nothing.

    Browsers tell the site of every request by one of two headers, which no page can set.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def _hash(value: str) -> str:
    return sha256(value.encode("utf-8", "replace")).hexdigest()
