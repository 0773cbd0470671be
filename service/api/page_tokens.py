"""Page tokens: where the next page begins, opaque to callers and bound to the list and its filters.

A token grants nothing that the key does not, so it is not signed; a forged one is at most a place that does not exist.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson

from service.account_copy.listing import Place
from service.api.problems import Problem

TOKEN_MAX = 2_000


def write_token(place: Place | None, question: Any) -> str:
    """Write the token of a place; empty when there is no next page."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(orjson.dumps([_bound(question), *place])).rstrip(b"=").decode()


def read_token(token: str, question: Any) -> Place | None:
    """Read a token of the same question; raises Problem for any other."""
    if not token:
        return None
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        bound, value, account = orjson.loads(base64.b64decode(padded, b"-_", validate=True))
        place = Place(float(value), str(account))
        if bound == _bound(question) and isinstance(account, str) and isfinite(place.value):
            return place
    except (ValueError, TypeError):
        pass
    raise Problem("invalid-page-token", "take the token of the page before, with the same filters and order")


def _bound(question: Any) -> str:
    return blake2b(orjson.dumps(question), digest_size=6).hexdigest()
