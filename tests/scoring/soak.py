"""`make soak`: the laws on 100,000 new cases, in rounds with a seed each, and the oracle on all real logins.

The fuzz of the decoder tries as many cases of its own in each round.
"""

from __future__ import annotations

import os
import subprocess
import sys

from rich.console import Console
from rich.progress import track

from tests.scoring.budget import CASES, PROFILE_VARIABLE

SOAK_CASES = 100_000
LAWS = ("tests/scoring/test_laws.py", "tests/service/test_schema_fuzz.py")
REAL = ("tests/replay/test_oracle.py",)


def run(files: tuple[str, ...], seed: int) -> int:
    """Run these tests with a seed; shows their output when they fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}", *files]
    environment = {**os.environ, PROFILE_VARIABLE: "soak"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.stdout.write(f"{done.stdout}\n{done.stderr}\nseed {seed}: run it again with {' '.join(command)}\n")
    return done.returncode


def main() -> int:
    """Run round after round until one fails; the first argument is the first seed, the second the number of rounds."""
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else SOAK_CASES // CASES
    console = Console(stderr=True)
    if run(REAL, first):
        return 1
    seeds = range(first, first + rounds)
    for seed in track(seeds, f"{rounds * CASES:,} cases", console=console, disable=not console.is_terminal):
        if run(LAWS, seed):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
