"""What the page says of no, too much and old data; that its files are whole and its policy is strict."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from service.account_copy.reader import HistoryDay
from service.adapters.redis_client import open_redis
from service.api.page.assets import NAMES, assets
from service.api.page.pictures import factor_bars, spark
from service.api.page.words import MINUS, NOTHING, change, figure, moment, money, percent, points, sums
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, alert, many, score

ROOT = Path(__file__).resolve().parents[2]
VENDORED = [ROOT / "service" / "api" / "page" / "static" / "vendor", ROOT / "tests" / "e2e" / "vendor"]


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    """Serve a copy of this test's own, which nobody has begun."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        yield api


def read(served: Served, path: str = "/", status: int = 200) -> str:
    """Read a page."""
    with served.client() as client:
        answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def test_without_data_the_page_says_which_and_why(served: Served) -> None:
    """No copy, a copy being made, an empty one, one that nobody is at risk in: each has words of its own."""
    assert "have not been read yet" in read(served, status=503)
    served.change(lambda copy: copy.scores())
    assert "Still loading" in read(served)

    async def live(copy: Copy) -> None:
        await copy.live()

    served.change(live)
    empty = read(served)
    assert "No account has a score yet" in empty
    assert "Still loading" not in empty
    served.change(lambda copy: copy.scores(score("acme", 1, band="healthy", name="Acme Ltd")))
    assert "Nobody is at risk" in read(served)
    assert "No account matches" in read(served, "/?search=acme")
    assert "/?show=all&amp;search=acme" in read(served, "/?search=acme")
    assert "Acme Ltd" in read(served, "/?show=all&search=acme")
    assert "passes these filters" in read(served, "/?show=endangered")
    assert "may have been erased" in read(served, "/account?id=nobody", status=404)
    assert "not one that this page knows" in read(served, "/?show=king", status=422)
    assert "another list" in read(served, "/?page_token=x", status=400)


def test_old_data_is_said_to_be_old(served: Served) -> None:
    """On the portfolio and on an account."""

    async def grow_old(copy: Copy) -> None:
        await copy.scores(score("acme", 1))
        await copy.live()
        async with open_redis(served.redis_url) as client:
            for place in copy.places:
                await client.hset(copy.key("current"), place, NOON_MS)

    served.change(grow_old)
    for path in ("/", "/alerts", "/system", "/account?id=acme"):
        assert "These figures may be old" in read(served, path)


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    """The page is a page still, and says that scoring goes on."""
    with serving(f"unix://{tmp_path}/none.sock", "none:") as api:
        assert "does not answer" in read(api, status=503)


def test_a_search_that_is_too_broad_is_told(served: Served) -> None:
    """More than can be sorted: the reader is asked for more letters."""
    served.change(lambda copy: copy.scores(*many(f"x{number:04d}" for number in range(2_001))))
    assert "Type more letters" in read(served, "/?search=x")
    assert "Next accounts" in read(served)
    following = re.search(r'href="(/\?page_token=[^"]+)" rel="next"', read(served))
    assert following
    assert "First page" in read(served, following[1])


def test_the_portfolio_compares_with_the_day_before(served: Served) -> None:
    """Numbers of accounts by band now and then, the revenue at risk, and the alerts of the day alone."""

    async def two_days(copy: Copy) -> None:
        await copy.live()
        await copy.scores(*many(("a", "b", "c"), time_ms=NOON_MS - DAY_MS, band="healthy"))
        await copy.alerts(alert("a", 1, time_ms=NOON_MS - DAY_MS, sentence="said yesterday"))
        await copy.scores(score("a", 2, band="endangered", mrr_minor=1_234_500, currency="EUR"))
        await copy.scores(score("b", 2, band="endangered", mrr_minor=9_000, currency="JPY"))
        await copy.alerts(alert("a", 2, sentence="said today"))

    served.change(two_days)
    page = read(served)
    assert "EUR 12,345 · JPY 9,000" in page
    assert page.count("+2 since 19 Mar 2026") == 1
    assert page.count(f"{MINUS}2 since 19 Mar 2026") == 1
    assert "said today" in page
    assert "said yesterday" not in page
    assert page.index("EUR 12,345</td>") < page.index("JPY 9,000</td>")


def test_the_policy_is_strict_and_holds_for_every_page(served: Served) -> None:
    """Scripts and styles of our own files only, none inline; nothing kept by caches."""
    served.change(lambda copy: copy.scores(score("acme", 1)))
    with served.client() as client:
        for path in ("/", "/alerts", "/system", "/account?id=acme", "/account?id=none"):
            answer = client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son\w+=|javascript:", answer.text), path


def test_files_are_kept_by_their_hash(served: Served) -> None:
    """What a page loads may be kept for good, any other version may not, and nothing else is served."""
    served.change(lambda copy: copy.scores(score("acme", 1)))
    with served.client() as client:
        loaded = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', read(served) + read(served, "/account?id=acme")))
        assert {path.partition("?")[0].removeprefix("/static/") for path in loaded} == set(NAMES)
        for path in loaded:
            answer = client.get(path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        assert client.get("/static/page.css").headers["cache-control"] == "no-cache"
        for path in ("/static/", "/static/../routes.py", "/static/%2e%2e/routes.py", "/static/vendor/README.md"):
            assert client.send(httpx.Request("GET", served.url + path)).status_code == 404
    assert assets()["page.css"].media_type == "text/css"


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_files_of_others_are_as_they_came(folder: Path) -> None:
    """Each has a hash, and the one that is told."""
    pairs = [line.split() for line in (folder / "vendored.sha256").read_text().splitlines()]
    told = {name: digest for digest, name in pairs}
    files = [path for path in folder.iterdir() if path.suffix in {".js", ".css"}]
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in files} == told
    page = (folder / "README.md").read_text()
    assert all(f"`{name}`" in page for name in told)


def test_values_are_written_for_people() -> None:
    """With a dash for what is missing, and the digits of the currency."""
    assert [money(499_900, "EUR"), money(5_000, "JPY"), money(1_500, "KWD"), money(None, "EUR"), money(49, None)] == [
        "EUR 4,999",
        "JPY 5,000",
        "KWD 2",
        NOTHING,
        "0",
    ]
    assert sums({"EUR": 100, "USD": 300, "GBP": 0}) == "USD 3 · EUR 1"
    assert sums({}) == NOTHING
    assert [points(-0.04), points(48.5), change(-3.25), change(0.04), change(2.0)] == [
        "0.0",
        "48.5",
        f"{MINUS}3.2",
        "0.0",
        "+2.0",
    ]
    assert [figure(0.51999), percent(0.75), percent(None)] == ["0.52", "75%", NOTHING]
    assert moment("2026-03-20T00:00:01.000Z") == "20 Mar 2026, 00:00 UTC"


def test_a_row_has_the_days_of_its_account(served: Served) -> None:
    """As a line of a step a day, its ends as text; a score stands until the next."""

    async def days(copy: Copy) -> None:
        for number, value in enumerate((90.0, 70.0, 40.5)):
            time_ms = NOON_MS + number * DAY_MS
            await copy.scores(score("acme", number + 1, time_ms=time_ms, score=value, band="endangered"))
        await copy.scores(score("bolt", 1, time_ms=NOON_MS + DAY_MS, score=20.0, band="endangered", mrr_minor=1))

    served.change(days)
    page = read(served)
    assert re.findall(r'<polyline points="([^"]+)">', page) == ["27,10 28,30 29,59.5", "28,80 29,80"]
    assert "from 90.0 to 40.5" in page


def seen(*days: tuple[int, float | None]) -> list[HistoryDay]:
    """Make the days of an account."""
    return [HistoryDay(day, score, "healthy") for day, score in days]


def test_a_spark_goes_on_until_the_next_score_and_breaks_where_there_is_none() -> None:
    """A score that was older than 30 days at the start still stands; what is after the last day is left out."""
    found = spark(seen((100, 90.0), (110, 50.0), (122, 60.0), (123, None), (148, 70.0), (149, 80.0), (150, 1.0)), 149)
    assert found is not None
    assert (found.first, found.last) == (50.0, 80.0)
    assert [line.split()[0] for line in found.lines] == ["0,50", "28,30"]
    assert [line.split()[-1] for line in found.lines] == ["2,40", "29,20"]
    assert spark(seen((149, 100.0)), 149) == (["29,0 29,0"], 100.0, 100.0)
    assert spark([], 149) is None
    assert spark(seen((140, None)), 149) is None


def test_pictures_lie_within_their_frame() -> None:
    """The longest bar is the whole width; nothing divides by nothing."""
    bars = factor_bars([{"weight": 0.5, "output": 40.0}, {"weight": 0.25, "output": 100.0}])
    assert [tuple(bar) for bar in bars] == [(40.0, 60.0), (50.0, 0.0)]
    assert factor_bars([]) == []
