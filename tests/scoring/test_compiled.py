"""The compiled core is the plain one: taken while it is what was built, and held to the same tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import compiled, scoring
from service.scoring import engine
from tests.architecture.test_tidy import ROOT


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a core of one module, built a moment ago."""
    source = tmp_path / "engine.py"
    source.write_text("limit = 1", encoding="ascii")
    monkeypatch.delenv(compiled.PURE_VARIABLE, raising=False)
    monkeypatch.setattr(compiled, "SCORING", tmp_path)
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "_compiled")
    monkeypatch.setattr(compiled, "_STAMP", tmp_path / "_compiled" / "sources.sha256")
    compiled.FOLDER.mkdir()
    compiled._STAMP.write_text(compiled._digest(), encoding="ascii")
    return source


def test_an_edited_source_runs_as_plain_python(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built is taken as long as the sources are the same and plain Python is not asked for."""
    assert compiled.compiled_folder() == compiled.FOLDER
    monkeypatch.setenv(compiled.PURE_VARIABLE, "1")
    assert compiled.compiled_folder() is None
    monkeypatch.setenv(compiled.PURE_VARIABLE, "0")
    assert compiled.compiled_folder() == compiled.FOLDER
    core.write_text("limit = 2", encoding="ascii")
    assert compiled.compiled_folder() is None


def test_a_failed_build_is_one_warning(
    core: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a compiler there is one line with the reason, nothing is left of an earlier build, and nobody fails."""
    (core.parent / "errors.py").touch()
    monkeypatch.setattr(compiled, "SCORING", core.parent / "scoring")
    core.rename(core.parent / "scoring.tmp")
    (core.parent / "scoring").mkdir()
    (core.parent / "scoring.tmp").rename(core.parent / "scoring" / "engine.py")
    monkeypatch.setattr(compiled, "_SETUP", "raise SystemExit('no compiler here')")
    assert not compiled.build()
    assert capsys.readouterr().err.splitlines() == [
        "warning: the scoring core runs as plain Python, about half as fast: no compiler here"
    ]
    assert compiled.compiled_folder() is None


def test_what_runs_is_what_it_says() -> None:
    """`IS_COMPILED` tells whether the modules are machine code."""
    assert (Path(engine.__file__).suffix == ".so") == scoring.IS_COMPILED


@pytest.mark.slow
@pytest.mark.skipif(not scoring.IS_COMPILED, reason="the core is plain Python here, so the other tests ran against it")
def test_plain_python_passes_the_same_tests() -> None:
    """The tests of the core, and the seeded bugs that only plain Python takes, pass without the built modules."""
    environment = {**os.environ, compiled.PURE_VARIABLE: "1"}
    command = [sys.executable, "-m", "pytest", "-q", "tests/scoring", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:]
