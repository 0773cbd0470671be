"""Alerts of all accounts, newest first: before, after and why. Filters and the place in the list are in the address.

A day is a day of UTC, as everywhere on the page. An alert that is older than the first day wanted ends the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from service.account_copy.alerts_feed import list_alerts
from service.account_copy.listing import Place
from service.api.accounts import Copy
from service.api.gate import Reader
from service.api.page.rendering import PageRoute, page, paging
from service.api.page.words import kind as kind_words
from service.api.page_tokens import TOKEN_MAX, read_token, write_token
from service.scoring.model import Model

ROWS: Final = 50
KIND_MAX: Final = 64
BAND_KINDS: Final = ("endangered", "at_risk", "recovered")

Band = Literal["", "endangered", "at_risk", "healthy", "unknown"]
Day = Annotated[date | None, BeforeValidator(lambda value: value or None)]  # a field left empty is no wish

routes = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader asked for; empty is no wish."""

    kind: str
    band: Band
    first_day: date | None
    last_day: date | None

    def wants(self, alert: Mapping[str, Any]) -> bool:
        """Tell whether an alert is of the kind and the band; days are a matter of the walk."""
        return (not self.kind or alert["kind"] == self.kind) and (not self.band or alert["band"] == self.band)

    def as_query(self) -> dict[str, str]:
        """Write the filters as the address has them."""
        days = {"from": self.first_day, "to": self.last_day}
        asked = {"kind": self.kind, "band": self.band} | {name: day.isoformat() for name, day in days.items() if day}
        return {name: value for name, value in asked.items() if value}

    def address(self, **changes: str) -> str:
        """Name the page with these filters and changes."""
        asked = self.as_query() | changes
        return "/alerts" + ("?" + urlencode(asked) if asked else "")


def filters(
    *,
    kind: Annotated[str, Query(max_length=KIND_MAX)] = "",
    band: Annotated[Band, Query()] = "",
    first_day: Annotated[Day, Query(alias="from")] = None,
    last_day: Annotated[Day, Query(alias="to")] = None,
) -> Filters:
    """Read the address."""
    return Filters(kind, band, first_day, last_day)


@routes.get("/alerts")
async def alerts(
    request: Request,
    copy: Copy,
    asked: Annotated[Filters, Depends(filters)],
    _key: Reader,
    page_token: Annotated[str, Query(max_length=TOKEN_MAX)] = "",
) -> Response:
    """Show the alerts."""
    bound = asked.as_query()
    after = read_token(page_token, bound) or _after_last_day(asked.last_day)
    since_ms = None if asked.first_day is None else _midnight_ms(asked.first_day)
    told, next_place = await list_alerts(copy, asked.wants, after, ROWS, since_ms=since_ms)
    state = await copy.state()
    return page(
        request,
        "alerts.html",
        state=state,
        filters=asked,
        kinds=_kinds(request.app.state.model, asked.kind),
        alerts=told,
        **paging(asked.address, page_token, write_token(next_place, bound)),
    )


def _kinds(model: Model, asked: str) -> dict[str, str]:
    """Name the kinds that can be asked for; one of another model stays in the list while it is asked for."""
    known = {name: kind_words(name) for name in BAND_KINDS}
    known |= {rule.name: rule.label for rule in model.rules if rule.alerts}
    return known if not asked or asked in known else known | {asked: kind_words(asked)}


def _after_last_day(last_day: date | None) -> Place | None:
    if last_day is None or last_day == date.max:
        return None
    return Place(_midnight_ms(last_day + timedelta(days=1)), "")


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
