"""Who sees the page, and what a request of a browser must carry: a session of a good key, and the session's token."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.gate import PAGES
from service.api.keys import KeyRing, add_key, remove_key
from service.api.page.login import inside
from service.api.session import COOKIE, SESSION_SECONDS, SESSIONS_MAX, TOKEN_HEADER, Sessions
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import Copy, alert, score

ADDRESSES = {"/": "/?show=all", "/alerts": "/alerts?band=at_risk", "/system": "/system", "/account": "/account?id=acme"}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the file of keys of this module."""
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    """Make a key that may read."""
    return add_key(key_file, "<b>dana</b>", "read", None)


@pytest.fixture(scope="module")
def served(redis_url: str, key: str, key_file: Path) -> Iterator[Served]:
    """Serve one account to those who have a key."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:", keys=KeyRing(key_file)) as api:

        async def fill(copy: Copy) -> None:
            await copy.scores(score("acme", 1))
            await copy.alerts(alert("acme", 1))

        api.change(fill)
        yield api


def log_in(client: httpx.Client, key: str, **more: str) -> httpx.Response:
    """Send the form of the login."""
    return client.post("/login", data={"key": key, **more})


def token_of(client: httpx.Client) -> str:
    """Read the session's token from a page."""
    found = re.search(r"X-CSRF-Token&#34;: &#34;([^&]+)&#34;|X-CSRF-Token\": \"([^\"]+)\"", client.get("/").text)
    assert found
    return found[1] or found[2]


def test_every_page_is_known_to_the_gate(served: Served) -> None:
    """A page that the gate does not know would answer people with JSON."""
    assert set(ADDRESSES) == PAGES


@pytest.mark.parametrize("path", ADDRESSES.values())
def test_a_page_leads_to_the_login_and_back(served: Served, key: str, path: str) -> None:
    """Without a session no page tells anything; after the login the reader is where they wanted to be."""
    with served.client() as client:
        refused = client.get(path)
        assert refused.status_code == 303
        assert "acme" not in refused.text
        there = refused.headers["location"]
        assert client.get(there).status_code == 200
        form = client.get(there).text
        wanted = re.search(r'name="next" value="([^"]+)"', form)
        assert wanted
        done = log_in(client, key, next=wanted[1].replace("&amp;", "&"))
        assert (done.status_code, done.headers["location"]) == (303, path)
        assert ("acme" in client.get(path).text) == (path != "/system")
        assert "&lt;b&gt;dana" in client.get(path).text


def test_htmx_is_led_by_a_header(served: Served) -> None:
    """A part of a page is never replaced by the login."""
    with served.client() as client:
        refused = client.get("/?show=all", headers={"HX-Request": "true"})
    assert refused.status_code == 401
    assert refused.headers["hx-redirect"] == "/login?next=%2F%3Fshow%3Dall"


@pytest.mark.parametrize("wrong", ["", "x", "vitals_00000000_abc", "\u00e9" * 50, "a" * 10_000])
def test_a_wrong_key_begins_no_session(served: Served, wrong: str) -> None:
    """All are answered alike."""
    with served.client() as client:
        answer = log_in(client, wrong)
        assert answer.status_code == 401
        assert "not known" in answer.text
        assert "set-cookie" not in answer.headers


def test_the_cookie_is_out_of_reach(served: Served, key: str) -> None:
    """Of scripts and of other sites, and of plain HTTP when the browser came by TLS; it holds no key."""
    with served.client() as client:
        cookie = log_in(client, key).headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert key not in cookie
        assert "Secure" not in cookie
        host = client.base_url.netloc.decode()
        secure = client.post("/login", data={"key": key}, headers={"Origin": f"https://{host}"})
        assert "Secure" in secure.headers["set-cookie"]


def test_a_session_reads_the_api_too(served: Served, key: str) -> None:
    """As the page's own scripts do; a bad bearer is not saved by a good session."""
    with served.client() as client:
        log_in(client, key)
        assert client.get("/v1/accounts").status_code == 200
        assert client.get("/v1/accounts", headers={"Authorization": "Bearer x"}).status_code == 401


def test_what_changes_something_carries_the_token(served: Served, key: str) -> None:
    """Without it, with another session's or from another site: 403, and nothing has happened."""
    with served.client() as other, served.client() as client:
        log_in(other, key)
        log_in(client, key)
        token = token_of(client)
        refused: list[dict[str, str]] = [
            {},
            {TOKEN_HEADER: ""},
            {TOKEN_HEADER: token_of(other)},
            {TOKEN_HEADER: token, "Sec-Fetch-Site": "cross-site"},
            {TOKEN_HEADER: token, "Sec-Fetch-Site": "same-site"},
            {TOKEN_HEADER: token, "Origin": "https://evil.example"},
            {TOKEN_HEADER: token, "Origin": "null"},
        ]
        for headers in refused:
            for path in ("/logout", "/v1/accounts/read"):
                assert client.post(path, json={"ids": ["acme"]}, headers=headers).status_code == 403, headers
        assert client.get("/").status_code == 200
        read = client.post("/v1/accounts/read", json={"ids": ["acme"]}, headers={TOKEN_HEADER: token})
        assert read.status_code == 200


def test_another_site_cannot_log_anybody_in(served: Served, key: str) -> None:
    """Or a victim would work in the attacker's session."""
    with served.client() as client:
        answer = client.post("/login", data={"key": key}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_without_keys_another_site_changes_nothing(redis_url: str) -> None:
    """This machine's browser may be on any site; a program that is no browser says no origin."""
    with serving(redis_url, "none:") as api, api.client() as client:
        body = {"ids": ["acme"]}
        refused = client.post("/v1/accounts/read", json=body, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403
        assert client.post("/v1/accounts/read", json=body).status_code == 503
        assert client.get("/login").headers["location"] == "/"
        assert client.post("/login", data={"key": "x"}).headers["location"] == "/"


def test_logging_out_ends_the_session(served: Served, key: str) -> None:
    """Also for whoever copied the cookie."""
    with served.client() as client:
        log_in(client, key)
        copied = client.cookies[COOKIE]
        done = client.post("/logout", headers={TOKEN_HEADER: token_of(client)})
        assert (done.status_code, done.headers["hx-redirect"]) == (204, "/login")
        assert COOKIE not in client.cookies
        assert client.get("/", headers={"Cookie": f"{COOKIE}={copied}"}).status_code == 303


def test_a_removed_key_takes_its_sessions_along(redis_url: str, tmp_path: Path) -> None:
    """Within a second."""
    path = tmp_path / "keys.json"
    key = add_key(path, "short", "read", None)
    add_key(path, "other", "read", None)
    with serving(redis_url, "none:", keys=KeyRing(path)) as api, api.client() as client:
        log_in(client, key)
        assert client.get("/").status_code == 503
        remove_key(path, key.split("_")[1])
        time.sleep(1.1)
        assert client.get("/").status_code == 303


def test_sessions_end_and_are_bounded() -> None:
    """After their time, and the oldest when there are too many."""
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first = sessions.begin("a" * 8)
    assert sessions.find(first) is not None
    assert sessions.find("") is None
    now[0] = SESSION_SECONDS
    assert sessions.find(first) is None
    second = sessions.begin("a" * 8)
    for _ in range(SESSIONS_MAX - 1):
        sessions.begin("b" * 8)
    assert sessions.find(second) is not None
    sessions.begin("b" * 8)
    assert sessions.find(second) is None


@pytest.mark.parametrize(
    "path",
    ["", "account", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "/\n/x", "data:1"],
)
def test_the_login_leads_nowhere_else(path: str) -> None:
    """A link to the login cannot carry a reader to another site."""
    assert inside(path) == "/"
    assert inside("/account?id=a%2Fb") == "/account?id=a%2Fb"
