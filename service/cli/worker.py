"""`vitals worker`: the Faust worker that scores; it ends on SIGTERM with everything applied also committed."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.process_log import client_muted, set_up_logging
from service.settings import Settings, load_settings

HELP = """Score events from the input topics until stopped.

Examples:

  vitals worker

  vitals worker --clock event --model my-model.yaml

  VITALS_BROKER=kafka:9092 VITALS_APP_ID=health-eu vitals worker

The model file is read anew at SIGHUP and when it changed: a valid model scores every account anew, without alerts;
of an invalid one every fault is logged and the old model stays.

Exit code 0: stopped by SIGTERM or Ctrl-C, everything applied is committed. 1: crashed; start it again. 2: wrong
settings, model or topics; the message names the cure.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals worker`."""

    @cli.command(help=HELP)
    def worker(
        clock: Annotated[
            str | None, typer.Option(help="what moves time: 'wall', or 'event' for old logs [default: wall]")
        ] = None,
        model: Annotated[Path | None, typer.Option(help="health model file [default: the packaged model]")] = None,
    ) -> None:
        sys.exit(run_worker(load_settings(clock=clock, model=model)))


def run_worker(settings: Settings, **deps: Any) -> int:
    """Check model, broker and topics, then run the worker; return its exit code."""
    set_up_logging(settings)
    # Faust takes a second to import, so only the command that needs it pays.
    from agents.app import Deps, build_app, check_topics
    from agents.runtime.runner import run_app
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.metrics.exposition import serving
    from service.model.loader import load_model
    from service.topic_catalogue import TopicNames

    model = load_model(settings.model)
    bootstrap = resolve_bootstrap(settings)

    async def run() -> int:
        reload_asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
        with client_muted():
            partitions = await check_topics(bootstrap, TopicNames.from_settings(settings))
        made = Deps(bootstrap=bootstrap, partitions=partitions, model=model, reload_asked=reload_asked, **deps)
        with serving(settings.metrics, made.metrics, made.health):
            return await run_app(lambda: build_app(settings, made))

    return asyncio.run(run())
