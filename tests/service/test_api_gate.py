"""Who may ask: every route refuses no key, a wrong one, one that has expired and one whose role is too small."""

from __future__ import annotations

import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.api.gate import OPEN_PATHS, requires
from service.api.keys import ROLES, ApiKey, KeyRing, Role, add_key, read_keys, remove_key
from service.api.rate import RateLimit
from service.cli.extras import require_api_extra
from service.errors import ConfigError, InputError
from service.settings import is_loopback
from tests.conftest import Vitals
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import score

Route = tuple[str, str, Role, int]
# Method, path, the smallest role that may, and how it answers that one: no broker runs here.
ROUTES: list[Route] = [
    ("GET", "/v1/accounts", "read", 200),
    ("POST", "/v1/accounts/read", "read", 200),
    ("GET", "/v1/accounts/acme", "read", 200),
    ("GET", "/v1/accounts/acme/history", "read", 200),
    ("GET", "/v1/alerts", "read", 200),
    ("GET", "/v1/portfolio", "read", 200),
    ("GET", "/v1/model", "read", 200),
    ("GET", "/v1/export/accounts.csv", "read", 200),
    ("GET", "/v1/stream", "read", 200),
    ("POST", "/v1/accounts/acme/actions", "act", 503),
    ("GET", "/v1/accounts/acme/actions/some-action", "act", 503),
]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/accounts/read": {"ids": ["acme"]},
    "/v1/accounts/acme/actions": {"action": "note", "note": "hello"},
}


class Keys:
    """A file with a key of each role, and one that has expired."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.read = add_key(self.path, "reader", "read", int(time.time()) + 3600)
        self.act = add_key(self.path, "actor", "act", None)
        self.admin = add_key(self.path, "admin", "admin", None)
        self.expired = add_key(self.path, "gone", "admin", int(time.time()) - 1)
        other = folder / "other.json"
        self.unknown = add_key(other, "elsewhere", "admin", None)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Make the keys of this module."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def served(redis_url: str, keys: Keys) -> Iterator[Served]:
    """Serve one account to those who have a key."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:", keys=KeyRing(keys.path)) as api:
        api.change(lambda copy: copy.scores(score("acme", 1)))
        yield api


def ask(served: Served, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask a route, reading only the head of what may stream for ever."""
    body = BODIES[path] if method == "POST" else None
    headers = {"Idempotency-Key": "some-action", **headers}
    with served.client() as client, client.stream(method, path, headers=headers, json=body) as answer:
        if "event-stream" not in answer.headers.get("content-type", ""):
            answer.read()
        return answer


def test_every_route_is_among_those_that_are_tested(served: Served) -> None:
    """A new route has to be added here, or to those that are open."""
    with served.client() as client:
        document = client.get("/openapi.json").json()
    told = {
        (method.upper(), path.replace("{account}", "acme").replace("{action_id}", "some-action"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert told == {*(route[:2] for route in ROUTES), *(("GET", path) for path in OPEN_PATHS - {"/openapi.json"})}


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_without_a_good_key(served: Served, keys: Keys, route: Route) -> None:
    """No key, a wrong one, one of elsewhere, an expired one, and forms that are no bearer: 401, and nothing is told."""
    method, path, *_ = route
    wrong = keys.read[:-1] + ("A" if keys.read[-1] != "A" else "B")
    refused = {
        "no-key": [{}, {"Authorization": keys.read}, {"Authorization": "Basic " + keys.read}, {"X-Api-Key": keys.read}],
        "wrong-key": [
            {"Authorization": "Bearer " + token}
            for token in (wrong, keys.unknown, keys.expired, "x", "vitals__", "_" * 50)
        ],
    }
    for kind, requests in refused.items():
        for headers in requests:
            answer = ask(served, method, path, headers)
            assert answer.status_code == 401, headers
            assert answer.json()["type"] == f"urn:vitals:problem:{kind}"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "ratelimit" in answer.headers
            assert "acme" not in answer.text


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_answers_those_whose_role_is_large_enough(served: Served, keys: Keys, route: Route) -> None:
    """Roles include the smaller ones; of a key whose role is too small the answer is 403 and tells nothing."""
    method, path, smallest, status = route
    tokens: dict[Role, str] = {"read": keys.read, "act": keys.act, "admin": keys.admin}
    for role in ROLES:
        answer = ask(served, method, path, {"Authorization": "Bearer " + tokens[role]})
        if ROLES.index(role) >= ROLES.index(smallest):
            assert answer.status_code == status
        else:
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:vitals:problem:role-too-small"
            assert "acme" not in answer.text


def test_erasing_an_account_needs_the_role_admin(served: Served, keys: Keys) -> None:
    """Also of an account that the copy does not have: it may be in other stores."""
    for token, status in ((keys.read, 403), (keys.act, 403), (keys.admin, 503)):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "erase-0001"}
        body = {"action": "erase", "reason": "request 17"}
        for account in ("acme", "nobody"):
            with served.client() as client:
                answer = client.post(f"/v1/accounts/{account}/actions", headers=headers, json=body)
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_asks_for_a_role(served: Served, keys: Keys, monkeypatch: pytest.MonkeyPatch, route: Route) -> None:
    """With a key whose role allows nothing, which no role of today is, each route answers 403 and tells nothing."""
    method, path, *_ = route
    monkeypatch.setattr(ApiKey, "may", lambda _key, _role: False)
    answer = ask(served, method, path, {"Authorization": "Bearer " + keys.admin})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:vitals:problem:role-too-small"
    assert "acme" not in answer.text


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_probes_and_the_document_are_open(served: Served, path: str) -> None:
    """They tell nothing of any account."""
    with served.client() as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert "acme" not in answer.text


@pytest.mark.parametrize("path", ["/v1/accounts/../../livez", "//v1/accounts", "/livez/../v1/accounts", "/V1/accounts"])
def test_no_way_around_the_gate(served: Served, path: str) -> None:
    """Whatever the path looks like, without a key it is refused or is one of the open ones."""
    with served.client() as client:
        answer = client.send(client.build_request("GET", served.url + path))
    assert answer.status_code == 401 or "accounts" not in answer.text


@pytest.mark.parametrize(("needed", "allowed"), [("read", 3), ("act", 2), ("admin", 1)])
def test_a_role_that_is_too_small_is_refused(redis_url: str, keys: Keys, needed: str, allowed: int) -> None:
    """Of a route that needs a role, keys of smaller ones get 403."""
    with serving(redis_url, "none:", keys=KeyRing(keys.path)) as served:
        _add_route(served.api, needed)
        found = [
            ask(served, "GET", "/v1/only", {"Authorization": "Bearer " + token})
            for token in (keys.admin, keys.act, keys.read)
        ]
    assert [answer.status_code for answer in found] == [200] * allowed + [403] * (3 - allowed)
    assert all(answer.json()["type"] == "urn:vitals:problem:role-too-small" for answer in found[allowed:])


def _add_route(api: FastAPI, needed: str) -> None:
    @api.get("/v1/only", dependencies=[requires(needed)])  # type: ignore[arg-type]  # one of the roles
    async def only() -> dict[str, bool]:
        return {"done": True}


def test_keys_are_rotated_while_it_runs(redis_url: str, tmp_path: Path) -> None:
    """A key that is added is good and one that is removed is not, a second later; a broken file changes nothing."""
    path = tmp_path / "keys.json"
    old = add_key(path, "old", "read", None)
    with serving(redis_url, "none:", keys=KeyRing(path)) as served:

        def status(token: str) -> int:
            return ask(served, "GET", "/v1/accounts", {"Authorization": "Bearer " + token}).status_code

        assert status(old) == 503  # let in, and there is no copy
        new = add_key(path, "new", "read", None)
        time.sleep(1.1)
        assert (status(old), status(new)) == (503, 503)
        remove_key(path, old.split("_")[1])
        time.sleep(1.1)
        assert (status(old), status(new)) == (401, 503)
        path.write_text("{")
        time.sleep(1.1)
        assert (status(old), status(new)) == (401, 503)


def test_a_file_of_keys_holds_no_key(keys: Keys) -> None:
    """Only hashes are stored, readable by the owner alone."""
    text = keys.path.read_text()
    assert all(token.split("_", 2)[2] not in text for token in (keys.read, keys.act, keys.admin))
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert [key.role for key in read_keys(keys.path)] == ["read", "act", "admin", "admin"]


@pytest.mark.parametrize("content", ["", "[]", '{"keys": [{"id": "x"}]}', '{"more": 1}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """At the start a wrong file ends the command with its name."""
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        KeyRing(path)
    with pytest.raises(ConfigError, match="vitals keys add"):
        KeyRing(tmp_path / "nothing.json")
    with pytest.raises(InputError):
        add_key(tmp_path / "new.json", "a\nb", "read", None)


def test_requests_over_the_limit_are_answered_with_a_time_to_come_back(redis_url: str, keys: Keys) -> None:
    """Limits stand in the headers; one key's burst does not touch another's."""
    with serving(redis_url, "none:", keys=KeyRing(keys.path), per_second=5) as served:
        with served.client(keys.read) as client:
            found = [client.get("/v1/accounts") for _ in range(12)]
        refused = [answer for answer in found if answer.status_code == 429]
        assert 5 <= len(refused) <= 7
        assert refused[0].json()["type"] == "urn:vitals:problem:too-many-requests"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert found[0].headers["ratelimit-policy"] == '"second";q=5;w=1'
        assert found[0].headers["ratelimit"] == '"second";r=4;t=1'
        with served.client(keys.act) as client:
            assert client.get("/v1/accounts").status_code == 503
        with served.client("wrong") as client:
            assert [client.get("/v1/accounts").status_code for _ in range(12)].count(429) >= 5


def test_a_bucket_fills_evenly() -> None:
    """One second's worth at once, then one each so much time."""
    now = [0.0]
    limit = RateLimit(10, lambda: now[0])
    assert [limit.take("a").allowed for _ in range(11)] == [True] * 10 + [False]
    assert limit.take("b").allowed
    now[0] = 0.1001
    assert limit.take("a").allowed
    denied = limit.take("a")
    assert not denied.allowed
    assert denied.wait_seconds == pytest.approx(0.1, abs=0.01)
    now[0] = 100.0
    assert limit.take("a").left == 9


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 503),
        ("localhost", 503),
        ("[::1]:8", 503),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
    ],
)
def test_without_keys_only_this_machine_is_answered(redis_url: str, host: str, status: int) -> None:
    """A web page that gives this machine a name of its own is refused."""
    with serving(redis_url, "none:") as served:
        assert ask(served, "GET", "/v1/accounts", {"Host": host}).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])  # noqa: S104 - it must be refused
def test_it_does_not_listen_wider_without_keys(vitals: Vitals, host: str, tmp_path: Path) -> None:
    """Exit code 2, with the cure; an empty file of keys is none."""
    done = vitals("api", "--host", host, VITALS_REDIS="redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert "vitals keys add" in done.stderr
    path = tmp_path / "keys.json"
    path.write_text('{"keys": []}')
    done = vitals("api", "--host", host, VITALS_REDIS="redis://127.0.0.1:1/0", VITALS_API_KEYS=str(path))
    assert done.returncode == 2


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the extra a command tells which it needs."""
    require_api_extra()
    monkeypatch.setattr("service.cli.extras.NEEDED", ("redis", "no_such_package"))
    with pytest.raises(ConfigError, match=r"vitals\[api\].*no_such_package"):
        require_api_extra()


def test_loopback_is_known() -> None:
    """Names and addresses of this machine only."""
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))  # noqa: S104


def test_keys_are_made_listed_and_removed_by_command(vitals: Vitals, tmp_path: Path) -> None:
    """The key is printed once; the list tells whose it is."""
    path = str(tmp_path / "keys.json")
    made = vitals("keys", "add", "crm sync", "--role", "act", "--days", "30", "--file", path)
    token = made.stdout.strip()
    assert KeyRing(Path(path)).find(token) is not None
    listed = vitals("keys", "list", VITALS_API_KEYS=path).stdout
    key_id = token.split("_")[1]
    assert all(word in listed for word in (key_id, "act", "crm sync", "expires"))
    assert token not in listed
    assert vitals("keys", "remove", key_id, "--file", path).returncode == 0
    assert KeyRing(Path(path)).find(token) is None
    assert vitals("keys", "remove", key_id, "--file", path).returncode == 1
    assert vitals("keys", "add", "x", "--role", "king", "--file", path).returncode == 2
    assert vitals("keys", "list").returncode == 2
