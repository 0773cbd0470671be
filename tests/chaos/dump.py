"""What a worker under test tells of its inside when it is asked by SIGUSR1: where each input stands, and who waits."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from typing import Any

from agents.runtime.app import RuntimeApp


def install() -> None:
    """Have every app that is built write its dump to stderr at SIGUSR1."""
    build = RuntimeApp.__init__

    def init(self: RuntimeApp, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        asyncio.get_event_loop().add_signal_handler(signal.SIGUSR1, write, self)

    RuntimeApp.__init__ = init  # type: ignore[method-assign]


def write(app: Any) -> None:
    """Write everything that tells why an input does not move."""
    consumer = app.consumer
    thread = consumer._thread
    active = consumer._active_partitions or set()
    recovery = app.tables.recovery
    lines = [
        f"generation {app.consumer_generation_id} flow {consumer.flow_active} active {len(active)}",
        f"owned {sorted(app.state_table.owned)} recovering {sorted(app.state_table.recovering)}",
        f"rebalancing {app.rebalancing} in recovery {recovery.in_recovery}",
        f"fetching {not consumer._no_fetch.is_set()} held {consumer._held}",
    ]
    for tp in sorted(consumer.assignment()):
        delivered = consumer._delivered.get(tp, ())
        client = thread._consumer if thread is not None else None
        state = client._subscription.subscription.assignment.state_value(tp) if client is not None else None
        position = None if state is None or not state.has_valid_position else state.position
        lines.append(
            f"{tp.topic}/{tp.partition} {consumer.reading_state(tp)} read {consumer._read_offset[tp]} "
            f"end {consumer.highwater(tp)} client {position} paused {None if state is None else state.paused} "
            f"active {tp in active} "
            f"delivered {[(b.first_offset, b.last_offset, b.applied) for b in delivered][:4]}"
        )
    lines += [f"task {task.get_name()} {list(_awaiting(task.get_coro()))}" for task in asyncio.all_tasks()]
    sys.stderr.write("chaos dump:\n" + "\n".join(lines) + "\n")
    sys.stderr.flush()


def _awaiting(waiting: Any) -> Iterator[str]:
    """Name what a coroutine awaits, and what that awaits, down to what is not a coroutine."""
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        waiting = waiting.cr_await
