"""`vitals model`: check, show and compare model files; the work is the loader's, the review's and the comparison's."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service.cli import model_diff
from service.cli.terminal import printable
from service.settings import load_settings

HELP = "Check, show and compare health models."

CHECK_HELP = """Check a model file: every fault with its line and field, then what is allowed but cannot be meant.

Exit code 0 for a model that a worker accepts, warnings or not; 2 for one that it refuses.

Example:

  vitals model check my-model.yaml
"""

SHOW_HELP = """Show a model, its bands, factors, rules and profiles: FILE, else VITALS_MODEL's, else the packaged one.

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
    from service.model.loader import line_of_field, parse_model, read_text
    from service.model_review import review_model

    text = read_text(file)
    model = parse_model(text, str(file))
    warnings = review_model(model)
    for warning in warnings:
        line = line_of_field(text, warning.partition(":")[0])
        print(printable(f"{file}:{line}: warning: {warning}"))
    told = [
        f"version {model.version}",
        *(
            _counted(len(part), noun)
            for part, noun in ((model.factors, "factor"), (model.rules, "rule"), (model.plans, "profile"))
        ),
        _counted(len(warnings), "warning") if warnings else "no warnings",
    ]
    print(printable(f"{file}: a valid model, {', '.join(told)}"))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_model(file: Path | None, *, as_json: bool) -> None:
    """Print the model in force, for people or as JSON."""
    import yaml

    from service.cli.model_show import print_model
    from service.model.loader import DEFAULT_NAME, parse_model, read_text

    packaged = resources.files("service.model").joinpath(DEFAULT_NAME)
    text = packaged.read_text(encoding="utf-8") if file is None else read_text(file)
    source = model_diff.DEFAULT if file is None else str(file)
    model = parse_model(text, source)
    if as_json:
        document = {"version": model.version, "source": source, "model": yaml.safe_load(text)}
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        print_model(model, source)
