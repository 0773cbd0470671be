"""`vitals model`: check, show and compare model files; the work is the loader's, the review's and the comparison's."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from service.cli import model_diff
from service.cli.terminal import printable
from service.settings import load_settings

if TYPE_CHECKING:
    from service.scoring.model import Model

HELP = "Check, show and compare health models."

CHECK_HELP = """Check a model file: every fault with its line and field, then what is allowed but cannot be meant.

Exit code 0 for a model that a worker accepts, warnings or not; 2 for one that it refuses.

Example:

  vitals model check my-model.yaml
"""

SHOW_HELP = """Show a model: FILE, else that of VITALS_MODEL, else the packaged one.

Examples:

  vitals model show

  vitals model show my-model.yaml --json
"""


def register(cli: typer.Typer) -> None:
    """Add `vitals model` and its subcommands."""
    group = typer.Typer(help=HELP, no_args_is_help=True)
    cli.add_typer(group, name="model")

    @group.command(help=CHECK_HELP)
    def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="model file (YAML)")]) -> None:
        check_model(file)

    @group.command(help=SHOW_HELP)
    def show(
        *,
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="model file (YAML)")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="print the whole model as JSON")] = False,
    ) -> None:
        show_model(load_settings(model=file).model, as_json=as_json)

    model_diff.register(group)


def check_model(file: Path) -> None:
    """Print the warnings and the verdict; raises ConfigError with every fault."""
    from service.model.loader import load_model
    from service.model_review import review_model

    model = load_model(file)
    warnings = review_model(model)
    for warning in warnings:
        print(printable(f"{file}: warning: {warning}"))
    found = "no warnings" if not warnings else f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    print(printable(f"{file}: a valid model, version {model.version}, {len(model.factors)} factors, {found}"))


def show_model(file: Path | None, *, as_json: bool) -> None:
    """Print the model in force, for people or as JSON."""
    import yaml

    from service.model.loader import DEFAULT_NAME, load_model

    model = load_model(file)
    packaged = resources.files("service.model").joinpath(DEFAULT_NAME)
    text = packaged.read_text(encoding="utf-8") if file is None else file.read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    source = model_diff.DEFAULT if file is None else str(file)
    if as_json:
        document = {"version": model.version, "source": source, "model": content}
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return
    _print_model(model, content, source)


def _print_model(model: Model, content: dict[str, Any], source: str) -> None:
    """Print the factors as a table, and what else the file says as it says it."""
    import yaml
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(printable(f"model {model.version} ({source})"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("factor", "signal", "weight", "share", "curve: value > output"):
        table.add_column(title, justify="right" if title in {"weight", "share"} else "left")
    for factor in model.factors:
        points = zip(factor.curve.xs, factor.curve.ys, strict=True)
        curve = ", ".join(f"{x:g} > {y:g}" for x, y in points)
        share = factor.weight / model.total_weight
        table.add_row(factor.name, factor.signal.name, f"{factor.weight:g}", f"{share:.0%}", curve)
    console.print(table)
    rest = {name: value for name, value in content.items() if name not in {"factors", "version"}}
    for line in yaml.safe_dump(rest, sort_keys=False, allow_unicode=True, width=100).splitlines():
        console.print(printable(line))
