"""The sizes and habits that keep the project readable, held by a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
SOURCES = [
    path
    for folder in ("schemas", "service", "agents", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def name_of(path: Path) -> str:
    """Name a file in a test's id."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_fit_on_a_screen(path: Path) -> None:
    """No file has more than 400 lines, no function more than 60."""
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not too_long


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text().strip()], ids=name_of)
def test_modules_open_with_their_rule(path: Path) -> None:
    """Every module that holds code has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_importing_the_project_opens_nothing() -> None:
    """Importing the composition root and the command line starts no thread, reads no setting and opens no socket."""
    code = (
        "import socket, threading\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refuse\n"
        "import agents.app, service.cli.main\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"VITALS_BROKER": "::"})
