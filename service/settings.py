"""The one settings class: every knob, its bounds and its default.

Values come from the environment (prefix `VITALS_`), then from an optional YAML file named by `VITALS_CONFIG` that
uses the same names without the prefix. Nothing else in the project reads settings from
the environment (the embedded broker looks up the user's cache folder there).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from service.errors import ConfigError

# Variables of this prefix that other parts read: the settings file, the compiled core, the tests.
OTHER_VARIABLES = frozenset({"VITALS_CONFIG", "VITALS_PURE", "VITALS_LAWS", "VITALS_TEST_DATA"})
# Kubernetes adds these to every container beside a service whose name begins with "vitals".
_OF_SERVICES = re.compile(r"VITALS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")

_SECRETS = frozenset({"redis", "kafka_password"})
_OF_BROKERS = frozenset(
    f"kafka_{name}" for name in ("ca", "certificate", "key", "mechanism", "username", "password", "password_file")
)

Clock = Literal["wall", "event"]


def _checked_brokers(text: str) -> str:
    for address in text.split(","):
        host, _, port = address.rpartition(":")
        if not host or "/" in host or host != host.strip() or not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise ValueError("expected host:port, or several with commas between, each port from 1 to 65535")
    return text


def _checked_address(text: str) -> str:
    if "," in text:
        raise ValueError("expected one host:port")
    return _checked_brokers(text)


Brokers = Annotated[str, AfterValidator(_checked_brokers)]
Address = Annotated[str, AfterValidator(_checked_address)]


def _checked_redis(url: SecretStr) -> SecretStr:
    if not re.match(r"(rediss?|unix)://.", url.get_secret_value()):
        raise ValueError("expected redis://host:port/0, rediss://... or unix:///path")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_checked_redis)]  # may hold a password


class Settings(BaseSettings):
    """All settings of all commands."""

    model_config = SettingsConfigDict(env_prefix="VITALS_", extra="forbid", frozen=True)

    broker: Brokers | None = Field(
        default=None, description="host:port[,host:port...] of the Kafka brokers; unset: the embedded broker"
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext",
        description="how to speak with the brokers: ssl encrypts, sasl_ssl also logs in with name and password; "
        "sasl_plaintext, which encrypts nothing, on loopback only",
    )
    kafka_ca: Path | None = Field(
        default=None,
        description="PEM file of the certificates that the brokers' must be signed by; unset: those that the system "
        "trusts",
    )
    kafka_certificate: Path | None = Field(
        default=None, description="PEM file of our own certificate and its chain, for brokers that ask for one (mTLS)"
    )
    kafka_key: Path | None = Field(default=None, description="PEM file of that certificate's key, not encrypted")
    kafka_mechanism: Literal["SCRAM-SHA-512", "PLAIN"] = Field(
        default="SCRAM-SHA-512", description="how name and password are proved"
    )
    kafka_username: str | None = Field(default=None, description="name to log in with at the brokers")
    kafka_password: SecretStr | None = Field(default=None, description="its password; better in a file")
    kafka_password_file: Path | None = Field(
        default=None, description="file that holds the password, read anew whenever a client starts"
    )
    app_id: str = Field(
        default="vitals",
        pattern=r"^[A-Za-z0-9._-]{1,80}$",
        description="consumer group, and prefix of the changelog's name; one for each topic prefix",
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,80}$", description="put before every topic name; one for each app id"
    )
    home: Path = Field(
        default=Path(".vitals"),
        description="data and logs of what Vitals starts by itself (the embedded broker)",
    )
    model: Path | None = Field(
        default=None,
        description="health model file, which a worker reads again when it changes and at SIGHUP; "
        "unset: the default model of this version",
    )
    clock: Clock = Field(
        default="wall",
        description="what moves time: the wall clock, or the events' own time (replays); the same for "
        "all workers of an app id",
    )
    commit_interval_seconds: Annotated[float, Field(ge=0.05, le=30)] = Field(
        default=0.5, description="how often state is flushed and offsets are committed"
    )
    batch_max_records: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=500,
        description="most records of one partition that are handled before others get their turn",
    )
    session_timeout_seconds: Annotated[float, Field(ge=6, le=300)] = Field(
        default=10.0, description="silence after which the broker gives a worker's partitions to others"
    )
    dead_letter_ratio_max: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05,
        description="share of the last 1,000 records of a partition that may be dead letters; with more of them the "
        "worker stops. 1: no limit",
    )
    dead_letter_run_max: Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=100,
        description="dead letters in a row of a partition at which the worker stops. 0: no limit",
    )
    redis: RedisUrl | None = Field(
        default=None,
        description="redis://, rediss:// or unix:// address of the Redis (6.2 or newer) or Valkey that holds the copy "
        "of scores; unset: the embedded one",
    )
    redis_ca: Path | None = Field(
        default=None,
        description="PEM file of the certificates that the Redis' must be signed by, with rediss://; unset: those that "
        "the system trusts",
    )
    redis_prefix: str = Field(
        default="vitals:", pattern=r"^[A-Za-z0-9._-]{1,80}:$", description="put before every key in Redis"
    )
    departed_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=30, description="how long the copy keeps an account that has churned, outside lists and counts"
    )
    api_keys: Path | None = Field(
        default=None,
        description="file of hashed API keys, read again when it changes; unset: no keys, and the API listens on "
        "loopback only",
    )
    api_requests_per_second: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000, description="requests that one API key, or one address without a key, may make in a second"
    )
    metrics: Address | None = Field(
        default=None,
        description="host:port at which a worker, projector or API serves its metrics to Prometheus under /metrics; "
        "unset: nowhere",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="how workers, projectors and APIs log: lines for people, or one JSON object a line",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if cure := next(_contradictions(self), None):
            raise ConfigError(f"wrong settings: {cure}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, then the file of `VITALS_CONFIG`."""
        path = os.environ.get("VITALS_CONFIG")
        if not path:
            return init_settings, env_settings
        if not Path(path).is_file():
            raise ConfigError(f"VITALS_CONFIG names {path}, which is not a file; correct it or unset it")
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=path)


def _contradictions(settings: Settings) -> Iterator[str]:
    """Say of settings that cannot stand together what to do about them."""
    is_secured = settings.kafka_security != "plaintext" or settings.model_fields_set & _OF_BROKERS
    if settings.broker is None and is_secured:
        yield (
            "security, name, password and certificates are for brokers of VITALS_BROKER, which is unset: set it; the "
            "embedded broker is reached from this machine only and has none of them"
        )
    yield from _login_contradictions(settings)
    security, has_certificate = settings.kafka_security, settings.kafka_certificate is not None
    has_key = settings.kafka_key is not None
    if not security.endswith("ssl") and (settings.kafka_ca is not None or has_certificate or has_key):
        yield (
            f"VITALS_KAFKA_SECURITY={security} encrypts nothing, but a certificate is set: set it to ssl or sasl_ssl, "
            "or unset VITALS_KAFKA_CA, VITALS_KAFKA_CERTIFICATE and VITALS_KAFKA_KEY"
        )
    if has_certificate != has_key:
        yield "VITALS_KAFKA_CERTIFICATE and VITALS_KAFKA_KEY go together: set both, or neither"
    redis = settings.redis.get_secret_value() if settings.redis else ""
    if settings.redis_ca is not None and not redis.startswith("rediss://"):
        yield "VITALS_REDIS_CA is of use with rediss:// only: begin VITALS_REDIS with it, or unset VITALS_REDIS_CA"


def _login_contradictions(settings: Settings) -> Iterator[str]:
    security = settings.kafka_security
    given = [value is not None for value in (settings.kafka_password, settings.kafka_password_file)]
    if not security.startswith("sasl") and (any(given) or settings.kafka_username is not None):
        yield (
            f"VITALS_KAFKA_SECURITY={security} logs nobody in, but a name or password is set: set it to sasl_ssl, or "
            "unset VITALS_KAFKA_USERNAME, VITALS_KAFKA_PASSWORD and VITALS_KAFKA_PASSWORD_FILE"
        )
    if security.startswith("sasl") and not (settings.kafka_username and any(given)):
        yield (
            f"VITALS_KAFKA_SECURITY={security} needs VITALS_KAFKA_USERNAME and VITALS_KAFKA_PASSWORD_FILE (or "
            "VITALS_KAFKA_PASSWORD): set them"
        )
    if all(given):
        yield "set VITALS_KAFKA_PASSWORD or VITALS_KAFKA_PASSWORD_FILE, not both"
    if security == "sasl_plaintext" and not reaches_loopback_only(settings):
        yield "VITALS_KAFKA_SECURITY=sasl_plaintext encrypts nothing, so it is for loopback only: set it to sasl_ssl"


def reaches_loopback_only(settings: Settings) -> bool:
    """Tell whether all brokers that the settings name are on this machine."""
    return all(is_loopback(address.rpartition(":")[0]) for address in (settings.broker or "").split(","))


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_settings(**overrides: object) -> Settings:
    """Read the settings; an override of None leaves the value to the environment.

    Raises ConfigError naming each wrong setting by its environment name.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic validates them
    except ValidationError as error:
        raise ConfigError(f"wrong settings: {'; '.join(map(_explained, error.errors()))}") from None
    except (OSError, ValueError, YAMLError) as error:
        path, reason = os.environ.get("VITALS_CONFIG"), " ".join(str(error).split())
        raise ConfigError(f"{path}: expected a YAML file of settings, one `name: value` a line ({reason})") from None


def kafka_password(settings: Settings) -> str:
    """Read the password to log in with at the brokers, as it is now; raises ConfigError when there is none."""
    path = settings.kafka_password_file
    if path is None:
        password = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
    else:
        try:
            password = path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise ConfigError(f"VITALS_KAFKA_PASSWORD_FILE: {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"VITALS_KAFKA_PASSWORD_FILE: {path} holds no text") from None
    if not password:
        raise ConfigError(
            "the password of VITALS_KAFKA_USERNAME is empty: set VITALS_KAFKA_PASSWORD_FILE to a file with it"
        )
    return password


def _refuse_unknown_variables() -> None:
    known = {f"VITALS_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(map(str.upper, os.environ)):
        if name.startswith("VITALS_") and name not in known and not _OF_SERVICES.fullmatch(name):
            near = difflib.get_close_matches(name, known, 1, cutoff=0)
            raise ConfigError(f"{name} is no setting; did you mean {near[0]}? See docs/settings.md")


def _explained(fault: ErrorDetails) -> str:
    name = "_".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"{os.environ.get('VITALS_CONFIG')} sets {name!r}, which is no setting; the settings are: {known}"
    reason = fault["msg"].removeprefix("Value error, ")
    given = "a value that is not shown" if name in _SECRETS else repr(fault.get("input"))
    return f"{name} (VITALS_{name.upper()}): {reason} (got {given})"
