"""`vitals projector`: keeps the copy of scores and alerts in Redis, until stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack

import typer

from service.cli.extras import require_api_extra
from service.settings import Settings, load_settings

HELP = """Keep a copy of all scores and alerts in Redis, for `vitals api`, until stopped.

Redis is that of VITALS_REDIS, else the embedded one (`vitals redis up`). It is a cache: a wiped or lost one is made
whole again from the topics, and scoring does not notice. Several projectors share the partitions.

Examples:

  vitals projector

  VITALS_REDIS=redis://redis:6379/0 vitals projector

Exit code 0: stopped by SIGTERM or Ctrl-C. 1: Kafka failed, or Redis did not answer at the start; start it again.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals projector`."""

    @cli.command(help=HELP)
    def projector() -> None:
        sys.exit(run_projector(load_settings()))


def run_projector(settings: Settings) -> int:
    """Follow the topics of the settings' broker; return the exit code."""
    require_api_extra()
    from agents.stored_account import read_stored_state
    from service.account_copy.reader import CopyReader
    from service.account_copy.watch import CopyWatch
    from service.account_copy.writer import CopyWriter
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.adapters.embedded_redis import resolve_redis
    from service.adapters.redis_client import check_redis, open_redis
    from service.cli.process_log import client_muted, set_up_logging
    from service.metrics.beside import told
    from service.projector import open_projector
    from service.topic_catalogue import TopicNames

    set_up_logging(settings)
    bootstrap, url = resolve_bootstrap(settings), resolve_redis(settings)
    names = TopicNames.from_settings(settings)

    async def run() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_redis(url) as client:
            if warning := await check_redis(client, url):
                logging.getLogger(__name__).warning("%s", warning)
            writer = CopyWriter(client, settings.redis_prefix)
            departed_seconds = settings.departed_days * 86_400
            watch = CopyWatch(CopyReader(client, settings.redis_prefix))
            opening = open_projector(
                bootstrap, writer, names, departed_seconds=departed_seconds, read_state=read_stored_state
            )
            async with AsyncExitStack() as stack:
                with client_muted():
                    projector = await stack.enter_async_context(opening)
                async with told(
                    settings.metrics,
                    "projector",
                    [projector.samples, watch.samples],
                    [watch.watch_forever],
                    watch.unready,
                ):
                    await projector.run(stop)
        return 0

    return asyncio.run(run())
