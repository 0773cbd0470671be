"""The worker's command without its guards: no watchdog, nobody who looks at the brokers, no breaker.

Only `benchmarks.guards` starts it, to tell what they cost. What it changes is patched from here, never in the product.
"""

from __future__ import annotations

import asyncio

from agents.breaker import Breaker
from agents.runtime.sight import BrokerView, Lookout
from agents.runtime.watchdog import Watchdog
from service.cli.main import main as cli
from tests.chaos.patching import patch


async def rest(*_: object) -> None:
    """Do nothing, for ever."""
    await asyncio.Event().wait()


def main() -> None:
    """Take the guards away, then run the command line."""
    patch(Watchdog, "start", lambda _: None)
    patch(Watchdog, "end_if_paused", lambda _: None)
    patch(Lookout, "tell_forever", rest)
    patch(BrokerView, "look_at_topics_forever", rest)
    patch(BrokerView, "look_at_ends_forever", rest)
    patch(Breaker, "begin", lambda *_: None)
    cli()


if __name__ == "__main__":
    main()
