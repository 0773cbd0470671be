"""The log of the commands that run until they are stopped: of the libraries only what is worth a person's time.

The brokers' client says the same sentence dozens of times a second while the brokers are away. Each is told once, and
again when it is still said after a while. Whatever a library writes, a secret of the settings is not in the log.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, unquote

from pydantic import SecretStr
from pythonjsonlogger.orjson import OrjsonFormatter

from service.errors import ConfigError
from service.settings import Settings, kafka_password

REPEAT_SECONDS = 10.0
# More texts than these in so short a time are not kept apart any more.
KEPT_TEXTS = 1_000
CLIENT = "aiokafka"
GROUP = "aiokafka.consumer.group_coordinator"


class Repeats(logging.Filter):
    """Lets a text of the brokers' client pass when the same did not for ten seconds.

    Warnings about the group pass: each tells of a step of its own in a rebalance.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told_seconds: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        is_step = record.name == GROUP and record.levelno < logging.ERROR
        if is_step or record.name.partition(".")[0] != CLIENT:
            return True
        text = record.getMessage()
        if record.created - self._told_seconds.get(text, 0.0) < REPEAT_SECONDS:
            return False
        if len(self._told_seconds) >= KEPT_TEXTS:
            self._told_seconds.clear()
        self._told_seconds[text] = record.created
        return True


class Redacted(logging.Formatter):
    """Formats as another formatter does, and blacks out secrets: also those in a message or stack of a library."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


def secrets_of(settings: Settings) -> set[str]:
    """Return every secret of the settings as it could be written; of a URL its password, as written and as meant."""
    found: set[str] = set()
    for value in (getattr(settings, name) for name in Settings.model_fields):
        if isinstance(value, SecretStr):
            found.update(_passwords(value.get_secret_value()))
    with suppress(ConfigError):  # there is none, or one that cannot be read, which whoever needs it says
        found.add(kafka_password(settings))
    return found - {""}


def _passwords(secret: str) -> Iterator[str]:
    before, _, options = secret.partition("?")
    _, is_url, rest = before.partition("://")
    if not is_url:
        yield secret
        return
    password = rest.rpartition("@")[0].partition(":")[2]
    yield from (password, unquote(password), *parse_qs(options).get("password", ()))


def formatter(settings: Settings) -> logging.Formatter:
    """Make the formatter of the settings: lines for people, or one JSON object a line."""
    if settings.log_format == "json":
        fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        made: logging.Formatter = OrjsonFormatter(fields, rename_fields=names, datefmt="%Y-%m-%dT%H:%M:%S%z")
    else:
        made = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    return Redacted(made, secrets_of(settings))


def set_up_logging(settings: Settings) -> None:
    """Log to stderr, one line each; the libraries only from warnings on, and not that a busy loop's timers slip."""
    level = settings.log_level.upper()
    logging.basicConfig(level=level, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter(settings))
        handler.addFilter(Repeats())
    for name in (CLIENT, "faust", "mode"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger("mode.timers").setLevel(logging.ERROR)
    # A broker's first group has to wait for its coordinator; the client tries again by itself.
    coordinator = logging.getLogger(GROUP)
    coordinator.addFilter(lambda record: "GroupCoordinatorNotAvailable" not in record.getMessage())


@contextmanager
def client_muted() -> Iterator[None]:
    """Log nothing that the brokers' client says: what fails in the block is an error of ours, in one line."""
    client = logging.getLogger(CLIENT)
    before = client.level
    client.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.setLevel(before)
