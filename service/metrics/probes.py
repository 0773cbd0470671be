"""Whether a process works: `/livez` and `/readyz` beside its metrics, for whoever starts and restarts processes.

Live is a process whose event loop answers, whether brokers or Redis do or not: a restart brings neither back. Ready is
one that does its work and is not far behind; why it is not stands in the answer, a reason a line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from service.metrics.in_loop import read_in_loop

LIVE, READY = "/livez", "/readyz"
STATUS: Final = {True: "200 OK", False: "503 Service Unavailable"}
TEXT: Final = (("Content-Type", "text/plain; charset=utf-8"),)

WsgiApp = Callable[[Any, Any], Any]


def _starting() -> Iterable[str]:
    return ("starting",)


@dataclass(slots=True)
class Health:
    """What keeps a process from being ready, asked in its loop; whoever knows sets it."""

    unready: Callable[[], Iterable[str]] = field(default=_starting)


def with_probes(metrics: WsgiApp, health: Health, loop: asyncio.AbstractEventLoop) -> WsgiApp:
    """Answer both probes, and leave every other path to the metrics."""

    def answer(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path not in (LIVE, READY):
            return metrics(environ, start_response)
        asked = health.unready if path == READY else tuple
        try:
            reasons = read_in_loop(loop, lambda: list(asked()))
            good = not reasons
        except TimeoutError:
            reasons, good = ["the event loop does not answer"], False
        start_response(STATUS[good], list(TEXT))  # the server adds to it
        return [b"ok\n"] if good else [f"{reason}\n".encode() for reason in reasons]

    return answer
