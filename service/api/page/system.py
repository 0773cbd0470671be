"""The system, for the person on call: what is wrong and what to do, lag and rates, dead letters, copy and model.

It answers also when Redis or Kafka does not: what can be said is said.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from schemas.times import time_text
from service.account_copy.reader import CopyReader, CopyState, NoCopy
from service.adapters.redis_client import REDIS_FAILURES
from service.api.accounts import Copy
from service.api.deployment import LETTERS_HOURS, Deployment
from service.api.gate import Reader
from service.api.page.rendering import PageRoute, page
from service.dead_letters import Counted, cure_of
from service.errors import VitalsError

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@routes.get("/system")
async def system(request: Request, copy: Copy, _key: Reader) -> Response:
    """Show the system."""
    deployment: Deployment = request.app.state.deployment
    (state, copy_trouble), look, letters = await asyncio.gather(_copy(copy), deployment.look(), deployment.letters())
    return page(
        request,
        "system.html",
        state=state,
        copy_trouble=copy_trouble,
        look=None if isinstance(look, VitalsError) else look,
        look_trouble=str(look) if isinstance(look, VitalsError) else "",
        letters=None if isinstance(letters, VitalsError) else [_letter(counted) for counted in letters],
        letters_trouble=str(letters) if isinstance(letters, VitalsError) else "",
        letters_hours=LETTERS_HOURS,
        model_version=request.app.state.model.version,
    )


async def _copy(copy: CopyReader) -> tuple[CopyState | None, str]:
    """Return what is known of the copy, or what is wrong with it: `missing`, `unavailable`."""
    try:
        return await copy.state(), ""
    except NoCopy:
        return None, "missing"
    except REDIS_FAILURES:
        return None, "unavailable"


def _letter(counted: Counted) -> dict[str, Any]:
    return {
        "reason": counted.reason,
        "topic": counted.topic,
        "open": counted.open,
        "redriven": counted.redriven,
        "last": time_text(counted.last_ms),
        "cure": cure_of(counted.reason),
    }
