"""Whose data lies in a broker's folder: data of another cluster, or of a newer Kafka, is refused before a start.

Kafka reads the data of older releases and stops with a stack at that of newer ones. Its own word about the cluster is
the `meta.properties` beside the data.
"""

from __future__ import annotations

from pathlib import Path

from service.errors import ConfigError


def refuse_newer_kafka(data: Path, stored: str, ours: str) -> None:
    """Raise ConfigError when the data was last used by a newer Kafka than ours."""
    if _numbers(stored) > _numbers(ours):
        raise ConfigError(
            f"the data in {data} is of Kafka {stored}, and this release runs {ours}, which cannot read it: use a newer "
            "release of Vitals, or name another folder with --data"
        )


def stored_cluster_id(data: Path, told: str | None) -> str | None:
    """Return the cluster that the data is of, None when there is none yet.

    `told` is the id that is stored beside it. Raises ConfigError when the data is of several clusters, or of another.
    """
    found = {path: _cluster_id(path) for path in sorted(data.glob("broker-*/meta.properties"))}
    wanted = told or next(iter(found.values()), None)
    for path, cluster_id in found.items():
        if cluster_id != wanted:
            raise ConfigError(
                f"{path.parent} is of cluster {cluster_id}, and {data} is of {wanted}: put back what belongs "
                "here, or name another one with --data"
            )
    return wanted


def _cluster_id(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), "unknown")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]
