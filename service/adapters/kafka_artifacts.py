"""The jars of Apache Kafka: fetched by Maven coordinate into the user's cache, each checked against `kafka.lock`.

A jar whose SHA-256 is not the locked one is never handed out, whether it was just fetched or lay in the cache.
`python -m service.adapters.kafka_artifacts [VERSION]` resolves the coordinates anew and rewrites the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.errors import DependencyError

LOCK_PATH = Path(__file__).with_name("kafka.lock")
KAFKA_PROJECT = ("org.apache.kafka", "kafka_2.13")
# Kafka logs through SLF4J 1.7 and ships Log4j 2, but its coordinate does not bring the piece that joins them.
LOG_BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
DOWNLOAD_THREADS = 6
DOWNLOAD_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """The Maven coordinate."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """The name in the cache; with the group, as two groups may use one artifact name."""
        return f"{self.group}.{self.artifact}-{self.version}.jar"


def read_lock(path: Path = LOCK_PATH) -> list[LockedJar]:
    """Read the lock: lines of `group:artifact:version sha256`, `#` starts a comment line."""
    jars = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        coordinate, _, sha256 = line.partition(" ")
        parts = coordinate.split(":")
        if len(parts) != 3 or len(sha256) != 64:
            raise DependencyError(f"{path}:{number}: want `group:artifact:version sha256`, got {line!r}")
        jars.append(LockedJar(parts[0], parts[1], parts[2], sha256))
    return jars


def kafka_version() -> str:
    """Return the version of Kafka that the lock names."""
    return next(jar.version for jar in read_lock() if (jar.group, jar.artifact) == KAFKA_PROJECT)


def cache_dir() -> Path:
    """Return the directory of the jars, by the XDG base directory convention."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vitals" / "jars"


def kafka_jars() -> list[Path]:
    """Return the paths of all jars of Kafka; see `locked_jars`."""
    return locked_jars(read_lock(), f"Apache Kafka {kafka_version()} (45 MB)")


def locked_jars(jars: list[LockedJar], title: str) -> list[Path]:
    """Return the paths of the jars, fetched if need be and each verified; safe to call from many processes.

    Raises DependencyError when a jar cannot be fetched or is not the locked one.
    """
    cache = cache_dir()
    try:
        missing = _missing(jars, cache)
        if missing:
            cache.mkdir(parents=True, exist_ok=True)
            with _only_one(cache / ".lock"):
                # Another process may have fetched them while this one waited.
                _fetch_all(_missing(jars, cache), cache, title)
        for jar in jars:
            _verify(jar, cache / jar.file_name)
    except OSError as error:
        raise DependencyError(f"the jar cache {cache} cannot be used: {error.strerror or error}") from error
    return [cache / jar.file_name for jar in jars]


def _missing(jars: list[LockedJar], cache: Path) -> list[LockedJar]:
    return [jar for jar in jars if not (cache / jar.file_name).exists()]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed by the system if this process dies
        yield


def _verify(jar: LockedJar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise DependencyError(
            f"{path} is not the locked {jar.coordinate} (SHA-256 {found[:12]}..., want {jar.sha256[:12]}...): "
            "delete the file and run again"
        )


def _fetch_all(jars: list[LockedJar], cache: Path, title: str) -> None:
    if not jars:
        return
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.print(f"fetching {title}: {len(jars)} jars into {cache}", soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jars"))
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch,
        ThreadPoolExecutor(DOWNLOAD_THREADS) as pool,
    ):
        task = progress.add_task(f"fetching {title}", total=len(jars))
        try:
            for _ in pool.map(lambda jar: _fetch(jar, Path(scratch), cache), jars):
                progress.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(jar: LockedJar, scratch: Path, cache: Path) -> None:
    # Here, as it costs half a second and most starts find every jar in the cache.
    from jgo.maven import MavenContext  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    context = MavenContext(repo_cache=scratch, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    try:
        fetched = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (RequestException, RuntimeError, AssertionError) as error:
        reason = type(error).__name__ if isinstance(error, RequestException) else str(error).splitlines()[0]
        raise DependencyError(
            f"cannot fetch {jar.coordinate}: {reason}; check the network (HTTPS_PROXY if you need one) and run again"
        ) from error
    _verify(jar, fetched)
    fetched.replace(cache / jar.file_name)  # in one step: no process ever sees half a jar


def resolve_lock(version: str) -> list[LockedJar]:
    """Resolve the run-time closure of a Kafka version and hash every jar of it."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - as above
    from jgo.parse import Coordinate  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=DOWNLOAD_TIMEOUT_SECONDS)
        root = context.create_dependency(Coordinate(*KAFKA_PROJECT, version=version, scope="compile"))
        # By itself: resolved together, the binding's own bill of materials would replace Kafka's versions.
        inputs, transitive = context.resolver.resolve([root])
        artifacts = [found.artifact for found in inputs + transitive if found.scope in {"compile", "runtime"}]
        log4j_version = next(found.version for found in artifacts if found.artifactId == "log4j-core")
        artifacts.append(context.project(*LOG_BINDING).at_version(log4j_version).artifact())
        return lock_artifacts(artifacts)


def lock_artifacts(artifacts: Iterable[Any]) -> list[LockedJar]:
    """Fetch resolved artifacts and hash each, in the order of their coordinates."""
    locked = (
        LockedJar(
            found.groupId, found.artifactId, found.version, hashlib.sha256(found.resolve().read_bytes()).hexdigest()
        )
        for found in artifacts
    )
    return sorted(locked, key=lambda jar: jar.coordinate)


def write_lock(path: Path, header: str, jars: Iterable[LockedJar]) -> None:
    """Write a lock that `read_lock` reads; `header` says what it is and how it is made."""
    lines = [f"{jar.coordinate} {jar.sha256}" for jar in jars]
    path.write_text("\n".join([f"# {header}", *lines, ""]), encoding="utf-8")


def main() -> None:
    """Rewrite the lock for the version given, or for the version it names."""
    version = sys.argv[1] if len(sys.argv) > 1 else kafka_version()
    made_by = "Made by `python -m service.adapters.kafka_artifacts [VERSION]`."
    write_lock(LOCK_PATH, f"Apache Kafka and all it needs at run time. {made_by}", resolve_lock(version))


if __name__ == "__main__":
    main()
