"""An account's history says what happened on each day, to the eye and in words: alerts, overrides, other models."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from html import unescape
from typing import Any

import orjson
import pytest

from service.account_copy.layout import ACCOUNT_ALERTS_MAX
from service.account_copy.reader import HistoryDay
from service.api.page.history import marked_days, summary
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, alert, score, taken
from tests.service.test_page_states import read

FIRST = NOON_MS // DAY_MS
UNTIL = "2030-01-01T10:00:00.000Z"


@pytest.fixture(scope="module")
def served(redis_url: str) -> Iterator[Served]:
    """Serve an account of five days: an alert, a band set by hand and lifted, another model."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def fill(copy: Copy) -> None:
            await copy.live()
            for number in range(5):
                version = "2+c71a99e3" if number < 4 else "3+0badcafe"
                time_ms = NOON_MS + number * DAY_MS
                await copy.scores(score("acme", number + 1, time_ms=time_ms, score=80.0, model_version=version))
            await copy.alerts(alert("acme", 1, time_ms=NOON_MS + DAY_MS))
            said: dict[str, Any] = {"band": "endangered", "reason": "champion left", "actor": "lee"}
            await copy.actions(
                taken("acme", 1, "override", time_ms=NOON_MS + 2 * DAY_MS, until=UNTIL, **said),
                taken("acme", 2, "note", time_ms=NOON_MS + 3 * DAY_MS, note="called"),
                taken("acme", 3, "override", time_ms=NOON_MS + 3 * DAY_MS, until="2026-03-01T00:00:00.000Z", **said),
                taken("acme", 4, "override", time_ms=NOON_MS + 4 * DAY_MS, refusal="churned", until=UNTIL, **said),
            )

        api.change(fill)
        yield api


def marks(page: str) -> list[tuple[str, str, str, list[str]]]:
    """Read of each day what is drawn (models, alerts, overrides) and what its cell says."""
    rows = re.findall(
        r'data-models="(\d)" data-alerts="(\d)" data-overrides="(\d)">.*?data-label="Marks">(.*?)</td>', page, re.DOTALL
    )
    return [(*row[:3], [unescape(text) for text in re.findall(r"<bdi>(.*?)</bdi>", row[3])]) for row in rows]


def test_every_day_says_what_happened_on_it(served: Served) -> None:
    """As signs of the plot and as words of the table; what was refused did not happen, and a note is no mark."""
    assert marks(read(served, "/account?id=acme")) == [
        ("0", "0", "0", []),
        ("0", "1", "0", ["alert: At risk"]),
        ("0", "0", "1", ["band set to Endangered by lee until 1 Jan 2030, 10:00 UTC: champion left"]),
        ("0", "0", "1", ["band set by hand lifted by lee: champion left"]),
        ("1", "0", "0", ["another model: 3+0badcafe"]),
    ]


def test_the_plot_has_a_legend_and_says_in_words_what_it_shows(served: Served) -> None:
    """Each sign is named; who does not see the plot hears its ends and how many marks of each kind it has."""
    page = read(served, "/account?id=acme")
    legend = page[page.index('id="history-legend"') :]
    legend = legend[: legend.index("</ul>")]
    for sign, words in (("alert", "alert"), ("override", "band set or lifted by hand"), ("model", "another model")):
        assert re.search(rf'class="sign {sign}" aria-hidden="true"></span> {words}</li>', legend)
    label = re.findall(r'id="chart"[^>]+aria-label="([^"]+)"', page)
    assert label == [
        (
            "Score at the end of each day from 20 Mar 2026 to 24 Mar 2026, 80.0 on the first and 80.0 on the last. "
            "Days with alerts: 1, with a band set or lifted by hand: 2, with another model: 1. "
            "The table below has the numbers."
        )
    ]


def test_more_alerts_are_marked_than_are_listed(redis_url: str) -> None:
    """All that the copy keeps of the account are on the plot; the list below it has the last ten."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def fill(copy: Copy) -> None:
            await copy.live()
            for number in range(40):
                time_ms = NOON_MS + number * DAY_MS
                await copy.scores(score("acme", number + 1, time_ms=time_ms))
                await copy.alerts(alert("acme", number + 1, time_ms=time_ms))

        api.change(fill)
        page = read(api, "/account?id=acme")
        assert [day[1] for day in marks(page)] == ["1"] * 40
        table = page[page.index('<table id="alerts">') :]
        assert table[: table.index("</table>")].count("<time ") == 10
        assert ACCOUNT_ALERTS_MAX >= 40


def _data(message: tuple[bytes, bytes]) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(message[1])["data"]
    return data


def test_a_mark_on_a_day_without_a_score_makes_it_a_day() -> None:
    """With the score of the day before; marks and days that are older than 90 days are left out."""
    days = [HistoryDay(FIRST, 80.0, "healthy"), HistoryDay(FIRST + 3, None, "unknown")]
    acts = [_data(taken("acme", 1, "override", time_ms=NOON_MS + DAY_MS, band="healthy", reason="x", until=UNTIL))]
    told = [_data(alert("acme", seq, time_ms=NOON_MS + days * DAY_MS)) for seq, days in ((3, 4), (2, -1), (1, -90))]
    found = marked_days(days, told, acts)
    assert [(day.day, day.score, len(day.words)) for day in found] == [
        ("2026-03-19", None, 1),
        ("2026-03-20", 80.0, 0),
        ("2026-03-21", 80.0, 1),
        ("2026-03-23", None, 0),
        ("2026-03-24", None, 1),
    ]
    assert summary(found).startswith(", 80.0 on the first and 80.0 on the last. Days with alerts: 2,")
    assert marked_days([], told, acts) == []
    assert len(marked_days([HistoryDay(FIRST + day, 1.0, "healthy") for day in range(100)], [], [])) == 90
