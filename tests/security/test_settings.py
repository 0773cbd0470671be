"""Settings of secure connections: what contradicts is refused with a cure, files are read late, and nothing tells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trustme

from agents.runtime.app import credentials
from service.adapters.clients import SecuredBrokers, client_options
from service.adapters.embedded_kafka import resolve_bootstrap
from service.adapters.embedded_redis import resolve_redis
from service.adapters.redis_client import hidden
from service.doctor import judge_security
from service.errors import ConfigError
from service.settings import Settings, load_settings
from tests.conftest import Vitals
from tests.security.kit import make_identity

SECRET = "hush-1b5e"  # noqa: S105 - it opens nothing
LOGIN = {"VITALS_KAFKA_SECURITY": "sasl_ssl", "VITALS_KAFKA_USERNAME": "u", "VITALS_KAFKA_PASSWORD": SECRET}
Variables = dict[str, str]


def settings_of(monkeypatch: pytest.MonkeyPatch, variables: Variables) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (LOGIN, "VITALS_BROKER, which is unset"),
        ({"VITALS_KAFKA_SECURITY": "ssl"}, "VITALS_BROKER, which is unset"),
        ({"VITALS_KAFKA_CA": "ca.crt"}, "VITALS_BROKER, which is unset"),
        ({"VITALS_BROKER": "a:1", "VITALS_KAFKA_PASSWORD": SECRET}, "plaintext logs nobody in"),
        ({"VITALS_BROKER": "a:1", "VITALS_KAFKA_SECURITY": "ssl", "VITALS_KAFKA_USERNAME": "u"}, "ssl logs nobody in"),
        ({"VITALS_BROKER": "a:1", "VITALS_KAFKA_CA": "ca.crt"}, "plaintext encrypts nothing"),
        ({**LOGIN, "VITALS_BROKER": "a:1", "VITALS_KAFKA_USERNAME": ""}, "needs VITALS_KAFKA_USERNAME"),
        ({"VITALS_BROKER": "a:1", "VITALS_KAFKA_SECURITY": "sasl_ssl"}, "needs VITALS_KAFKA_USERNAME"),
        ({**LOGIN, "VITALS_BROKER": "a:1", "VITALS_KAFKA_PASSWORD_FILE": "f"}, "not both"),
        ({**LOGIN, "VITALS_BROKER": "a:1", "VITALS_KAFKA_CERTIFICATE": "c"}, "go together"),
        ({**LOGIN, "VITALS_BROKER": "a:1", "VITALS_KAFKA_KEY": "k"}, "go together"),
        (
            {**LOGIN, "VITALS_BROKER": "127.0.0.1:1,kafka:1", "VITALS_KAFKA_SECURITY": "sasl_plaintext"},
            "for loopback only",
        ),
        ({"VITALS_REDIS": f"redis://u:{SECRET}@r:1/0", "VITALS_REDIS_CA": "ca.crt"}, "with rediss:// only"),
        ({"VITALS_REDIS_CA": "ca.crt"}, "with rediss:// only"),
    ],
)
def test_contradictions_are_refused(variables: Variables, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to set or unset, and no value that is a secret."""
    with pytest.raises(ConfigError) as caught:
        settings_of(monkeypatch, variables)
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["worker", "projector", "api", "doctor", "topics plan", "dlq list", "publish -"])
def test_every_command_refuses_them(command: str, vitals: Vitals) -> None:
    """With exit code 2 (doctor: 1, as of any finding), and without a traceback."""
    done = vitals(*command.split(), VITALS_BROKER="127.0.0.1:1", VITALS_KAFKA_PASSWORD=SECRET)
    assert done.returncode == (1 if command == "doctor" else 2)
    assert "plaintext logs nobody in" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "level", "told"),
    [
        ({"broker": "127.0.0.1:9092,localhost:9093"}, "OK", "plaintext"),
        ({"broker": "127.0.0.1:9092,kafka:9092"}, "WARN", "read and change everything"),
        ({"broker": "kafka:9093", "kafka_security": "ssl"}, "OK", "ssl"),
        (
            {
                "broker": "kafka:9093",
                "kafka_security": "sasl_ssl",
                "kafka_username": "vitals-operator",
                "kafka_password": SECRET,
            },
            "OK",
            "sasl_ssl as vitals-operator",
        ),
    ],
)
def test_the_doctor_judges_how_brokers_are_reached(given: dict[str, object], level: str, told: str) -> None:
    """Plain text is well on this machine only; elsewhere it is a warning with its cure; the password is not told."""
    finding = judge_security(load_settings(**given))
    assert (finding.level, told in finding.message) == (level, True)
    assert bool(finding.cure) == (level == "WARN")
    assert SECRET not in repr(finding)


def test_a_password_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the settings, by the cluster that knows it, by Faust's credentials, nor by an error about it."""
    settings = settings_of(monkeypatch, {**LOGIN, "VITALS_BROKER": "kafka:9093"})
    bootstrap = resolve_bootstrap(settings)
    told = [repr(settings), str(settings), settings.model_dump_json(), repr(bootstrap), f"{bootstrap}"]
    told.append(repr(credentials(bootstrap)))
    assert not [text for text in told if SECRET in text]
    assert client_options(bootstrap)["sasl_plain_password"] == SECRET
    monkeypatch.delenv("VITALS_KAFKA_PASSWORD")
    file = tmp_path / "vitals.yaml"
    for line in (f"kafka_password: [{SECRET}]", f"kafka_pasword: {SECRET}", f"redis: [{SECRET}]"):
        file.write_text(f"{line}\n")
        with pytest.raises(ConfigError) as caught:
            settings_of(monkeypatch, {"VITALS_CONFIG": str(file)})
        assert SECRET not in str(caught.value)


def test_passwords_of_redis_are_never_told() -> None:
    """Whatever they look like, and wherever in the address they stand."""
    for url in (f"rediss://u:{SECRET}@r:1/0", f"rediss://u:a/@{SECRET}@r:1", f"redis://r:1/0?password={SECRET}@x"):
        assert SECRET not in hidden(url)
        assert "r:1" in hidden(url)


def test_the_way_is_the_same_for_every_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust is given what aiokafka's clients are given, for every security; plain addresses have none."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    common = {"VITALS_BROKER": "127.0.0.1:9093", "VITALS_KAFKA_CA": str(tmp_path / "ca.crt")}
    options = client_options(resolve_bootstrap(settings_of(monkeypatch, {**common, **LOGIN})))
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_context"].get_ca_certs()
    assert options["ssl_context"].check_hostname
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "u")
    given: Any = credentials(resolve_bootstrap(load_settings()))
    assert (given.protocol.value, given.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (given.username, given.password) == ("u", SECRET)
    assert given.ssl_context.get_ca_certs() == options["ssl_context"].get_ca_certs()
    for name in LOGIN:
        monkeypatch.delenv(name)
    given = credentials(resolve_bootstrap(settings_of(monkeypatch, {"VITALS_KAFKA_SECURITY": "ssl"})))
    assert given.protocol.value == "SSL"
    assert given.context.get_ca_certs() == options["ssl_context"].get_ca_certs()
    assert client_options("a:1") == {"bootstrap_servers": "a:1"}
    assert credentials("a:1") is None


def test_a_changed_password_file_is_read_anew(tmp_path: Path) -> None:
    """The next client has the new password; a line end behind it is not of it."""
    file = tmp_path / "password"
    settings = load_settings(
        broker="kafka:9093", kafka_security="sasl_ssl", kafka_username="u", kafka_password_file=file
    )
    for password in ("one", " two "):
        file.write_text(f"{password}\n")
        assert client_options(SecuredBrokers(settings))["sasl_plain_password"] == password


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_password_file_without_a_password_is_named(content: bytes | None, tmp_path: Path) -> None:
    """Missing, empty or no text: the error says so."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    settings = load_settings(
        broker="kafka:9093", kafka_security="sasl_ssl", kafka_username="u", kafka_password_file=file
    )
    with pytest.raises(ConfigError, match="VITALS_KAFKA_PASSWORD_FILE"):
        client_options(SecuredBrokers(settings))


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Missing, no PEM, an encrypted key or one of another certificate: one line, before any connection."""
    ca = trustme.CA()
    one, other = (make_identity(ca, tmp_path, name) for name in ("one", "other"))
    locked, empty = tmp_path / "locked.key", tmp_path / "empty.crt"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    empty.write_text("no certificate\n")
    wrong: list[tuple[dict[str, object], str]] = [
        ({"kafka_ca": tmp_path / "none.crt"}, "VITALS_KAFKA_CA: .*No such file"),
        ({"kafka_ca": empty}, "VITALS_KAFKA_CA: .*no such PEM"),
        ({"kafka_certificate": one.certificate, "kafka_key": locked}, "VITALS_KAFKA_KEY: .*cannot be used"),
        ({"kafka_certificate": one.certificate, "kafka_key": other.key}, "VITALS_KAFKA_KEY: .*MISMATCH"),
        ({"kafka_certificate": tmp_path / "none.crt", "kafka_key": one.key}, "VITALS_KAFKA_KEY: .*No such file"),
    ]
    for given, told in wrong:
        with pytest.raises(ConfigError, match=told):
            client_options(SecuredBrokers(load_settings(broker="kafka:9093", kafka_security="ssl", **given)))
    with pytest.raises(ConfigError, match=r"VITALS_REDIS_CA: .*no such PEM"):
        resolve_redis(load_settings(redis="rediss://r:1/0", redis_ca=empty))


def test_the_client_never_logs_what_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent, logins too, would stand in its log at debug; our processes never let it."""
    from service.cli.process_log import set_up_logging  # noqa: PLC0415 - beside what it changes

    client = logging.getLogger("aiokafka")
    monkeypatch.setattr(client, "level", client.level)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    set_up_logging(load_settings(log_level="debug"))
    assert client.getEffectiveLevel() >= logging.WARNING
