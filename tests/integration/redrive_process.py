"""A redrive that ends like a power cut: `python -m ... BROKER PREFIX POINT COUNT` kills itself at a fault point."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from service.dead_letters import Filters
from service.redrive import RedriveOptions, redrive
from service.topic_catalogue import TopicNames


def main(bootstrap: str, prefix: str, point: str, count: str) -> None:
    """Redrive everything; die when the point is reached for the so-manieth time."""
    left = int(count)

    def die(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    options = RedriveOptions(Filters(), lease_seconds=0.5, fault_point=die)
    asyncio.run(redrive(bootstrap, TopicNames(prefix=prefix), options, lambda: 2_000_000_000_000))


if __name__ == "__main__":
    main(*sys.argv[1:])
