"""What the API answers is what the copy holds: lists in order and whole, hostile ids harmless, age always told."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest

from schemas.times import time_text
from service.account_copy.writer import AT_END
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import DAY_MS, NOON_MS, SCORE, Copy, alert, score
from tests.service.test_account_copy import random_score

HOSTILE = [
    "a/b",
    "a/history",
    "read",
    "../../etc/passwd",
    "%2e%2e",
    "100% sure?",
    "x#y&z=1;q",
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A1",
    "' OR 1=1 --",
    "ключ",
    "👩‍🚀",
    "a:b*c?[d]^e\\f",
    " space ",
    "{{7*7}}",
    "\u202eevil",
    "x" * 256,
    "+1",
]


@pytest.fixture(scope="module")
def served(redis_url: str) -> Iterator[Served]:
    """Serve a copy of 400 random accounts, of hostile ones, and of many that tie."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        rng = random.Random(5)
        messages = [random_score(rng, f"acct-{number:03d}", 1) for number in range(400)]
        ties = [score(f"tie-{number:02d}", 1, score=50.0, trend_7=None, owner="ties") for number in range(60)]
        hostile = [score(account, 1, name=account, owner="hostile") for account in HOSTILE]

        async def fill(copy: Copy) -> None:
            await copy.scores(*messages, *ties, *hostile)
            await copy.alerts(*(alert(account, 1) for account in HOSTILE))
            await copy.alerts(*(alert("acct-001", seq, time_ms=NOON_MS + seq) for seq in range(1, 30)))
            await copy.live()

        api.change(fill)
        yield api


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    """Open a client without a key."""
    with served.client() as opened:
        yield opened


def all_pages(client: httpx.Client, path: str, what: str, **parameters: Any) -> list[dict[str, Any]]:
    """Read every page of a list."""
    found: list[dict[str, Any]] = []
    token = ""
    for _ in range(1_000):
        answer = client.get(path, params={**parameters, "page_token": token})
        assert answer.status_code == 200, answer.text
        found += answer.json()[what]
        token = answer.json()["next_page_token"]
        if not token:
            return found
    raise AssertionError("the list does not end")


def sort_value(row: dict[str, Any], sort: str) -> float:
    if sort == "risk":
        return -1 if row["score"] is None else round(100 - row["score"], 4)
    if sort == "mrr_at_risk":
        return float(row["mrr_minor"] or 0) if row["band"] in {"at_risk", "endangered"} else 0.0
    return -101 if row["trend_7"] is None else round(-row["trend_7"], 4)


@pytest.mark.parametrize("few", [0, 10_000], ids=["walked", "fetched"])
@pytest.mark.parametrize("sort", ["risk", "mrr_at_risk", "trend"])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"band": ["at_risk"]},
        {"band": ["at_risk", "endangered"], "tier": ["high_touch"]},
        {"owner": ["dana"], "factor": ["logins", "support"], "tier": ["none", "low_touch"]},
        {"owner": ["ties"]},
        {"owner": ["nobody"]},
    ],
    ids=str,
)
def test_a_list_has_each_account_once_in_order(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, filters: dict[str, list[str]], sort: str, few: int
) -> None:
    """Whether few accounts are fetched or many walked, the pages together are all accounts that pass, worst first."""
    monkeypatch.setattr("service.account_copy.listing.FEW", few)
    monkeypatch.setattr("service.account_copy.listing.WALK_STEP", 37)
    monkeypatch.setattr("service.account_copy.listing.WALK_MAX", 100)
    everything = all_pages(client, "/v1/accounts", "accounts", page_size=200)
    assert len({row["account"] for row in everything}) == len(everything) > 350
    listed = all_pages(client, "/v1/accounts", "accounts", page_size=7, sort=sort, **filters)
    full = client.post("/v1/accounts/read", json={"ids": [row["account"] for row in everything]}).json()["accounts"]
    costly = {one["account"]: {f["name"] for f in one["factors"] if f["points_lost"] >= 5} for one in full}
    expected = [
        row
        for row in everything
        if ("band" not in filters or row["band"] in filters["band"])
        and ("tier" not in filters or (row["tier"] or "none") in filters["tier"])
        and ("owner" not in filters or row["owner"] in filters["owner"])
        and ("factor" not in filters or costly[row["account"]] & set(filters["factor"]))
    ]
    expected.sort(key=lambda row: (sort_value(row, sort), row["account"].encode()), reverse=True)
    assert [row["account"] for row in listed] == [row["account"] for row in expected]


def test_a_page_goes_on_rightly_when_its_last_account_moves(redis_url: str) -> None:
    """The account at the place is gone to the top or erased: no other is left out or comes twice."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:
        names = [f"tie-{number:02d}" for number in range(20)]
        served.change(lambda copy: copy.scores(*(score(name, 1, score=50.0) for name in names)))
        first = client.get("/v1/accounts", params={"page_size": 5}).json()
        last = first["accounts"][-1]["account"]
        served.change(lambda copy: _go_on(copy, 20, score(last, 2, score=1.0)))
        second = client.get("/v1/accounts", params={"page_size": 50, "page_token": first["next_page_token"]}).json()
        seen = [row["account"] for row in first["accounts"] + second["accounts"]]
        assert seen == sorted(names, reverse=True)


async def _go_on(copy: Copy, offset: int, *messages: Any) -> None:
    assert copy.next["health-scores:0"] == offset
    await copy.scores(*messages)


@pytest.mark.parametrize("account", HOSTILE)
def test_hostile_ids_are_ids_like_any_other(client: httpx.Client, account: str) -> None:
    """One, its days, its alerts, a batch and a search find it, and nothing else."""
    path = "/v1/accounts/" + quote(account, safe="")
    one = client.get(path)
    assert one.status_code == 200, one.text
    assert one.json()["score"]["account"] == account
    assert one.headers["content-type"] == "application/json"
    assert one.headers["x-content-type-options"] == "nosniff"
    assert client.get(path + "/history").json()["account"] == account
    assert [told["account"] for told in client.get("/v1/alerts", params={"account": account}).json()["alerts"]] == [
        account
    ]
    batch = client.post("/v1/accounts/read", json={"ids": [account, account + "?"]})
    if len(account) == 256:
        assert batch.status_code == 422
    else:
        assert [found["account"] for found in batch.json()["accounts"]] == [account]
        assert batch.json()["missing"] == [account + "?"]
    rows = client.get("/v1/accounts", params={"search": account[:64]}).json()["accounts"]
    assert account in {row["account"] for row in rows}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/accounts/nobody",
        "/v1/accounts/nobody/history",
        "/v1/accounts/%FF%FE",
        "/v1/accounts/%00",
        "/v1/accounts/" + "y" * 300,
        "/v1/accounts/a%2Fb%2Fhistory",
        "/v1/nothing",
        "/nothing",
    ],
)
def test_what_is_not_there_is_a_problem(client: httpx.Client, path: str) -> None:
    """404, in the form of RFC 9457."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404
    assert answer.json()["type"].startswith("urn:vitals:problem:")


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"band": "great"}, 422),
        ({"sort": "size"}, 422),
        ({"page_size": "0"}, 422),
        ({"page_size": "201"}, 422),
        ({"search": "a\x00"}, 422),
        ({"search": "x" * 65}, 422),
        ({"owner": ""}, 422),
        ({"page_token": "!"}, 400),
        ({"page_token": "AAAA"}, 400),
        ({"page_token": "W10"}, 400),
        ({"page_token": "ключ"}, 400),
        ({"page_token": "x" * 2001}, 422),
    ],
)
def test_parameters_that_are_not_allowed_are_a_problem(
    client: httpx.Client, parameters: dict[str, str], status: int
) -> None:
    """The answer names the place; nothing is guessed."""
    answer = client.get("/v1/accounts", params=parameters)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_token_is_bound_to_its_list(client: httpx.Client) -> None:
    """With another order or filter it is refused."""
    token = client.get("/v1/accounts", params={"page_size": 1}).json()["next_page_token"]
    assert client.get("/v1/accounts", params={"page_token": token}).status_code == 200
    for other in ({"sort": "trend"}, {"band": "healthy"}, {"search": "a"}):
        assert client.get("/v1/accounts", params={**other, "page_token": token}).status_code == 400
    assert client.get("/v1/alerts", params={"page_token": token}).status_code == 400


def test_a_search_finds_the_start_of_a_word(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the id or the name, whatever the case; with filters; too many are refused."""
    found = client.get("/v1/accounts", params={"search": "BLUE corp", "page_size": 200}).json()["accounts"]
    assert found
    assert {row["name"] for row in found} == {"Big Blue Corp Inc"}
    one = client.get("/v1/accounts", params={"search": "tie-07", "owner": "ties"}).json()["accounts"]
    assert [row["account"] for row in one] == ["tie-07"]
    assert client.get("/v1/accounts", params={"search": "tie-07", "owner": "dana"}).json()["accounts"] == []
    monkeypatch.setattr("service.account_copy.listing.FEW", 10)
    broad = client.get("/v1/accounts", params={"search": "tie"})
    assert (broad.status_code, broad.json()["type"]) == (422, "urn:vitals:problem:search-too-broad")


def test_an_account_shows_what_was_published_and_changed(client: httpx.Client) -> None:
    """The score as published with its factors, alerts newest first, and the points since the last alert."""
    view = client.get("/v1/accounts/acct-001").json()
    assert view["score"]["factors"]
    assert [told["seq"] for told in view["alerts"]] == list(range(29, 19, -1))
    assert view["since_last_alert"]["seq"] == 29
    assert view["coverage"] == view["score"]["coverage"]
    assert view["model_version"] == view["score"]["model_version"]


def test_many_reads_at_once_are_each_answered_with_their_own(served: Served) -> None:
    """What goes to Redis together comes back apart, also when the server has forgotten the script."""
    accounts = [f"acct-{number:03d}" for number in range(300)]
    served.change(lambda copy: copy.client.script_flush())

    async def read(asked: httpx.AsyncClient, account: str) -> tuple[str, int]:
        view = (await asked.get(f"/v1/accounts/{account}")).json()
        days = (await asked.get(f"/v1/accounts/{account}/history")).json()
        assert days["account"] == account
        return view["score"]["account"], len(days["days"])

    async def read_all() -> list[tuple[str, int]]:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as asked:
            return await asyncio.gather(*(read(asked, account) for account in accounts))

    assert asyncio.run(read_all()) == [(account, 1) for account in accounts]


def test_alerts_come_newest_first_and_filtered(client: httpx.Client) -> None:
    """Pages have each alert once; kind and owner filter."""
    found = all_pages(client, "/v1/alerts", "alerts", page_size=4)
    assert len({told["id"] for told in found}) == len(found) == 29 + len(HOSTILE)
    assert [told["as_of"] for told in found] == sorted((told["as_of"] for told in found), reverse=True)
    assert all_pages(client, "/v1/alerts", "alerts", kind="recovered") == []
    kinds = {told["kind"] for told in found}
    assert len(all_pages(client, "/v1/alerts", "alerts", kind=sorted(kinds), page_size=3)) == len(found)


def test_many_alerts_of_one_instant_are_paged(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends in the middle of a millisecond, also when a walk has to stop, and the next goes on there."""
    monkeypatch.setattr("service.account_copy.alerts_feed.STEP", 3)
    monkeypatch.setattr("service.account_copy.alerts_feed.WALK_MAX", 6)
    assert len(all_pages(client, "/v1/alerts", "alerts", page_size=5)) == 29 + len(HOSTILE)


def test_the_portfolio_adds_up(client: httpx.Client) -> None:
    """Counts and revenue by band are those of the accounts listed."""
    rows = all_pages(client, "/v1/accounts", "accounts", page_size=200)
    answer = client.get("/v1/portfolio").json()
    told = answer["portfolio"]
    assert told["accounts"] == len(rows) == sum(found["accounts"] for found in told["by_band"].values())
    for band, found in told["by_band"].items():
        mine = [row for row in rows if row["band"] == band]
        assert found["accounts"] == len(mine)
        for currency, total in found["mrr_minor"].items():
            assert total == sum(row["mrr_minor"] or 0 for row in mine if row["currency"] == currency)
    assert (
        sum(tier["healthy"]["accounts"] for tier in told["by_tier"].values()) == told["by_band"]["healthy"]["accounts"]
    )
    assert answer["coverage"] == pytest.approx(sum(row["coverage"] for row in rows) / len(rows), abs=1e-4)
    (today,) = answer["days"]
    assert {**told, "day": "2026-03-20"} == today


def test_the_export_has_every_account_and_no_formula(client: httpx.Client) -> None:
    """The CSV is the list; a cell that would be run by a spreadsheet is disarmed."""
    answer = client.get("/v1/export/accounts.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    listed = all_pages(client, "/v1/accounts", "accounts", page_size=200)
    assert len(rows) == len(listed) > 350
    for row, expected in zip(rows, listed, strict=True):
        account = expected["account"]
        assert row["account"] == (f"'{account}" if account.startswith(("=", "+")) else account)
        assert all(cell is None or not cell.startswith(("=", "+", "@")) for cell in row.values())
    assert len(list(csv.DictReader(io.StringIO(client.get("/v1/export/accounts.csv?owner=ties").text)))) == 60


def test_an_answer_that_is_the_same_is_not_sent_again(client: httpx.Client) -> None:
    """The ETag holds while the matter is the same."""
    first = client.get("/v1/accounts/acct-001")
    again = client.get("/v1/accounts/acct-001", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["vitals-as-of"]
    other = client.get("/v1/accounts/acct-002", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_days_are_told_and_age_is_told(redis_url: str) -> None:
    """History and portfolio have the days seen; a copy that was not read to its end is stale, and then is not."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:
        missing = client.get("/v1/accounts")
        assert (missing.status_code, missing.json()["type"]) == (503, "urn:vitals:problem:copy-missing")
        assert client.get("/readyz").status_code == 503
        served.change(lambda copy: copy.scores(score("acme", 1, time_ms=NOON_MS - DAY_MS, band="healthy")))
        old = client.get("/v1/accounts/acme").json()
        assert (old["stale"], old["as_of"]) == (True, None)
        assert client.get("/readyz").json() == {"ready": True, "stale": True}

        async def go_on(copy: Copy) -> None:
            await copy.live()
            await copy.scores(score("acme", 2, band="endangered", model_changed=True))
            await copy.writer.beat(dict.fromkeys(copy.places, AT_END), "default-1")

        served.change(go_on)
        served.api.state.reader._state = None
        history = client.get("/v1/accounts/acme/history").json()
        assert history["stale"] is False
        assert history["as_of"] > time_text(NOON_MS)
        yesterday, today = history["days"]
        assert (yesterday["band"], yesterday["model_changed"], yesterday["new_model_version"]) == (
            "healthy",
            False,
            None,
        )
        assert (today["band"], today["model_changed"]) == ("endangered", True)
        assert today["new_model_version"] == SCORE["data"]["model_version"]
        told = client.get("/v1/portfolio").json()
        assert [day["day"] for day in told["days"]] == [yesterday["day"], today["day"]]
        assert [list(day["by_band"]) for day in told["days"]] == [["healthy"], ["endangered"]]
        assert told["model_version"] == "default-1"
        assert client.get("/v1/model").json()["in_force"] is False


def test_a_redis_that_is_away_is_a_problem_with_a_time_to_come_back() -> None:
    """503 with Retry-After, while the process lives."""
    with serving("redis://127.0.0.1:1/0", "x:") as served, served.client() as client:
        for path in ("/v1/accounts", "/v1/portfolio", "/v1/stream", "/readyz"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:vitals:problem:copy-unavailable"
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/accounts?page_size=3", "/v1/accounts"),
        ("/v1/accounts/acct-001", "/v1/accounts/{account}"),
        ("/v1/accounts/acct-001/history", "/v1/accounts/{account}/history"),
        ("/v1/alerts", "/v1/alerts"),
        ("/v1/portfolio", "/v1/portfolio"),
        ("/v1/model", "/v1/model"),
    ],
)
def test_answers_are_what_the_document_says(client: httpx.Client, path: str, template: str) -> None:
    """Each answer validates against /openapi.json, and has the parts that every answer has."""
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    content = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
    answer = client.get(path).json()
    jsonschema.validate(answer, {**content["schema"], "components": document["components"]})
    assert {"as_of", "stale", "model_version", "coverage"} <= answer.keys()
    refused = document["paths"][template]["get"]["responses"]
    assert {"401", "403", "422", "429", "503"} <= refused.keys()
    assert list(refused["422"]["content"]) == ["application/problem+json"]
