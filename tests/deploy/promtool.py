"""Prometheus' own checker, as Debian packages it; `tests/deploy/tools.sh` installs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "vitals.rules.yml"


def run_promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool in the folder of the rules."""
    return subprocess.run(
        ["promtool", *arguments],
        input=given,
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def has_promtool() -> bool:
    """Return whether it is installed."""
    return shutil.which("promtool") is not None
