"""The Dockerfile's instructions, run in a folder: what they build is what the image would hold, but for its packaging.

`python -m tests.deploy.image FOLDER` does it. Packages of the base system and its user are left out: both need an
image of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
PLACES: Final = ("/app", "/build", "/venv", "/dist")
OF_THE_SYSTEM: Final = ("apt-get ", "groupadd ")


class Instruction(NamedTuple):
    """One instruction with its arguments, as written."""

    name: str
    text: str


def instructions() -> Iterator[Instruction]:
    """Yield the instructions in order; a line is one, as none is continued."""
    for line in DOCKERFILE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert not line.endswith("\\"), line
            yield Instruction(*line.split(" ", 1))


def told(name: str) -> str:
    """Return the text of the last instruction of a name."""
    return [each.text for each in instructions() if each.name == name][-1]


def in_brackets(name: str) -> list[str]:
    """Return the last instruction of a name that is written as a list of words."""
    text = told(name)
    words: list[str] = json.loads(text[text.index("[") :])
    return words


def build(folder: Path) -> Path:
    """Run the first stage's COPY and RUN in a folder; return the environment that the image takes over."""
    (folder / "app").mkdir(parents=True)
    for each in instructions():
        if each.name == "COPY" and not each.text.startswith("--from"):
            _copy(folder / "app", *each.text.split())
        elif each.name == "RUN" and not each.text.startswith(OF_THE_SYSTEM):
            _run(folder, each.text)
    return folder / "venv"


def _copy(app: Path, *words: str) -> None:
    sources, target = words[:-1], words[-1]
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    for source in sources:
        assert source.split("/")[0] in allowed, f"{source} is kept away by .dockerignore"
        found = ROOT / source
        if found.is_dir():
            shutil.copytree(found, app / target, ignore=shutil.ignore_patterns("__pycache__", "_compiled"))
        else:
            (app / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(found, app / target)


def _run(folder: Path, line: str) -> None:
    for place in PLACES:
        line = line.replace(f" {place}", f" {folder}{place}")
    line = f"{folder}{line}" if line.startswith(PLACES) else line.replace("python ", f"{_base_python()} ", 1)
    done = subprocess.run(["sh", "-c", line], cwd=folder / "app", capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{line}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")


def _base_python() -> str:
    """Give the interpreter that this environment was made with."""
    return str(Path(sys.base_prefix) / "bin" / "python3.11")


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()))  # noqa: T201 - for whoever asked
