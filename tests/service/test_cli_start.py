"""Ctrl-C at any moment of a command's start ends it without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED_AT = """
import builtins, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
imported = builtins.__import__
def import_slowly(name, *rest, **more):
    if name == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
    return imported(name, *rest, **more)
builtins.__import__ = import_slowly
from service.cli.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "service.settings"])
def test_ctrl_c_during_the_imports_is_quiet(module: str) -> None:
    """The first is imported by the command line itself, the second by a subcommand's module."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT.format(module=module)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in {-2, 130}
    assert done.stderr == ""


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """As a shell tells of any command whose pipe was closed, quietly."""
    command = (
        f"set -o pipefail; {sys.executable} -m service.cli.main simulate --accounts 50 --days 90 --seed 1 | head -2"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 2)
