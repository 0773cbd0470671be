"""`vitals kafka`: the embedded broker, started, looked at and stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.settings import load_settings

if TYPE_CHECKING:
    from service.adapters.embedded_kafka import ClusterStatus

DataOption = Annotated[Path | None, typer.Option(help="directory that holds it, as VITALS_HOME [default: .vitals]")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def register(cli: typer.Typer) -> None:
    """Add `vitals kafka up`, `down` and `status`."""
    group = typer.Typer(no_args_is_help=True, help="A real Apache Kafka on this machine, on loopback only.")
    group.command(epilog="Examples: vitals kafka up · vitals kafka up --brokers 3 --port 9092 --data /var/tmp/kafka")(
        up
    )
    group.command(epilog="Example: vitals kafka down")(down)
    group.command(epilog="Example: vitals kafka status --json")(status)
    cli.add_typer(group, name="kafka")


def up(
    brokers: Annotated[
        int | None, typer.Option(min=1, max=9, help="how many [default: as many as the data was made for, or 1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_000, help="the first broker's, 0: any free one [default: as last time, or 29092]"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start it and wait until it answers; says so if it runs already."""
    from service.adapters.embedded_kafka import EmbeddedKafka

    kafka = EmbeddedKafka(load_settings(home=data).home, brokers, port)
    began = time.monotonic()
    started = kafka.start()
    seconds = time.monotonic() - began
    found = kafka.status()
    if as_json:
        typer.echo(_as_json(found, started=started, seconds=round(seconds, 2)))
    elif started:
        count = f"{len(found.brokers)} broker{'s' * (len(found.brokers) > 1)}"
        typer.echo(
            f"Kafka {found.kafka_version} answers at {found.bootstrap} ({count}, {seconds:.1f} s); data: {found.data}"
        )
    else:
        typer.echo(f"Kafka {found.kafka_version} already runs at {found.bootstrap}; data: {found.data}")


def down(data: DataOption = None) -> None:
    """Stop it; its data stays."""
    from service.adapters.embedded_kafka import EmbeddedKafka

    stopped = EmbeddedKafka(load_settings(home=data).home).stop()
    typer.echo("Kafka is stopped; its data stays" if stopped else "Kafka was not running")


def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show its brokers; exit code 0 when all run, 3 when not."""
    from service.adapters.embedded_kafka import EmbeddedKafka

    found = EmbeddedKafka(load_settings(home=data).home).status()
    if as_json:
        typer.echo(_as_json(found))
    else:
        typer.echo(f"Kafka {found.kafka_version}: {found.state}; data: {found.data}")
        for broker in found.brokers:
            pid = f" (process {broker.pid})" if broker.pid else ""
            typer.echo(f"  broker {broker.node_id} at {broker.address}: {broker.state}{pid}; log: {broker.log}")
    if found.state != "running":
        raise typer.Exit(3)


def _as_json(found: ClusterStatus, **more: object) -> str:
    return json.dumps({**found.model_dump(mode="json"), **more})
