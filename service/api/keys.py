"""API keys: who may do what. A key is shown once, when it is made; the file holds its hash.

A key is 256 random bits, so one round of SHA-256 keeps it: there is no dictionary to try. Hashes are compared in
constant time, also for an id that nobody has. The file is read again when it changed, so keys are rotated while the
API runs: add the new one, move its users, remove the old one.
"""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigError, InputError

Role = Literal["read", "act", "admin"]
ROLES: Final[tuple[Role, ...]] = ("read", "act", "admin")
RELOAD_SECONDS: Final = 1.0
_NOBODY: Final = sha256(b"").hexdigest()

log = logging.getLogger(__name__)


class ApiKey(BaseModel):
    """One key as stored; times are epoch seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    expires_at: int | None = None

    def may(self, role: Role) -> bool:
        """Tell whether the key's role is at least this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []


class KeyRing:
    """The keys of a file, as it stands now."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Read the file; raises ConfigError when it cannot be read."""
        self._path = path
        self._clock = clock
        self._looked_at = time.monotonic()
        self._stamp = _stamp(path)
        self._keys = {key.id: key for key in read_keys(path)}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, token: str) -> ApiKey | None:
        """Return the key that a token is of; None when there is none, or it has expired."""
        self._look_again()
        _, _, rest = token.partition("_")
        key = self._keys.get(rest.partition("_")[0])
        given = sha256(token.encode("utf-8", "replace")).hexdigest()
        same = hmac.compare_digest(given, key.sha256 if key else _NOBODY)
        if key is None or not same:
            return None
        return self._in_time(key)

    def named(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, for those who have shown it before; None when it is gone or has expired."""
        self._look_again()
        key = self._keys.get(key_id)
        return None if key is None else self._in_time(key)

    def still_holds(self, key: ApiKey) -> bool:
        """Tell whether a key that was found before is still good, for requests that last."""
        self._look_again()
        return self._keys.get(key.id) == key and self._in_time(key) is not None

    def _in_time(self, key: ApiKey) -> ApiKey | None:
        return None if key.expires_at is not None and key.expires_at <= self._clock() else key

    def _look_again(self) -> None:
        if time.monotonic() - self._looked_at < RELOAD_SECONDS:
            return
        self._looked_at = time.monotonic()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
        except ConfigError as error:
            log.error("%s; the keys read before stay in force", error)  # noqa: TRY400 - the message says all
        self._stamp = stamp


def read_keys(path: Path) -> list[ApiKey]:
    """Read a file of keys; raises ConfigError."""
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it with `vitals keys add NAME`") from None
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise ConfigError(f"{path} is no file of API keys: {place}: {fault['msg']}") from None


def add_key(path: Path, name: str, role: Role, expires_at: int | None) -> str:
    """Make a key and add its hash to the file, which is made if it does not exist; return the key itself."""
    with _changed(path) as keys:
        key_id = secrets.token_hex(4)
        token = f"vitals_{key_id}_{secrets.token_urlsafe(32)}"
        hashed = sha256(token.encode()).hexdigest()
        try:
            keys.append(ApiKey(id=key_id, name=name, role=role, sha256=hashed, expires_at=expires_at))
        except ValidationError:
            raise InputError(f"{name!r} is no name for a key: up to 100 characters, none of control") from None
    return token


def remove_key(path: Path, key_id: str) -> None:
    """Remove a key from the file; raises InputError for one that it does not hold."""
    with _changed(path) as keys:
        left = [key for key in keys if key.id != key_id]
        if len(left) == len(keys):
            raise InputError(f"{path} has no key {key_id!r}; `vitals keys list` shows them")
        keys[:] = left


@contextmanager
def _changed(path: Path) -> Iterator[list[ApiKey]]:
    """Give the keys to change and write them back at once, readable by the owner only; one command at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else []
        yield keys
        scratch = path.with_name(path.name + ".tmp")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(_KeyFile(keys=keys).model_dump_json(indent=2, exclude_none=True) + "\n")
        scratch.replace(path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
