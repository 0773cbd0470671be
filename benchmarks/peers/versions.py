"""Which version of an engine is measured: what its lock names, so that it can be told without starting it."""

from __future__ import annotations

import re
from importlib.metadata import version

from benchmarks.peers.environment import REQUIREMENTS
from benchmarks.peers.jars import JAVA
from service.adapters.kafka_artifacts import read_lock


def own_versions(*packages: str) -> str:
    """Tell the versions of packages of Vitals' own environment."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def pinned_version(peer: str, package: str) -> str:
    """Tell the version of a package in a peer's environment."""
    text = (REQUIREMENTS / f"{peer}.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}(?:\[\w,-]+\])?==(\S+)", text, re.MULTILINE)
    return f"{package} {found[1]}" if found else package


def locked_version(peer: str, artifact: str) -> str:
    """Tell the version of a jar of a Java peer."""
    return next(f"{jar.artifact} {jar.version}" for jar in read_lock(JAVA / f"{peer}.lock") if jar.artifact == artifact)
