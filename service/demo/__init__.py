"""The demo: a broker, a worker and a simulated stream of its own, started together and stopped together.

What is shown and printed is the command's business; how the parts are run and what is known about them is here. The
worker is started as its users start it, by the command line in a process of its own.
"""

from __future__ import annotations

from service.demo.board import Board
from service.demo.run import Reporter, run_demo

__all__ = ["Board", "Reporter", "run_demo"]
