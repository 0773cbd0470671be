"""The portfolio day after day: accounts and revenue by band, as a table and as what is drawn, currency by currency."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest

from service.api.page.trends import PLOTS_OF_MONEY_MAX, PortfolioDay, plots
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, score
from tests.service.test_page_states import read

ZERO = {"endangered": 0, "at_risk": 0, "healthy": 0, "unknown": 0}


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    """Serve a copy of this test's own."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        yield api


def drawn(page: str) -> list[dict[str, list[float]]]:
    """Read what each plot draws."""
    return [json.loads(values) for values in re.findall(r"data-values='([^']+)'", page)]


def test_accounts_and_revenue_are_drawn_and_told_for_each_day(served: Served) -> None:
    """Of every day seen: in one plot the accounts by band, in another the revenue; the table says the same."""

    async def three_days(copy: Copy) -> None:
        await copy.live()
        euros = {"mrr_minor": 100_000, "currency": "EUR"}
        for seq, (days, band) in enumerate([(-3, "healthy"), (-1, "at_risk"), (0, "endangered")], 1):
            await copy.scores(score("a", seq, time_ms=NOON_MS + days * DAY_MS, band=band, **euros))
            if seq == 1:
                await copy.scores(
                    score("b", 1, time_ms=NOON_MS - 3 * DAY_MS, band="healthy", mrr_minor=500, currency="JPY")
                )

    served.change(three_days)
    page = read(served)
    accounts, euros, yen = drawn(page)
    assert accounts == {**ZERO, "endangered": [0, 0, 1], "at_risk": [0, 1, 0], "healthy": [2, 1, 1], "unknown": [0] * 3}
    assert (euros["endangered"], euros["at_risk"], euros["healthy"]) == ([0, 0, 1000], [0, 1000, 0], [1000, 0, 0])
    assert yen["healthy"] == [500, 500, 500]
    assert re.findall(r'<tr data-day="([^"]+)">', page) == ["2026-03-20", "2026-03-19", "2026-03-17"]
    row = page[page.index('<tr data-day="2026-03-17">') :]
    assert '<td class="number" data-label="Healthy, MRR">EUR 1,000 · JPY 500</td>' in row[: row.index("</tr>")]
    assert "MRR in EUR at the end of each day from 17 Mar 2026 to 20 Mar 2026: endangered from 0 to 1,000" in page


def test_one_day_is_no_line(served: Served) -> None:
    """Before the second day the page says when plots begin; before the first, that none has begun."""
    served.change(lambda copy: copy.live())
    assert "No day has begun yet" in read(served)
    served.change(lambda copy: copy.scores(score("a", 1)))
    page = read(served)
    assert "from the second day on. The first was 20 Mar 2026." in page
    assert drawn(page) == []


def test_the_largest_currencies_are_drawn_and_never_summed() -> None:
    """By what they are worth in their own units on the last day; of no revenue there is no plot."""
    minor = {"EUR": 900_00, "USD": 1_000_00, "JPY": 5_000, "KWD": 1_000, "CHF": 0}
    days = [PortfolioDay(day, {"healthy": 5}, {"healthy": minor}) for day in (1, 2)]
    assert [plot.currency for plot in plots(days)] == [None, "JPY", "USD", "EUR"]
    assert len(plots(days)) == 1 + PLOTS_OF_MONEY_MAX
    assert plots(days)[1].values == {**{band: [0.0, 0.0] for band in ZERO}, "healthy": [5000.0, 5000.0]}
    assert plots(days[:1]) == []
