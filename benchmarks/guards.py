"""`python -m benchmarks.guards [--rounds N] [--events N] [--json]`: what the worker's guards cost.

Guards are the watchdog, the look at the brokers and the breaker.
"""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.in_turns import Comparison, Variant, main

COMPARISON: Final = Comparison(
    thing="guards",
    having=Variant("guarded"),
    lacking=Variant("unguarded", module="benchmarks.unguarded_worker"),
    goal_share=0.9,
)

if __name__ == "__main__":
    sys.exit(main(COMPARISON, "benchmarks.guards"))
