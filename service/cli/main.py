"""The `vitals` command: puts the subcommands together and turns errors into one line and an exit code.

A subcommand's own module does its work; this one may not. Modules of subcommands are imported when asked for, so that
`vitals --help` and the light commands do not pay for the heavy ones.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.cli.terminal import printable
from service.errors import VitalsError

CLOSED_PIPE = 141  # as a shell tells of a command that SIGPIPE ended
COMMAND_MODULES = (
    "up",
    "kafka",
    "topics",
    "redis",
    "worker",
    "projector",
    "api",
    "health",
    "keys",
    "publish",
    "replay",
    "simulate",
    "watch",
    "demo",
    "model",
    "explain",
    "dlq",
    "state",
    "act",
    "doctor",
    "plan",
)


def build_cli() -> typer.Typer:
    """Make the command tree: each module of `service.cli` adds its own commands in `register(cli)`."""
    cli = typer.Typer(
        name="vitals",
        help="Streaming, explained customer-health scores and At-Risk alerts on Kafka.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    cli.callback()(_common_options)
    for name in COMMAND_MODULES:
        importlib.import_module(f"service.cli.{name}").register(cli)
    return cli


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vitals {metadata.version('vitals')}")
        raise typer.Exit


def _common_options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit 0 done, 1 failed, 2 used or configured wrongly, 130 interrupted, 141 nobody reads."""
    console = Console(stderr=True, highlight=False)
    try:
        build_cli()()
    except VitalsError as error:
        lines = "\n".join(escape(printable(line)) for line in str(error).splitlines())
        console.print(f"[red]error:[/red] {lines}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer has it end with 1
            sys.exit(CLOSED_PIPE)
        raise


if __name__ == "__main__":
    main()
