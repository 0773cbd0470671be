"""The files that the page loads: read once at the start, named with their hash, so that browsers keep them for good."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.problems import Problem

_TYPES: Final = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
NAMES: Final = (
    "page.css",
    "icon.svg",
    "live.js",
    "rows.js",
    "plot.js",
    "history.js",
    "bands.js",
    "vendor/htmx.min.js",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
)

routes = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent."""

    data: bytes
    packed: bytes
    media_type: str
    version: str


@cache
def assets() -> dict[str, Asset]:
    """Read all files by name."""
    folder = resources.files("service.api.page").joinpath("static")
    found = {}
    for name in NAMES:
        data = folder.joinpath(name).read_bytes()
        found[name] = Asset(data, gzip.compress(data), _TYPES[name.rpartition(".")[2]], sha256(data).hexdigest()[:12])
    return found


def asset_url(name: str) -> str:
    """Name a file as pages do."""
    return f"/static/{name}?v={assets()[name].version}"


@routes.get("/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """Send a file."""
    asset = assets().get(name)
    if asset is None:
        raise Problem("not-found")
    is_current = request.query_params.get("v") == asset.version
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if is_current else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.data, headers=headers, media_type=asset.media_type)
