"""Every role on a broker with TLS, logins and ACLs: each does its work with its own name, and nothing beside it."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trustme

from schemas.codec import encode_input
from service.adapters.clients import SecuredBrokers
from service.adapters.embedded_kafka import free_ports, resolve_bootstrap
from service.adapters.topic_admin import end_offsets, ensure_topics, existing_partitions, other_app_ids
from service.api.deployment import LOOK_SECONDS
from service.errors import DependencyError
from service.settings import Settings, load_settings
from service.topic_acls import AclRole
from tests.conftest import Vitals
from tests.integration.kafka_tools import TestedProcess, produce, read_topic
from tests.integration.test_api_live import wait_for
from tests.security.acl_requests import ALLOW, ANY_HOST, LITERAL, OPERATIONS, TOPIC, create_acls, delete_acls
from tests.security.kit import ADMIN, SecuredKafka, make_identity, variables
from tests.security.operations import (
    NAMES,
    Operation,
    alter,
    create,
    delete,
    grant,
    join,
    look_at_group,
    read,
    run,
    watch,
    write,
)
from tests.security.redis_kit import PASSWORDS, TlsFront, guarded_redis, tls_before
from tests.service.api_kit import serving
from tests.service.copy_kit import GOLDEN, score

pytestmark = pytest.mark.kafka

USAGE, PAYMENTS, ACTIONS = (NAMES.input(kind) for kind in ("usage", "payment", "action"))
ACTS = "/v1/accounts/acme/actions"
NOTE = {"action": "note", "note": "called them"}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Run the broker with topics and ACLs in place until the last test is done."""
    secured = SecuredKafka(tmp_path_factory.mktemp("secured"), NAMES)
    try:
        secured.start()
        asyncio.run(ensure_topics(secured.plain, NAMES))
        secured.apply_acls()
        yield secured
    finally:
        secured.stop()


@pytest.fixture(scope="module")
def redis(kafka: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    """Run Redis with its users, behind TLS of the same signer."""
    folder = tmp_path_factory.mktemp("redis")
    with guarded_redis(folder) as port, tls_before(port, make_identity(kafka.ca, folder, "redis")) as front:
        yield front


def event(number: int, account: str) -> bytes:
    data = {"user": "ann"}
    now_ms = time.time_ns() // 1_000_000
    return encode_input("login", data, event_id=str(number), source="test", account=account, time_ms=now_ms)


def publish(vitals: Vitals, settings: Settings, folder: Path, account: str) -> None:
    file = folder / "event.ndjson"
    file.write_bytes(event(1, account) + b"\n")
    done = vitals("publish", str(file), **variables(settings))
    assert done.returncode == 0, done.stderr


class Pickled:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


def listening(process: TestedProcess) -> set[tuple[str, int]]:
    """Return where a process and its children listen."""
    one = psutil.Process(process.process.pid)
    found = [each for some in (one, *one.children(recursive=True)) for each in some.net_connections("inet")]
    return {(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN}


def wait_records(kafka: SecuredKafka, topic: str, records: int, process: TestedProcess) -> None:
    """Wait until a topic has so many."""
    deadline = time.monotonic() + 60
    while len(read_topic(kafka.plain, topic)) < records:
        assert process.process.poll() is None, process.output()
        assert time.monotonic() < deadline, process.output()
        time.sleep(0.2)


# -- each does its work ------------------------------------------------------------------------------------


def test_every_role_does_its_work_with_its_own_name(
    kafka: SecuredKafka, redis: TlsFront, tmp_path: Path, vitals: Vitals
) -> None:
    """An event is published, scored, copied, answered and acted on, a dead letter listed; no log has a secret.

    Nothing listens but the API, and a pickled record is a dead letter like any other.
    """

    def start(role: AclRole, *options: str, **given: str) -> TestedProcess:
        debug = {"VITALS_LOG_LEVEL": "debug", "VITALS_HOME": str(tmp_path)}
        environment = {**variables(kafka.settings(role)), **debug, **given}
        return TestedProcess(tmp_path / f"{role}.log", "service.cli.main", role, *options, **environment)

    def copy_of(role: str) -> dict[str, str]:
        return {"VITALS_REDIS": redis.url(f"vitals-{role}"), "VITALS_REDIS_CA": str(kafka.ca_file)}

    port = free_ports(1)[0]
    worker, projector = start("worker"), start("projector", **copy_of("projector"))
    api = start("api", "--port", str(port), **copy_of("api"))
    told: list[str] = []
    with worker, projector, api, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        publish(vitals, kafka.settings("publisher"), tmp_path, "acme")
        wait_for(client, "/v1/accounts/acme", api)
        answer = client.post(ACTS, json=NOTE, headers={"Prefer": "wait=30", "Idempotency-Key": "called-acme"})
        assert answer.status_code in {200, 201, 202}, answer.text
        produce(kafka.plain, USAGE, [(b"acme", pickle.dumps(Pickled(tmp_path / "unpickled")))])
        wait_records(kafka, NAMES.dead_letters("usage"), 1, worker)
        assert not (tmp_path / "unpickled").exists()
        assert (listening(worker), listening(projector), listening(api)) == (set(), set(), {("127.0.0.1", port)})
        system = client.get("/system")
        assert "not json" in system.text
        told += [client.get(path).text for path in ("/v1/model", "/openapi.json", "/livez")] + [system.text]
        letters = vitals("dlq", "list", "--json", **variables(kafka.settings("operator")))
        assert [count["reason"] for count in json.loads(letters.stdout)["counts"]] == ["not_json"], letters.stderr
        doctor = vitals("doctor", "--json", **variables(kafka.settings("operator")))
        found = {finding["check"]: finding["level"] for finding in json.loads(doctor.stdout)["findings"]}
        assert {found["group"], found["lag"], found["clock"], found["topics"]} == {"OK"}, doctor.stdout
        assert (api.terminate(), projector.terminate(), worker.terminate()) == (0, 0, 0)
    told += [process.output() for process in (worker, projector, api)] + [doctor.stdout, letters.stdout]
    secrets = [*kafka.passwords.values(), *PASSWORDS.values()]
    assert not [secret for secret in secrets for text in told if secret in text]
    outcomes = [json.loads(record.value)["data"]["action"] for record in read_topic(kafka.plain, NAMES.audit)]
    assert outcomes == ["note"]


def test_a_certificate_is_as_good_as_a_password(kafka: SecuredKafka, tmp_path: Path, vitals: Vitals) -> None:
    """Worker and publisher known by their certificates alone do the same, with the same rights and no more."""
    before = len(read_topic(kafka.plain, NAMES.scores))
    publisher, worker = by_certificate(kafka, "publisher"), by_certificate(kafka, "worker")
    log = tmp_path / "worker.log"
    with TestedProcess(log, "service.cli.main", "worker", **variables(worker)) as process:
        publish(vitals, publisher, tmp_path, "by certificate")
        wait_records(kafka, NAMES.scores, before + 1, process)
        assert process.terminate() == 0
    with pytest.raises(DependencyError, match="does not allow this to the owner of VITALS_KAFKA_CERTIFICATE"):
        run(read, SecuredBrokers(publisher), NAMES.scores)


def by_certificate(kafka: SecuredKafka, role: AclRole, *, is_expired: bool = False) -> Settings:
    identity = make_identity(kafka.ca, kafka.data, f"vitals-{role}", is_expired=is_expired)
    return load_settings(
        broker=kafka.mutual,
        kafka_security="ssl",
        kafka_ca=kafka.ca_file,
        kafka_certificate=identity.certificate,
        kafka_key=identity.key,
        app_id=NAMES.app_id,
        topic_prefix=NAMES.prefix,
    )


# -- and nothing beside it ---------------------------------------------------------------------------------


ALLOWED: list[tuple[AclRole | str, Operation, str]] = [
    ("publisher", write, USAGE),
    ("worker", read, USAGE),
    ("worker", write, NAMES.scores),
    ("worker", look_at_group, NAMES.app_id),
    ("projector", read, NAMES.changelog),
    ("projector", join, NAMES.projector_group),
    ("api", write, ACTIONS),
    ("api", read, NAMES.audit),
    ("api", look_at_group, NAMES.app_id),
    ("operator", alter, NAMES.scores),
    ("operator", watch, NAMES.scores),
    (ADMIN, create, "another"),
    (ADMIN, delete, "another"),
    (ADMIN, grant, PAYMENTS),
]
FORBIDDEN: list[tuple[AclRole, Operation, str]] = [
    ("publisher", read, NAMES.scores),
    ("publisher", read, USAGE),
    ("publisher", write, NAMES.alerts),
    ("publisher", write, ACTIONS),
    ("publisher", look_at_group, NAMES.app_id),
    ("publisher", delete, USAGE),
    ("api", write, NAMES.scores),
    ("api", write, USAGE),
    ("api", read, NAMES.scores),
    ("api", watch, NAMES.scores),
    ("api", read, NAMES.changelog),
    ("api", join, NAMES.app_id),
    ("projector", write, NAMES.alerts),
    ("projector", write, NAMES.changelog),
    ("projector", read, PAYMENTS),
    ("projector", join, NAMES.app_id),
    ("worker", delete, NAMES.scores),
    ("worker", create, "another"),
    ("worker", alter, NAMES.changelog),
    ("worker", write, USAGE),
    ("worker", join, NAMES.projector_group),
    ("operator", delete, NAMES.changelog),
    ("operator", write, NAMES.changelog),
    ("operator", write, NAMES.scores),
    ("operator", create, "another"),
    ("operator", grant, USAGE),
]


def named(case: object) -> str:
    return getattr(case, "__name__", str(case))


@pytest.mark.parametrize(("role", "operation", "what"), ALLOWED, ids=named)
def test_what_a_role_needs_is_allowed(role: str, operation: Operation, what: str, kafka: SecuredKafka) -> None:
    """The very operations that are refused to others are done, so that a refusal is for the name alone."""
    run(operation, SecuredBrokers(kafka.settings(role)), what)


@pytest.mark.parametrize(("role", "operation", "what"), FORBIDDEN, ids=named)
def test_what_a_role_does_not_need_is_refused(role: str, operation: Operation, what: str, kafka: SecuredKafka) -> None:
    """The broker refuses it, and the error says to whom and what to do."""
    with pytest.raises(DependencyError, match=f"does not allow this to user vitals-{role} .*vitals topics acls"):
        run(operation, SecuredBrokers(kafka.settings(role)), what)


def test_a_changelog_of_others_that_can_be_seen_is_no_hindrance(kafka: SecuredKafka) -> None:
    """Who may describe it, and not its group, cannot tell who scores there, and goes on as if it were not seen."""
    other = "eu-other-state-changelog"
    run(create, kafka.plain, other)
    produce(kafka.plain, other, [(b"x", b"x")])
    rule = (TOPIC, other, LITERAL, "User:vitals-worker", ANY_HOST, OPERATIONS["Describe"], ALLOW)
    asyncio.run(create_acls(kafka.plain, [rule]))
    worker = SecuredBrokers(kafka.settings("worker"))
    assert asyncio.run(end_offsets(worker, [other])) == {(other, 0): 1}
    assert asyncio.run(other_app_ids(worker, NAMES)) == []


@pytest.mark.parametrize("role", ["operator", "projector"])
def test_a_worker_without_its_rights_stops_and_says_so(role: AclRole, kafka: SecuredKafka, tmp_path: Path) -> None:
    """Whether they are missed at the start (the projector's) or at the first write (the operator's): one last line."""
    log = tmp_path / "worker.log"
    with TestedProcess(log, "service.cli.main", "worker", **variables(kafka.settings(role))) as process:
        produce(kafka.plain, USAGE, [(b"acme", event(number, "acme")) for number in range(900, 908)])
        assert process.process.wait(60) == 1
    assert f"does not allow this to user vitals-{role} " in process.output().strip().splitlines()[-1], process.output()
    assert "Traceback" not in process.output()


def test_a_right_that_is_taken_away_stops_the_worker(kafka: SecuredKafka, tmp_path: Path) -> None:
    """It says what it may not do any more, and does not wait for brokers that are there."""
    settings, log = kafka.settings("worker"), tmp_path / "worker.log"
    user, topic = "User:vitals-worker", NAMES.dead_letters("survey")
    with TestedProcess(log, "service.cli.main", "worker", **variables(settings)) as process:
        process.wait_for("Worker ready")
        asyncio.run(delete_acls(kafka.plain, topic, user))
        assert process.process.wait(40) == 1
    last = process.output().strip().splitlines()[-1]
    assert f"does not allow this to user vitals-worker ([Error 29] TopicAuthorizationFailedError: {topic})" in last
    assert "Traceback" not in process.output()
    asyncio.run(create_acls(kafka.plain, [(TOPIC, topic, LITERAL, user, ANY_HOST, OPERATIONS["Write"], ALLOW)]))


def test_a_publisher_that_acts_is_told_that_it_may_not(kafka: SecuredKafka, tmp_path: Path, vitals: Vitals) -> None:
    """To publish once more would not help, so the line does not say that."""
    (example, *_) = json.loads((GOLDEN / "add_note.v1.examples.json").read_bytes())
    (tmp_path / "act.ndjson").write_text(json.dumps(example) + "\n")
    done = vitals("publish", str(tmp_path / "act.ndjson"), **variables(kafka.settings("publisher")))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
    assert "does not allow this to user vitals-publisher" in done.stderr


# -- who is not let in, and whom we do not trust -----------------------------------------------------------


def test_what_is_wrong_is_told_in_one_line(kafka: SecuredKafka, redis_url: str, tmp_path: Path, vitals: Vitals) -> None:
    """A wrong password, an unknown signer, an expired certificate: one line, an exit code, no secret."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.crt"))
    (tmp_path / "wrong.password").write_text("hush-wrong\n")
    good = variables(kafka.settings("worker"))
    wrong_password = {**good, "VITALS_KAFKA_PASSWORD_FILE": str(tmp_path / "wrong.password")}
    expired = {"VITALS_BROKER": kafka.expired, "VITALS_KAFKA_SECURITY": "ssl", "VITALS_KAFKA_CA": str(kafka.ca_file)}
    wrong: list[tuple[str, dict[str, str], str]] = [
        ("worker", wrong_password, "refuses the name or the password"),
        ("projector", {**wrong_password, "VITALS_REDIS": redis_url}, "refuses the name or the password"),
        ("topics plan", {**good, "VITALS_KAFKA_CA": str(tmp_path / "other.crt")}, "unable to get local issuer"),
        ("dlq list", expired, "certificate has expired"),
    ]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda case: vitals(*case[0].split(), **case[1]), wrong))
    for (command, _, told), ended in zip(wrong, done, strict=True):
        assert told in ended.stderr, (command, ended.stderr)
        assert (ended.returncode, len(ended.stderr.strip().splitlines())) == (1, 1), ended.stderr
        assert ended.stderr.startswith("error: no Kafka answers at 127.0.0.1:"), ended.stderr
        assert not [secret for secret in (*kafka.passwords.values(), "hush-wrong") if secret in ended.stderr]


def test_other_mismatches_are_told_apart(kafka: SecuredKafka) -> None:
    """No certificate where one is asked for, an expired one of ours, another mechanism, a listener of another kind."""
    sasl = kafka.settings("worker")
    mismatches = [
        (ssl_only(kafka.mutual, kafka), "refuses our certificate .TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        (by_certificate(kafka, "worker", is_expired=True), "refuses our certificate"),
        (sasl.model_copy(update={"kafka_mechanism": "PLAIN"}), "does not offer the mechanism"),
        (ssl_only(kafka.plain, kafka), "no Kafka answers"),
        (load_settings(broker=kafka.sasl), "ends the connection at once"),
    ]
    for settings, told in mismatches:
        with pytest.raises(DependencyError, match=told):
            asyncio.run(existing_partitions(resolve_bootstrap(settings), [USAGE]))


def ssl_only(address: str, kafka: SecuredKafka) -> Settings:
    return load_settings(broker=address, kafka_security="ssl", kafka_ca=kafka.ca_file)


def test_an_api_with_a_wrong_password_serves_on_and_tells_nothing(
    kafka: SecuredKafka, redis_url: str, tmp_path: Path
) -> None:
    """Reading does not need the brokers; the page of the system says that they refuse, and not what they were told."""
    (tmp_path / "wrong.password").write_text("hush-wrong\n")
    settings = kafka.settings("api", kafka_password_file=tmp_path / "wrong.password")
    with serving(redis_url, f"{tmp_path.name}:", settings=settings) as api, api.client() as client:
        api.change(lambda copy: copy.scores(score("acme", 1)))
        pages = [client.get(path) for path in ("/system", "/v1/model", "/v1/nothing", "/readyz")]
        acted = client.post(ACTS, json=NOTE, headers={"Idempotency-Key": "called-acme"})
        assert pages[0].status_code == 200
        assert "refuses the name or the password" in pages[0].text
        assert acted.status_code == 503
        assert not [page.text for page in (*pages, acted) if "hush-" in page.text]
        # The right one is read without a restart.
        (tmp_path / "wrong.password").write_text(kafka.passwords["api"])
        acted = client.post(ACTS, json=NOTE, headers={"Idempotency-Key": "now-right"})
        assert acted.status_code == 202, acted.text
        time.sleep(LOOK_SECONDS + 0.1)
        assert "1 of 1 answer" in client.get("/system").text
