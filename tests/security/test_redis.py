"""Redis with users and TLS: each may do its work and nothing beside it; who must not be trusted is told in one line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from service.adapters.embedded_redis import resolve_redis
from service.adapters.redis_client import open_redis
from service.settings import load_settings
from tests.conftest import Vitals
from tests.security.kit import make_identity
from tests.security.redis_kit import PASSWORDS, USERS, TlsFront, guarded_redis, tls_before
from tests.service.api_kit import serving
from tests.service.copy_kit import NOON_MS, Copy, alert, score

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "service" / "account_copy"
PROJECTOR, API = PASSWORDS
DANGEROUS = (
    "FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG GET *", "CONFIG SET maxmemory 1", "DEBUG OBJECT vitals:copy", "SHUTDOWN",
    "SAVE", "BGSAVE", "REPLICAOF 127.0.0.1 1", "ACL LIST", "ACL SETUSER x on", "MONITOR", "CLIENT LIST",
    "CLIENT KILL 1",
    "SCRIPT FLUSH", "MODULE LIST", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "RESTORE vitals:x 0 x", "DUMP vitals:copy",
    "RENAME vitals:copy vitals:x", "SUBSCRIBE x", "PUBLISH x y", "SORT vitals:x", "EVAL return 0", "RANDOMKEY",
)  # fmt: skip
WRITES = (
    "HSET vitals:copy a b",
    "DEL vitals:copy",
    "XADD vitals:s * a b",
    "UNLINK vitals:copy",
    "MULTI",
)
OTHERS_KEYS = ("HGETALL sessions:1", "HGET vital:x y")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for the server and the certificates."""
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[TlsFront]:
    """Run Redis with its users behind TLS; the certificate to trust is `ca.crt` in the folder."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other.crt"))
    with guarded_redis(folder) as port, tls_before(port, make_identity(ca, folder, "redis")) as made:
        yield made


def url(front: TlsFront, folder: Path, user: str) -> str:
    return resolve_redis(load_settings(redis=front.url(user), redis_ca=folder / "ca.crt"))


def refusals(address: str, commands: tuple[str, ...]) -> list[str]:
    """Return the commands that the server lets this user do."""

    async def run() -> list[str]:
        allowed = []
        async with open_redis(address, connections_max=1) as client:
            for command in commands:
                try:
                    await client.execute_command(*command.split())
                except NoPermissionError:
                    continue
                allowed.append(command)
        return allowed

    return asyncio.run(run())


@pytest.mark.parametrize("user", [PROJECTOR, API])
def test_dangerous_commands_are_refused(user: str, front: TlsFront, folder: Path) -> None:
    """Nobody wipes, configures, spies on, moves or stops the server, or reaches keys beside the copy's."""
    assert refusals(url(front, folder, user), (*DANGEROUS, *OTHERS_KEYS)) == []


def test_the_api_reads_only(front: TlsFront, folder: Path) -> None:
    """Every command that writes is refused, in a script as well, and so is reading names of keys."""
    assert refusals(url(front, folder, API), (*WRITES, "SCAN 0")) == []

    async def write_by_script() -> None:
        async with open_redis(url(front, folder, API)) as client:
            await client.register_script("return redis.call('HSET', 'vitals:copy', 'epoch', 'x')")()

    with pytest.raises(ResponseError, match="can't run this command or subcommand"):
        asyncio.run(write_by_script())


def test_who_has_no_name_is_refused(front: TlsFront, folder: Path) -> None:
    """The default user is off."""
    address = url(front, folder, API).replace(f"{API}:{PASSWORDS[API]}@", "")

    async def ask() -> None:
        async with open_redis(address) as client:
            await client.ping()

    with pytest.raises(AuthenticationError):
        asyncio.run(ask())


def commands_of(user: str) -> set[str]:
    """Return the commands that the file of users grants to one."""
    (line,) = (line for line in USERS.read_text(encoding="utf-8").splitlines() if f" {user} " in line)
    return {word[1:] for word in line.split() if word.startswith("+")}


def test_the_projectors_rights_are_enough_for_its_scripts() -> None:
    """Every command that a script of the copy calls is one of its user's."""
    texts = [path.read_text(encoding="utf-8") for path in COPY.glob("*.lua")]
    called = {name.lower() for text in texts for name in re.findall(r"'([A-Z]{3,})'", text)} - {"maxlen"}
    assert len(called) > 15
    assert called - commands_of(PROJECTOR) == set()


def test_the_apis_rights_are_what_reading_takes() -> None:
    """Every command that a reader of the copy sends is one of its user's, and its user has no others."""
    files = [path for path in COPY.glob("*.py") if path.name != "writer.py"]
    files += [ROOT / "service" / "api" / "hub.py", ROOT / "service" / "adapters" / "redis_client.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    sent = set(re.findall(r"\b(?:client|pipe)\.([a-z]+)\(", text)) - {"pipeline", "execute", "aclose"}
    sent |= {name.lower() for name in re.findall(r"\(\"([A-Z]{4,})\", ", text)}
    assert sent | {"ping", "evalsha", "script|load"} == commands_of(API)


def test_each_does_its_work(front: TlsFront, folder: Path) -> None:
    """The projector's user fills a copy and sweeps an old one; the API's answers every kind of question from it."""

    async def fill() -> None:
        async with open_redis(url(front, folder, PROJECTOR)) as client:
            copy = Copy(client, "vitals:")
            await copy.begin()
            first = copy.writer.keys.epoch
            await copy.scores(score("old", 1))
            assert await copy.writer.begin(len(copy.places), instead_of=first)
            copy.next = await copy.writer.offsets(dict.fromkeys(copy.places, 0))
            await copy.writer.sweep()
            await copy.scores(*(score(f"a-{number}", 1, name="Acme", owner="dana") for number in range(30)))
            await copy.alerts(*(alert("a-1", seq, time_ms=NOON_MS + seq) for seq in range(1, 60)))
            await copy.live()

    asyncio.run(fill())
    with serving(url(front, folder, API), "vitals:") as served, served.client() as client:
        token = client.get("/v1/accounts", params={"page_size": 7}).json()["next_page_token"]
        questions = [
            "/readyz", "/v1/portfolio", "/v1/accounts?search=acm", "/v1/accounts?owner=dana&sort=trend", "/v1/alerts",
            f"/v1/accounts?page_size=7&page_token={token}", "/v1/accounts/a-1", "/v1/accounts/a-1/history",
            "/", "/account?id=a-1", "/alerts",
        ]  # fmt: skip
        answers = {question: client.get(question).status_code for question in questions}
        assert answers == dict.fromkeys(questions, 200)
        with client.stream("GET", "/v1/stream") as stream:
            assert next(stream.iter_lines()).startswith("retry")
        read = client.post("/v1/accounts/read", json={"ids": ["a-1", "a-2", "old"]}).json()
        assert [one["account"] for one in read["accounts"]] == ["a-1", "a-2"]


@pytest.mark.parametrize(
    ("ca", "password", "told"),
    [
        ("other.crt", None, "CERTIFICATE_VERIFY_FAILED"),
        ("ca.crt", "wrong-secret", "invalid username-password pair"),
        ("none.crt", None, "VITALS_REDIS_CA"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    *, ca: str, password: str | None, told: str, front: TlsFront, folder: Path, vitals: Vitals
) -> None:
    """An unknown signer, a wrong password, a missing file: an exit code, no traceback, no password."""
    done = vitals(
        "projector",
        VITALS_BROKER="127.0.0.1:1",
        VITALS_REDIS=front.url(PROJECTOR, password),
        VITALS_REDIS_CA=str(folder / ca),
    )
    assert done.returncode == (2 if ca == "none.crt" else 1)
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert (password or PASSWORDS[PROJECTOR]) not in done.stderr
