"""The accounts as CSV, streamed page by page: memory does not grow with their number.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, whoever named the account.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from service.account_copy.listing import Question, list_accounts
from service.account_copy.reader import CopyReader
from service.api.accounts import Asked, Copy
from service.api.answers import PROBLEMS, account_row
from service.api.gate import Reader

PAGE: Final = 500
COLUMNS: Final = (
    "account",
    "name",
    "band",
    "score",
    "coverage",
    "tier",
    "stage",
    "owner",
    "mrr_minor",
    "currency",
    "trend_7",
    "trend_30",
    "as_of",
    "model_version",
    "override_until",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["accounts"])


@routes.get("/export/accounts.csv", response_class=StreamingResponse)
async def export(copy: Copy, asked: Asked, _key: Reader) -> StreamingResponse:
    """Write all accounts that pass the filters, in the order asked for."""
    state = await copy.state()
    headers = {
        "Content-Disposition": 'attachment; filename="accounts.csv"',
        "Vitals-Stale": str(state.stale).lower(),
    }
    first = await _rows(copy, asked, None)  # errors before the first byte are still answered as problems
    return StreamingResponse(_lines(copy, asked, first), media_type="text/csv; charset=utf-8", headers=headers)


async def _lines(copy: CopyReader, asked: Question, first: tuple[list[dict[str, Any]], Any]) -> AsyncIterator[str]:
    yield _csv([[*COLUMNS, "reason"]])
    rows, place = first
    while True:
        if rows:
            yield _csv([_cells(row) for row in rows])
        if place is None:
            return
        rows, place = await _rows(copy, asked, place)


async def _rows(copy: CopyReader, asked: Question, after: Any) -> tuple[list[dict[str, Any]], Any]:
    page = await list_accounts(copy, asked, after, PAGE)
    scores = await copy.scores([place.account for place in page.places]) if page.places else []
    return [account_row(score) for score in scores if score is not None], page.next_place


def _cells(row: dict[str, Any]) -> list[object]:
    reason = row["reason"]["sentence"] if row["reason"] else ""
    return [_harmless(row[name]) for name in COLUMNS] + [_harmless(reason)]


def _harmless(value: object) -> object:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else "" if value is None else value


def _csv(rows: list[list[object]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
