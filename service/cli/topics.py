"""`vitals topics`: compare the cluster's topics with `topics.yaml`, and bring them there without deleting anything."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.settings import Settings, load_settings
from service.topic_acls import ACL_ROLES, DEFAULT_PRINCIPAL, AclRole, acl_commands, role_grants
from service.topic_catalogue import TopicNames

if TYPE_CHECKING:
    from service.adapters.topic_admin import TopicPlan

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
EXIT_CHANGES = 3
WIDTH = 240  # where nobody says how wide lines may be: room for the longest names of topics


def register(cli: typer.Typer) -> None:
    """Add `vitals topics plan`, `apply`, `seek` and `acls`."""
    group = typer.Typer(no_args_is_help=True, help="The topics that Vitals reads and writes.")
    group.command(epilog="Examples: vitals topics plan · VITALS_BROKER=kafka:9092 vitals topics plan --json")(plan)
    group.command(epilog="Example: vitals topics apply")(apply)
    group.command(epilog="Examples: vitals topics seek --execute · vitals topics seek product-usage/3/18 --execute")(
        seek
    )
    group.command(
        epilog="Examples: vitals topics acls > acls.sh · vitals topics acls worker --principal User:CN={role}"
    )(acls)
    cli.add_typer(group, name="topics")


def plan(as_json: JsonOption = False) -> None:
    """Show what `apply` would do; exit code 0 when all is in place, 3 when something differs."""
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.adapters.topic_admin import plan_topics

    settings = quiet_settings()
    plans = asyncio.run(plan_topics(resolve_bootstrap(settings), TopicNames.from_settings(settings)))
    _show(plans, as_json=as_json, title="would")
    if any(item.action != "ok" for item in plans):
        raise typer.Exit(EXIT_CHANGES)


def apply(as_json: JsonOption = False) -> None:
    """Create missing topics and alter settings that differ; never deletes, never changes a partition count."""
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.adapters.topic_admin import apply_topics

    settings = quiet_settings()
    plans = asyncio.run(apply_topics(resolve_bootstrap(settings), TopicNames.from_settings(settings)))
    _show(plans, as_json=as_json, title="did")


def seek(
    *,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC[/PARTITION[/OFFSET]]]...", help="default: every input")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="set the offsets; without it they are only shown")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set where workers go on in their inputs: at the earliest record, or at OFFSET; refused while a worker runs."""
    from service.adapters.embedded_kafka import resolve_bootstrap
    from service.adapters.group_offsets import seek_inputs

    settings = quiet_settings()
    bootstrap, names = resolve_bootstrap(settings), TopicNames.from_settings(settings)
    moves = asyncio.run(seek_inputs(bootstrap, names, places or (), execute=execute))
    if as_json:
        told = [{"topic": topic, "partition": n, "from": was, "to": to} for (topic, n), (was, to) in moves.items()]
        typer.echo(json.dumps({"executed": execute, "offsets": told}))
        return
    typer.echo("offsets are set:" if execute else "nothing is set without --execute; it would be:")
    for (topic, number), (was, to) in moves.items():
        typer.echo(f"  {topic}/{number}: {'none' if was is None else was} -> {to}")


def acls(
    *,
    role: Annotated[AclRole | None, typer.Argument(help="only of this one [default: all]")] = None,
    principal: Annotated[
        str, typer.Option(help="the roles' name at the brokers; {role} becomes the role")
    ] = DEFAULT_PRINCIPAL,
    as_json: JsonOption = False,
) -> None:
    """Print the commands that grant each role what it needs, and nothing more; asks no broker.

    Run them where kafka-acls.sh is; admin.properties is the login of a user that may alter ACLs.
    """
    settings = load_settings()
    names, chosen = TopicNames.from_settings(settings), (role,) if role else ACL_ROLES
    if as_json:
        granted = role_grants(names)
        told = {name: [dataclasses.asdict(grant) for grant in granted[name]] for name in chosen}
        typer.echo(json.dumps(told))
        return
    for command in acl_commands(names, chosen, settings.broker or "localhost:9092", principal):
        typer.echo(command)


def quiet_settings(**overrides: object) -> Settings:
    """Read the settings, and silence the client.

    It logs each failed connection as well; the error that ends the command says it once, with the cure.
    """
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    return load_settings(**overrides)


def _show(plans: list[TopicPlan], *, as_json: bool, title: str) -> None:
    if as_json:
        changes = sum(item.action != "ok" for item in plans)
        typer.echo(json.dumps({"changes": changes, "topics": [dataclasses.asdict(item) for item in plans]}))
        return
    table = Table("topic", title, "partitions", "settings that differ", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for item in plans:
        found = "" if item.found_partitions in {None, item.partitions} else f"{item.found_partitions}, want "
        settings = "\n".join(f"{name}: {old} -> {new}" for name, (old, new) in item.differences.items())
        table.add_row(item.topic, item.action, f"{found}{item.partitions}", settings)
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)
