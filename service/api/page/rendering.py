"""Templates to answers: every value escaped, every page with a policy that runs only scripts of our own files.

Nothing is built from strings here or in scripts: what users named is text in a template, or a part of a query.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from service.api.page import words
from service.api.page.assets import asset_url
from service.api.problems import KINDS, kind_of

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"  # what a filter may be
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # account ids stand in addresses
    "Cross-Origin-Opener-Policy": "same-origin",
}

log = logging.getLogger(__name__)


def anchor(account: str) -> str:
    """Name an account's row: the same at every rendering, and harmless whatever the id."""
    return "account-" + blake2b(account.encode(), digest_size=8).hexdigest()


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("service.api.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(
        asset=asset_url, bands=words.BANDS, marks=words.MARKS, tiers=words.TIERS, alert_states=words.STATES
    )
    for name in (
        "money",
        "sums",
        "points",
        "change",
        "difference",
        "figure",
        "percent",
        "rate",
        "moment",
        "clock",
        "date",
        "spaced",
        "kind",
    ):
        found.filters[name] = getattr(words, name)
    found.filters["anchor"] = anchor
    return found


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Render a page."""
    key = getattr(request.state, "key", None)
    session = getattr(request.state, "session", None)
    text = (
        _templates()
        .get_template(template)
        .render(
            key_name=key.name if session is not None and key is not None else None,
            token=session.token if session is not None else None,
            now=datetime.now(UTC).isoformat(timespec="milliseconds"),
            **context,
        )
    )
    return HTMLResponse(text, status, HEADERS)


def paging(address: Callable[..., str], page_token: str, next_token: str) -> dict[str, Any]:
    """Name this page of a list and the next one, if there is a token of it; `address` makes the list's address."""
    return {
        "here": address(page_token=page_token) if page_token else address(),
        "is_first": not page_token,
        "next_page": address(page_token=next_token) if next_token else None,
    }


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                kind = kind_of(error)
                if kind == "internal":
                    log.exception("a page could not be made")
                status, title = KINDS[kind]
                return page(request, "error.html", status, kind=kind, title=title)

        return handled
