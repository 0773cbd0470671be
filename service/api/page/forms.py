"""Fields that a browser sends as a form: read up to a bound, whatever comes."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from fastapi import Request

FIELDS_MAX: Final = 10


async def read_form(request: Request, most_bytes: int) -> dict[str, str]:
    """Read the fields that are not empty; none of a body that is too long or has too many."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return {}
    try:
        fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}
