"""The metrics of the processes beside the worker: what they tell, the loop and the build, while they run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from service.metrics.catalogue import BUILD, Role
from service.metrics.exposition import Exposition, Sample, Source, serving
from service.metrics.loop_lag import LoopLag
from service.metrics.probes import Health


@contextlib.asynccontextmanager
async def told(
    address: str | None,
    role: Role,
    sources: Sequence[Source],
    watches: Sequence[Callable[[], Awaitable[None]]],
    unready: Callable[[], Iterable[str]],
) -> AsyncIterator[None]:
    """Serve the sources' samples and the probes while the block runs, and run the watches that they need."""
    lag = LoopLag()

    def samples() -> list[Sample]:
        build = Sample(BUILD, 1, {"version": version("vitals"), "role": role})
        return [build, *lag.samples(), *(sample for source in sources for sample in source())]

    registry = CollectorRegistry()
    registry.register(Exposition(samples, asyncio.get_running_loop()))
    tasks = [asyncio.ensure_future(watch()) for watch in (lag.watch_forever, *watches)]
    try:
        with serving(address, registry, Health(unready)):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
