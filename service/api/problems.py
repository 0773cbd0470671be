"""Every error that the API answers is a problem document (RFC 9457) of one of the kinds named here.

`type` is a name that callers may branch on; it never changes. Nothing of the inside is told: no trace, no address.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.account_copy.listing import TooBroad
from service.account_copy.reader import NoCopy
from service.adapters.redis_client import REDIS_FAILURES
from service.commands import KeyReused
from service.errors import DependencyError, InputError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2

# The last part of each `type`, its status and its title.
KINDS: Final = {
    "invalid-request": (422, "The request has a part that is not allowed"),
    "invalid-page-token": (400, "The page token is not one of this list"),
    "search-too-broad": (422, "More accounts match than can be sorted: search for more letters"),
    "no-key": (401, "An API key is needed"),
    "wrong-key": (401, "The API key is unknown or has expired"),
    "role-too-small": (403, "The API key's role does not allow this"),
    "wrong-host": (403, "Without keys only this machine is answered"),
    "other-site": (403, "A page of another site made this request"),
    "no-csrf-token": (403, "The request does not carry its session's token"),
    "not-found": (404, "There is nothing here"),
    "account-not-found": (404, "No account has this id"),
    "action-not-found": (404, "No action of the last day has this key"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "idempotency-key-reused": (422, "Another action of this account has the same idempotency key"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "The answer could not be made"),
    "copy-unavailable": (503, "The copy of scores does not answer"),
    "copy-missing": (503, "There is no copy of scores yet"),
    "acting-unavailable": (503, "Actions cannot be sent or looked for: the brokers do not answer"),
}

# An error is of the first kind whose class it has.
_KIND_OF_ERROR: Final[dict[type[Exception], str]] = {
    RequestValidationError: "invalid-request",
    TooBroad: "search-too-broad",
    NoCopy: "copy-missing",
    **dict.fromkeys(REDIS_FAILURES, "copy-unavailable"),
    KeyReused: "idempotency-key-reused",
    InputError: "invalid-request",
    DependencyError: "acting-unavailable",
}
_FAILURES: Final = {"copy-unavailable": "Redis fails: %s", "acting-unavailable": "%s"}

log = logging.getLogger(__name__)


class ProblemDocument(BaseModel):
    """An error: `type` to branch on, `title` and `detail` to read, `errors` for parts of the request."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[dict[str, Any]] | None = None


class Problem(Exception):  # noqa: N818 - the field's own word
    """An answer that is a problem; raised by routes."""

    def __init__(self, kind: str, detail: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail


def problem_response(
    kind: str,
    *,
    detail: str | None = None,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Write a problem document."""
    status, title = KINDS[kind]
    body: dict[str, Any] = {"type": f"urn:vitals:problem:{kind}", "title": title, "status": status}
    if detail is not None:
        body["detail"] = detail
    if errors is not None:
        body["errors"] = errors
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def add_problem_schema(document: dict[str, Any]) -> None:
    """Describe problem documents in an OpenAPI document, in place of the framework's own errors."""
    schemas = document["components"]["schemas"]
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def kind_of(error: Exception) -> str:
    """Name the kind of problem that an error of a route is."""
    if isinstance(error, Problem):
        return error.kind
    if isinstance(error, HTTPException):
        return {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "invalid-request")
    return next((kind for known, kind in _KIND_OF_ERROR.items() if isinstance(error, known)), "internal")


def handle_problems(api: FastAPI) -> None:
    """Turn every error of the routes into a problem document."""
    for known in (*_KIND_OF_ERROR, HTTPException, Problem, Exception):
        api.add_exception_handler(known, _answer)


async def _answer(_request: Request, error: Exception) -> Response:
    kind = kind_of(error)
    if kind in _FAILURES:
        log.warning(_FAILURES[kind], error)
    return problem_response(
        kind, detail=_detail(error), errors=_faults(error), headers=_headers(error) | _retry_headers(kind)
    )


def _detail(error: Exception) -> str | None:
    if isinstance(error, Problem):
        return error.detail
    return str(error) if isinstance(error, InputError) and not isinstance(error, KeyReused) else None


def _faults(error: Exception) -> list[dict[str, Any]] | None:
    if not isinstance(error, RequestValidationError):
        return None
    # Without the input: it may hold what cannot be written as JSON.
    return [{"place": ".".join(map(str, fault["loc"])), "reason": str(fault["msg"])} for fault in error.errors()[:20]]


def _headers(error: Exception) -> dict[str, str]:
    return dict(error.headers or {}) if isinstance(error, HTTPException) else {}


def _retry_headers(kind: str) -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)} if KINDS[kind][0] == HTTPStatus.SERVICE_UNAVAILABLE else {}
