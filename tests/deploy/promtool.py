"""Prometheus' own checker, of one version: built from its module by the Go toolchain, then kept.

`python -m tests.deploy.promtool` builds it, which `make deploy-check` does first. Tests build nothing: that takes
minutes of every processor, beside tests that have limits of time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
VERSION: Final = "v0.316.0"  # of the module: Prometheus 3.16.0
MODULE: Final = f"github.com/prometheus/prometheus/cmd/promtool@{VERSION}"
KEPT: Final = ROOT / ".vitals" / "tools" / f"promtool-{VERSION}"
BUILD_SECONDS_MAX: Final = 1800


class NoPromtool(Exception):  # noqa: N818 - it tells what is missing, and is always caught
    """It is not there and cannot be built here."""


def promtool() -> Path:
    """Return the path of promtool; raises NoPromtool when it is not built."""
    if not KEPT.exists():
        raise NoPromtool(f"promtool {VERSION} is not built: `make deploy-check` does it")
    return KEPT


def build() -> Path:
    """Build promtool unless it is there, and return its path; raises NoPromtool."""
    if KEPT.exists():
        return KEPT
    go = shutil.which("go")
    if go is None:
        raise NoPromtool(f"no Go toolchain to build promtool {VERSION} with")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT.parent) as folder:
        built = subprocess.run(
            [go, "install", MODULE],
            env={**os.environ, "GOBIN": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS_MAX,
            check=False,
        )
        if built.returncode:
            raise NoPromtool(f"promtool {VERSION} cannot be built: {built.stderr.strip()[-300:]}")
        (Path(folder) / "promtool").replace(KEPT)
    return KEPT


def run_promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool in the folder of the rules; raises NoPromtool."""
    return subprocess.run(
        [str(promtool()), *arguments],
        input=given,
        cwd=ROOT / "deploy" / "prometheus",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


if __name__ == "__main__":
    try:
        sys.stderr.write(f"{build()}\n")
    except NoPromtool as missing:
        sys.exit(str(missing))
