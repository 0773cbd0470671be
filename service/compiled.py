"""The scoring core as machine code: built by `python -m service.compiled`, taken only while it is what was built.

`service/scoring` stays plain Python to read, debug and test. mypyc makes extension modules of it in `_compiled` beside
the sources, and `service/scoring/__init__.py` puts that folder in front of its path. An edited source, another release
of Python, or VITALS_PURE=1 means plain Python, so that nothing stale is ever run. Only building needs mypyc and a
compiler. Why, and what it gains: docs/decisions/0013-compiled-core.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

SCORING: Final = Path(__file__).with_name("scoring")
FOLDER: Final = SCORING / "_compiled"
PURE_VARIABLE: Final = "VITALS_PURE"
_STAMP: Final = FOLDER / "sources.sha256"
# Made or read at every event by plain Python, to which an object of a compiled class costs more.
_LEFT_PLAIN: Final = frozenset({"__init__.py", "events.py", "views.py", "state_codec_v1.py"})


def compiled_folder() -> Path | None:
    """Give the folder of the compiled core; None when there is none for these sources, or it is not wanted."""
    if os.environ.get(PURE_VARIABLE, "") not in {"", "0"}:
        return None
    try:
        return FOLDER if _STAMP.read_text(encoding="ascii") == _digest() else None
    except OSError:
        return None


def build() -> bool:
    """Build the core anew; False, with one line of warning, when this machine cannot."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    digest = _digest()
    with tempfile.TemporaryDirectory(prefix="vitals-compile-") as folder:
        work = Path(folder)
        shutil.copytree(SCORING.parent / "scoring", work / "service" / "scoring")
        shutil.copy(SCORING.with_name("errors.py"), work / "service")
        (work / "service" / "__init__.py").touch()
        (work / "service" / "scoring" / "__init__.py").write_text("", encoding="ascii")
        done = subprocess.run(  # noqa: S603  # this interpreter, with nothing from outside
            [sys.executable, "-c", _SETUP, *(f"service/scoring/{source.name}" for source in _sources())],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        built = sorted((work / "built").glob("service/scoring/*.so"))
        if done.returncode or not built:
            reason = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            print(f"warning: the scoring core runs as plain Python, about half as fast: {reason}", file=sys.stderr)  # noqa: T201
            return False
        FOLDER.mkdir()
        for module in built:
            shutil.copy(module, FOLDER)
    _STAMP.write_text(digest, encoding="ascii")
    return True


_SETUP: Final = """
import sys
from setuptools import setup
from mypyc.build import mypycify
sources = sys.argv[1:]
modules = mypycify(["--strict", *sources], opt_level="3", debug_level="0", group_name="service.scoring.core")
setup(name="core", ext_modules=modules, packages=[], script_args=["-q", "build_ext", "--build-lib", "built"])
"""


def _sources() -> list[Path]:
    return sorted(source for source in SCORING.glob("*.py") if source.name not in _LEFT_PLAIN)


def _digest() -> str:
    """Digest what the built modules depend on."""
    digest = sha256(sys.version.encode())
    for source in sorted(SCORING.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    build()
