"""The jars of the Java peers and of their compiler: by Maven coordinate, each checked against the `.lock` beside them.

They lie in the same cache as the broker's and are fetched and verified by the same code.
`python -m benchmarks.peers.jars` resolves the coordinates anew and rewrites the locks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from service.adapters.kafka_artifacts import (
    DOWNLOAD_TIMEOUT_SECONDS,
    LockedJar,
    lock_artifacts,
    locked_jars,
    read_lock,
    write_lock,
)

JAVA: Final = Path(__file__).with_name("java")
FLINK: Final = "2.3.0"
JACKSON: Final = "com.fasterxml.jackson.core:jackson-databind:2.19.0"
LOG: Final = "org.slf4j:slf4j-simple:1.7.36"
ROOTS: Final[dict[str, tuple[str, ...]]] = {
    # A compiler that is itself a jar: the packaged Java runtime has none, and users need no JDK then.
    "compiler": ("org.eclipse.jdt:ecj:3.46.0",),
    "kstreams": (JACKSON, LOG, "org.apache.kafka:kafka-streams:4.3.1"),
    "flink": (
        JACKSON,
        LOG,
        f"org.apache.flink:flink-streaming-java:{FLINK}",
        f"org.apache.flink:flink-clients:{FLINK}",
        f"org.apache.flink:flink-statebackend-rocksdb:{FLINK}",
        f"org.apache.flink:flink-connector-base:{FLINK}",
        "org.apache.flink:flink-connector-kafka:5.0.0-2.2",
    ),
    "pyflink": ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",),
}


def peer_jars(name: str) -> list[Path]:
    """Return the verified jars of one peer, fetched at first use."""
    return locked_jars(read_lock(_lock(name)), f"the jars of {name}")


def _lock(name: str) -> Path:
    return JAVA / f"{name}.lock"


def resolve(coordinates: tuple[str, ...]) -> list[LockedJar]:
    """Resolve the run-time closure of coordinates and hash every jar of it."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - only this command needs it
    from jgo.parse import Coordinate  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=DOWNLOAD_TIMEOUT_SECONDS)
        newest: dict[tuple[str, str], Any] = {}
        for coordinate in coordinates:
            # One by one: resolved together, one root's bill of materials would replace the versions of another.
            group, artifact, version = coordinate.split(":")
            root = context.create_dependency(Coordinate(group, artifact, version=version, scope="compile"))
            inputs, transitive = context.resolver.resolve([root])
            for found in inputs + transitive:
                if found.scope in {"compile", "runtime"} and not found.optional:
                    # The first root that names an artifact decides, as with Maven the nearest does.
                    newest.setdefault((found.groupId, found.artifactId), found.artifact)
        return lock_artifacts(newest.values())


def main() -> None:
    """Rewrite every lock."""
    for name, coordinates in ROOTS.items():
        write_lock(_lock(name), "Made by `python -m benchmarks.peers.jars`.", resolve(coordinates))


if __name__ == "__main__":
    main()
