"""`vitals redis`: the embedded Redis, started, looked at and stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.settings import load_settings

DataOption = Annotated[Path | None, typer.Option(help="directory that holds it, as VITALS_HOME [default: .vitals]")]


def register(cli: typer.Typer) -> None:
    """Add `vitals redis up`, `down` and `status`."""
    group = typer.Typer(no_args_is_help=True, help="A real redis-server on this machine, on a socket of its owner's.")
    group.command(epilog="Example: vitals redis up")(up)
    group.command(epilog="Example: vitals redis down")(down)
    group.command(epilog="Example: vitals redis status")(status)
    cli.add_typer(group, name="redis")


def up(data: DataOption = None) -> None:
    """Start it and wait until it answers; says so if it runs already."""
    from service.adapters.embedded_redis import EmbeddedRedis

    redis = EmbeddedRedis(load_settings(home=data).home)
    typer.echo(f"Redis {'answers' if redis.start() else 'already runs'} at {redis.url}")


def down(data: DataOption = None) -> None:
    """Stop it; it is a cache, so nothing of it is kept."""
    from service.adapters.embedded_redis import EmbeddedRedis

    stopped = EmbeddedRedis(load_settings(home=data).home).stop()
    typer.echo("Redis is stopped" if stopped else "Redis was not running")


def status(data: DataOption = None) -> None:
    """Say whether it runs; exit code 0 when it does, 3 when not."""
    from service.adapters.embedded_redis import EmbeddedRedis

    redis = EmbeddedRedis(load_settings(home=data).home)
    if not redis.is_running():
        typer.echo("Redis is stopped")
        raise typer.Exit(3)
    typer.echo(f"Redis runs at {redis.url}; log: {redis.log}")
