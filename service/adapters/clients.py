"""What all clients of Kafka share: how they reach and trust brokers, how partitions are named, and their errors.

A cluster is the text of its brokers' addresses; with `SecuredBrokers` it also knows how to speak with them. Every
client, Faust's own too, gets its options from `client_options`, which reads certificates and password anew each time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from service.errors import ConfigError, DependencyError, NotAllowedError
from service.settings import Settings, kafka_password

REQUEST_TIMEOUT_MS = 10_000
REASON_TIMEOUT_MS = 2_000

NOT_ALLOWED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
"""What the client raises for something that the brokers' ACLs do not allow."""

Partition: TypeAlias = tuple[str, int]
"""A topic's name and a partition number."""


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, whatever its fetches are at; raises the client's own errors only."""
    await end_fetches(consumer)
    await consumer.stop()


async def end_fetches(consumer: AIOKafkaConsumer) -> None:
    """End what a consumer fetches, before it is stopped.

    aiokafka's stop raises the cancellation of a fetch that waits after brokers did not answer. Nobody asked for that
    CancelledError; it would end its caller without a word, and leave the client open.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public ends them
    if fetcher is not None:
        fetches = [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        fetcher._pending_tasks.clear()  # noqa: SLF001


class SecuredBrokers(str):
    """Addresses of brokers that are spoken with as the settings say; plain text of addresses means without security."""

    settings: Settings

    def __new__(cls, settings: Settings) -> SecuredBrokers:
        """Take the addresses, and the way to speak with them, from the settings."""
        made = super().__new__(cls, settings.broker or "")
        made.settings = settings
        return made


def client_options(bootstrap: str) -> dict[str, Any]:
    """Make the options with which any client of aiokafka reaches these brokers.

    Raises ConfigError for a certificate, key or password that cannot be read.
    """
    options: dict[str, Any] = {"bootstrap_servers": str(bootstrap)}
    if not isinstance(bootstrap, SecuredBrokers):
        return options
    settings = bootstrap.settings
    options["security_protocol"] = settings.kafka_security.upper()
    if settings.kafka_security.endswith("ssl"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security.startswith("sasl"):
        options["sasl_mechanism"] = settings.kafka_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = kafka_password(settings)
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca)
    except OSError as error:
        raise _unusable("VITALS_KAFKA_CA", settings.kafka_ca, error) from None
    if settings.kafka_certificate is not None:
        try:
            # Without a password of its own, OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_key, password="")
        except OSError as error:
            files = f"{settings.kafka_certificate} with {settings.kafka_key}"
            raise _unusable("VITALS_KAFKA_CERTIFICATE with VITALS_KAFKA_KEY", files, error) from None
    return context


def _unusable(names: str, files: Path | str | None, error: OSError) -> ConfigError:
    reason = error.strerror if not isinstance(error, ssl.SSLError) else f"no such PEM ({error.reason or error})"
    return ConfigError(f"{names}: {files} cannot be used: {reason}; see docs/security.md")


@asynccontextmanager
async def errors_named(bootstrap: str) -> AsyncIterator[None]:
    """Turn errors of the client into a DependencyError that names the cluster."""
    try:
        yield
    except NOT_ALLOWED as error:
        raise not_allowed(bootstrap, error) from error
    except KafkaConnectionError as error:
        if reason := await _refusal(bootstrap):
            raise DependencyError(f"no Kafka answers at {bootstrap}: {reason}") from error
        raise DependencyError(
            f"no Kafka answers at {bootstrap}: correct VITALS_BROKER, or see `vitals kafka status` for the embedded one"
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise DependencyError(f"Kafka at {bootstrap} failed: {reason}; see its log") from error


def not_allowed(bootstrap: str, error: KafkaError) -> NotAllowedError:
    """Say what the brokers do not let this user do, and what to do about it."""
    return NotAllowedError(
        f"Kafka at {bootstrap} does not allow this to {_who(bootstrap)} ({' '.join(str(error).split())}): give it the "
        "rights of its role, see `vitals topics acls`"
    )


def _who(bootstrap: str) -> str:
    settings = bootstrap.settings if isinstance(bootstrap, SecuredBrokers) else None
    if settings is None or (settings.kafka_username is None and settings.kafka_certificate is None):
        return "a client without a name"
    return f"user {settings.kafka_username}" if settings.kafka_username else "the owner of VITALS_KAFKA_CERTIFICATE"


async def _refusal(bootstrap: str) -> str | None:
    """Connect once more to say what is refused, which aiokafka tells only its log; None when nobody answers."""
    options = client_options(bootstrap)
    hosts = collect_hosts(options.pop("bootstrap_servers"), randomize=False)
    reasons = await asyncio.gather(*(_reason(host, port, options) for host, port, _ in hosts))
    return next(filter(None, reasons), None)


async def _reason(host: str, port: int, options: dict[str, Any]) -> str | None:
    try:
        connection = await create_conn(host, port, request_timeout_ms=REASON_TIMEOUT_MS, **options)
    except (KafkaError, OSError, TimeoutError) as error:
        return _told(error)
    connection.close()
    return None


def _told(error: BaseException) -> str | None:
    if isinstance(error, SaslAuthenticationFailed):
        return "it refuses the name or the password: correct VITALS_KAFKA_USERNAME or VITALS_KAFKA_PASSWORD_FILE"
    if isinstance(error, UnsupportedSaslMechanismError):
        return "it does not offer the mechanism: correct VITALS_KAFKA_MECHANISM"
    cause = error.__cause__ if isinstance(error, KafkaConnectionError) else error
    if isinstance(cause, ssl.SSLError):
        return _told_of_tls(cause)
    if isinstance(error, KafkaConnectionError):
        return "it ends the connection at once: it is starting, or VITALS_KAFKA_SECURITY is not that of its listener"
    return None


def _told_of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message}): correct VITALS_KAFKA_CA, or its certificate"
    reason = error.reason or str(error)
    if "ALERT" in reason:
        return f"it refuses our certificate ({reason}): correct VITALS_KAFKA_CERTIFICATE and VITALS_KAFKA_KEY"
    return f"TLS fails ({reason}): VITALS_KAFKA_SECURITY must be that of the listener at this port"
