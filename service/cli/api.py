"""`vitals api`: serves the HTTP API until stopped; listens wider than this machine only with keys."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.extras import require_api_extra
from service.errors import ConfigError
from service.settings import Settings, is_loopback, load_settings

if TYPE_CHECKING:
    import uvicorn

DEFAULT_PORT = 8321
GRACE_SECONDS = 2

HELP = """Serve scores, alerts and the portfolio over HTTP from the copy in Redis, until stopped.

Redis is that of VITALS_REDIS, else the embedded one (`vitals redis up`); `vitals projector` fills it. Without API keys
only this machine is served. Keys: `vitals keys add`, and VITALS_API_KEYS names their file. What people do about an
account goes to the brokers of VITALS_BROKER; reading does not need them.

Examples:

  vitals api

  VITALS_API_KEYS=/etc/vitals/keys.json vitals api --host 0.0.0.0 --port 8080

Exit code 0: stopped by SIGTERM or Ctrl-C. 2: wrong settings, or no keys for a wider address.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals api`."""

    @cli.command(help=HELP)
    def api(
        host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65_535)] = DEFAULT_PORT,
    ) -> None:
        sys.exit(run_api(load_settings(), host, port))


def run_api(settings: Settings, host: str, port: int) -> int:
    """Serve until stopped; return the exit code. Raises ConfigError for an address that would need keys."""
    require_api_extra()
    import uvicorn

    from service.adapters.clients import client_options
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.adapters.embedded_redis import resolve_redis
    from service.api.app import build_api
    from service.api.deployment import Deployment
    from service.api.http import Http
    from service.api.keys import KeyRing
    from service.cli.process_log import set_up_logging
    from service.commands import open_desk
    from service.model.loader import load_model
    from service.topic_catalogue import TopicNames

    set_up_logging(settings)
    keys = KeyRing(settings.api_keys) if settings.api_keys else None
    if not keys and not is_loopback(host):
        raise ConfigError(
            f"without API keys only this machine is served, and {host} is wider: make a key with "
            "`vitals keys add NAME` and name the file in VITALS_API_KEYS, or leave --host out"
        )
    if settings.broker:
        client_options(resolve_bootstrap(settings))  # a file that cannot be read is told now, not at the first question
    api = build_api(
        resolve_redis(settings),
        settings.redis_prefix,
        load_model(settings.model),
        keys=keys,
        requests_per_second=settings.api_requests_per_second,
        # The embedded broker may be started, and elsewhere, after the API.
        open_desk=lambda: open_desk(resolve_bootstrap(settings), TopicNames.from_settings(settings)),
        deployment=Deployment(settings),
        metrics_address=settings.metrics,
    )
    config = uvicorn.Config(
        api,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Http,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve(uvicorn.Server(config)))


async def _serve(server: uvicorn.Server) -> int:
    # Not server.run(): it raises the signal once more when all is done, which would make the exit code a signal's.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    # What is loaded now stays: a collection that looked at it, every few seconds, would hold up all requests meanwhile.
    gc.collect()
    gc.freeze()
    await server.serve()
    return 0 if server.started else 1
