"""The alerts of all accounts: before, after and why, by kind, band and day, page after page."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from service.api.page.alerts import ROWS
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, alert, score, taken

COUNT = 2 * ROWS + 10


@pytest.fixture(scope="module")
def served(redis_url: str) -> Iterator[Served]:
    """Serve alerts of 20 March 2026 that fill pages, and one each of the days around."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def fill(copy: Copy) -> None:
            await copy.live()
            await copy.alerts(*(alert(f"many-{number:03d}", 1, time_ms=NOON_MS + number) for number in range(COUNT)))
            await copy.alerts(
                alert("early", 1, time_ms=NOON_MS - DAY_MS, kind="recovered", band="healthy", previous_band="at_risk"),
                alert("late", 1, time_ms=NOON_MS + DAY_MS, kind="endangered", band="endangered", suppressed=3),
                alert(
                    "midnight", 1, time_ms=NOON_MS + DAY_MS // 2, kind="payment_lost", rule="payment_lost", owner="lee"
                ),
            )
            await copy.scores(score("late", 1, tier="low_touch"), score("early", 1, tier=None))
            await copy.actions(
                taken("late", 1, "acknowledge", alert_seq=1, alert_state="acknowledged"),
                taken("early", 1, "resolve", alert_seq=1, alert_state="resolved"),
            )

        api.change(fill)
        yield api


def read(served: Served, path: str = "/alerts", status: int = 200) -> str:
    """Read a page."""
    with served.client() as client:
        answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def accounts(page: str) -> list[str]:
    """List the accounts that the rows link to, from the top."""
    return re.findall(r'<th scope="row"><a id="[^"]+" href="/account\?id=([^"]+)"', page)


def link(page: str, text: str) -> str:
    """Find where a link leads; empty when there is none."""
    found = re.search(rf'href="([^"]+)"[^>]*>{text}</a>', page)
    return unescape(found[1]) if found else ""


def test_a_row_tells_before_after_and_why(served: Served) -> None:
    """With both scores and bands, the sentence, and how many were held back."""
    page = read(served, "/alerts?kind=endangered")
    assert accounts(page) == ["late"]
    row = page[page.index('<tbody id="rows">') : page.index("</tbody>")]
    assert row.index("82.0") < row.index("Healthy") < row.index("48.5") < row.rindex("Endangered")
    assert "Acme Ltd is at risk: 48.5, down from 82." in row
    assert "(3 held back before)" in row
    assert "21 Mar 2026, 12:00 UTC" in row


def test_pages_follow_each_other_and_miss_none(served: Served) -> None:
    """Newest first, each once; the first page is one step away from any."""
    page, seen = read(served), []
    while True:
        seen += accounts(page)
        following = link(page, "Older alerts")
        if not following:
            break
        page = read(served, following)
        assert link(page, "Newest alerts") == "/alerts"
    many = [f"many-{number:03d}" for number in reversed(range(COUNT))]
    assert seen == ["late", "midnight", *many, "early"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("kind=recovered", ["early"]),
        ("kind=payment_lost", ["midnight"]),
        ("band=healthy", ["early"]),
        ("band=endangered&kind=recovered", []),
        ("from=2026-03-21", ["late", "midnight"]),
        ("to=2026-03-19", ["early"]),
        ("from=2026-03-22", []),
        ("from=2026-03-21&to=2026-03-21&kind=endangered", ["late"]),
        ("kind=&band=&from=&to=2026-03-19", ["early"]),
        ("to=9999-12-31&band=healthy", ["early"]),
        ("state=acknowledged", ["late"]),
        ("state=resolved", ["early"]),
        ("state=snoozed", []),
        ("state=new&from=2026-03-21", ["midnight"]),
        ("owner=lee", ["midnight"]),
        ("owner=lee&state=resolved", []),
        ("tier=low_touch", ["late"]),
        ("tier=none", ["early"]),
        ("tier=low_touch&state=new", []),
        ("state=&tier=&owner=&to=2026-03-19", ["early"]),
    ],
)
def test_filters_leave_what_is_wanted(served: Served, query: str, expected: list[str]) -> None:
    """By kind, band after, state, owner and tier, by days of UTC, both included; all of them together."""
    page = read(served, f"/alerts?{query}")
    assert accounts(page) == expected
    assert ("No alert passes these filters" in page) == (not expected)
    assert link(page, "Older alerts") == ""


def test_a_day_is_kept_through_the_pages(served: Served) -> None:
    """The link to older ones has the filters, and its end is the first alert before the first day."""
    page = read(served, "/alerts?from=2026-03-20&to=2026-03-20")
    first, following = accounts(page), link(page, "Older alerts")
    assert "from=2026-03-20" in following
    second = accounts(read(served, following))
    assert (first[0], len(first), len(set(first + second))) == (f"many-{COUNT - 1:03d}", ROWS, 2 * ROWS)
    assert read(served, following.replace("2026-03-20", "2026-03-19"), 400)


def test_filters_stay_in_the_address(served: Served) -> None:
    """The link to older alerts and the page that is asked for again have every filter; so has the form."""
    page = read(served, "/alerts?state=new&band=at_risk&owner=dana&kind=at_risk&from=2026-03-20")
    for address in (link(page, "Older alerts"), unescape(re.findall(r'data-here="([^"]+)"', page)[0])):
        asked = parse_qs(urlsplit(address).query)
        asked.pop("page_token", None)
        assert asked == {
            name: [value]
            for name, value in (
                ("state", "new"),
                ("kind", "at_risk"),
                ("band", "at_risk"),
                ("owner", "dana"),
                ("from", "2026-03-20"),
            )
        }
    assert '<option value="new" selected>New</option>' in page
    assert 'name="owner" value="dana"' in page


def test_a_row_tells_what_people_did_about_it(served: Served) -> None:
    """And leads whoever may act to the form with the alert chosen, unless it is resolved."""
    page = read(served, "/alerts?from=2026-03-21")
    assert re.findall(r'<span class="state (\w+)">(\w+)</span>', page) == [
        ("acknowledged", "Acknowledged"),
        ("new", "New"),
    ]
    assert link(page, r"Act<span[^<]+</span>") == "/account?id=late&alert=1#act"
    resolved = read(served, "/alerts?state=resolved")
    assert ">Resolved</span>" in resolved
    assert "#act" not in resolved


def test_a_row_keeps_its_name_and_shows_its_change(redis_url: str) -> None:
    """By which the page sees that somebody acted: the same row, another state."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def begin(copy: Copy) -> None:
            await copy.live()
            await copy.alerts(alert("acme", 1), alert("acme", 2, time_ms=NOON_MS + 1))

        def rows() -> list[tuple[str, str]]:
            return re.findall(r'<tr id="([^"]+)" data-seq="(\w+)">', read(api))

        api.change(begin)
        (second, state), (first, _) = rows()
        assert state == "new"
        assert first != second
        api.change(lambda copy: copy.actions(taken("acme", 1, "resolve", alert_seq=2, alert_state="resolved")))
        assert rows() == [(second, "resolved"), (first, "new")]
        api.change(lambda copy: copy.actions(taken("acme", 2, "resolve", alert_seq=1, alert_state="resolved")))
        assert "somebody acted on each" in read(api, "/alerts?state=new")


def test_kinds_are_those_of_the_model_and_the_one_asked_for(served: Served) -> None:
    """A kind of an earlier model can be asked for, and is then in the list."""
    assert ">Recovered</option>" in read(served)
    assert "payment_lost" not in read(served)
    assert '<option value="payment_lost" selected>' in read(served, "/alerts?kind=payment_lost")


@pytest.mark.parametrize(
    "query", ["from=2026-02-30", "to=yesterday", "band=king", "kind=" + "x" * 65, "state=old", "tier=top"]
)
def test_what_is_no_filter_is_refused(served: Served, query: str) -> None:
    """With words, as a page."""
    assert "not one that this page knows" in read(served, f"/alerts?{query}", 422)


def test_without_alerts_it_says_so(redis_url: str) -> None:
    """And not that a filter is at fault."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        api.change(lambda copy: copy.live())
        assert "No alert so far" in read(api)
        assert "No alert passes these filters" in read(api, "/alerts?band=healthy")
