"""`vitals health`: asks a process of this machine whether it works, for health checks of containers."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from service.errors import ConfigError
from service.metrics.probes import LIVE, READY
from service.settings import load_settings

ANSWER_SECONDS_MAX = 8.0  # more than the process waits for its own loop

HELP = """Ask the worker, projector or API at VITALS_METRICS whether it is ready, and print why it is not.

Examples:

  VITALS_METRICS=127.0.0.1:9090 vitals health

  VITALS_METRICS=127.0.0.1:9090 vitals health --live --json

Exit code 0: it is. 1: it is not, or does not answer. 2: VITALS_METRICS is not set.
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals health`."""

    @cli.command(help=HELP)
    def health(
        live: Annotated[
            bool, typer.Option("--live", help="ask only whether its event loop answers: restart it when not")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    ) -> None:
        good, reasons = ask(load_settings().metrics, LIVE if live else READY)
        if as_json:
            typer.echo(json.dumps({"live" if live else "ready": good, "reasons": reasons}))
        else:
            typer.echo("\n".join(reasons) or "ok")
        sys.exit(0 if good else 1)


def ask(address: str | None, path: str) -> tuple[bool, list[str]]:
    """Return whether the process at an address says that it is well, and why not; raises ConfigError without one."""
    if address is None:
        raise ConfigError("VITALS_METRICS is not set: probes are answered beside metrics, see docs/metrics.md")
    # A client for HTTP takes a moment to import, so only the command that needs it pays.
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=ANSWER_SECONDS_MAX):
            return True, []
    except urllib.error.HTTPError as refused:
        return False, refused.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return False, [f"{address} does not answer: {getattr(error, 'reason', error)}"]
