"""Log in with an API key, log out. The key itself is never kept: the browser gets a session of its own."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.api.page.forms import read_form
from service.api.page.rendering import PageRoute, page
from service.api.session import COOKIE

BODY_MAX: Final = 4_096
START: Final = "/"

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@routes.get("/login")
async def login_form(
    request: Request, there: Annotated[str, Query(alias="next", max_length=4_000)] = START
) -> Response:
    """Ask for a key."""
    if request.app.state.keys is None:
        return RedirectResponse(START, 303)
    return page(request, "login.html", there=inside(there), is_wrong=False)


@routes.post("/login")
async def log_in(request: Request) -> Response:
    """Begin a session, and go where the reader wanted to; the same answer to every key that is not good."""
    given = await read_form(request, BODY_MAX)
    there = inside(given.get("next", START))
    keys = request.app.state.keys
    if keys is None:
        return RedirectResponse(START, 303)
    key = keys.find(given.get("key", "").strip())
    if key is None:
        return page(request, "login.html", 401, there=there, is_wrong=True)
    answer = RedirectResponse(there, 303)
    is_secure = request.headers.get("origin", "").startswith("https://")  # behind a proxy only the browser knows
    value = request.app.state.sessions.begin(key.id)
    answer.set_cookie(COOKIE, value, path="/", httponly=True, samesite="strict", secure=is_secure)
    return answer


@routes.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session."""
    request.app.state.sessions.end(request.cookies.get(COOKIE, ""))
    answer = Response(status_code=204, headers={"HX-Redirect": "/login"})
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def inside(path: str) -> str:
    """Return a place to go to after the login: one of ours, else the start."""
    # A browser takes `//host` and `/\\host` for another site, and drops tabs and line ends before it looks.
    is_ours = path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
    return path if is_ours else START
