"""`vitals keys`: API keys made, listed and removed; the API sees each change within a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from schemas.times import time_text
from service.errors import ConfigError
from service.settings import load_settings

FileOption = Annotated[Path | None, typer.Option(help="file of hashed keys [default: VITALS_API_KEYS]")]
DAY_SECONDS = 86_400


def register(cli: typer.Typer) -> None:
    """Add `vitals keys add`, `list` and `remove`."""
    group = typer.Typer(no_args_is_help=True, help="API keys: hashed in a file that a running API reads again.")
    group.command(epilog="Example: vitals keys add crm-sync --role read --days 365 --file keys.json")(add)
    group.command("list", epilog="Example: vitals keys list --file keys.json")(list_)
    group.command(epilog="Example: vitals keys remove 1f2e3d4c --file keys.json")(remove)
    cli.add_typer(group, name="keys")


def add(
    name: Annotated[str, typer.Argument(help="whose it is")],
    role: Annotated[str, typer.Option(help="read, act (reads too) or admin (all)")] = "read",
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="days until it expires [default: never]")] = None,
    file: FileOption = None,
) -> None:
    """Make a key and print it, once: only its hash is stored."""
    from service.api.keys import ROLES, add_key

    found = next((known for known in ROLES if known == role), None)
    if found is None:
        raise ConfigError(f"{role!r} is no role; roles are {', '.join(ROLES)}")
    typer.echo(add_key(_file(file), name, found, None if days is None else int(time.time()) + days * DAY_SECONDS))


def list_(file: FileOption = None) -> None:
    """List ids, roles, names and when they expire."""
    from service.api.keys import read_keys
    from service.cli.terminal import printable

    for key in read_keys(_file(file)):
        expires = "never expires" if key.expires_at is None else f"expires {time_text(key.expires_at * 1000)}"
        typer.echo(f"{key.id}  {key.role:<5}  {printable(key.name)}  {expires}")


def remove(
    key_id: Annotated[str, typer.Argument(help="its id, which is also the second part of the key")],
    file: FileOption = None,
) -> None:
    """Remove a key: it is refused within a second."""
    from service.api.keys import remove_key

    remove_key(_file(file), key_id)
    typer.echo(f"key {key_id} is removed")


def _file(given: Path | None) -> Path:
    path = given or load_settings().api_keys
    if path is None:
        raise ConfigError("name the file of keys with --file, or set VITALS_API_KEYS")
    return path
