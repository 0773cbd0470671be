"""The documents tell what the code is. `python -m tests.architecture.test_docs` writes the generated pages anew."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from annotated_types import Ge, Gt, Le, Lt

import agents.runtime
from agents.runtime.versions import TESTED_VERSIONS
from service.cli.main import build_cli
from service.metrics.catalogue import CATALOGUE, EVERY_ROLE, Label
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
FOLDERS = (".ci", "agents", "benchmarks", "deploy", "docs", "requirements", "schemas", "service", "tests")
TEXT_SUFFIXES = {"", ".cfg", ".js", ".json", ".lock", ".md", ".mjs", ".py", ".toml", ".txt", ".yaml", ".yml"}
FENCES = {".py": "python", ".mjs": "js"}
EXAMPLES = sorted(path for path in (ROOT / "docs" / "examples").iterdir() if path.suffix in FENCES)
# Written in parts, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("maven", "org"), ("maven", "apache", "org"),
        ("npmjs", "org"), ("proxy", "golang", "org"), ("crates", "io"), ("docker", "io"),
    )
)  # fmt: skip
DEVELOPER_PATH = re.compile(r"(?:/(?:home|Users)/\w|/(?:root|work)/|[A-Z]:\\Users)")

SETTINGS_HEAD = """\
# Settings

Values come from the environment, then from an optional YAML file that `VITALS_CONFIG` names and that uses the same
names in lower case without `VITALS_`. Options of a command come before both. A value that is not allowed, or an unknown
name in the file or among the variables that begin with `VITALS_`, ends a command with exit code 2 and a line that names
it.

"""


def settings_page() -> str:
    """Write the page of settings from the class."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default}`" if str(field.default) else "empty"
        rows.append(f"| `VITALS_{name.upper()}` | {default} | {_allowed(field)} | {field.description} |")
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def _allowed(field: Any) -> str:
    values = getattr(field.annotation, "__args__", ())
    if values and all(isinstance(value, str) for value in values):
        return ", ".join(f"`{value}`" for value in values)
    signs = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for kind, (name, sign) in signs.items()
        if isinstance(rule, kind)
    ]
    patterns = [f"`{rule.pattern}`" for rule in field.metadata if getattr(rule, "pattern", None)]
    return ", ".join(bounds + patterns)


METRICS_HEAD = """\
# Metrics

A worker, a projector and an API serve their metrics to Prometheus at the address of `VITALS_METRICS`, under
`/metrics`, each process on a port of its own; unset, none does. What the parts count anyway is read at each scrape; for
metrics alone, something is counted once for a batch, a flush, an alert or a move, never for an event. No label holds
an account.

At the same address are two probes, in plain text, with status 503 and a reason a line when the answer is no.
`/livez`: the event loop answers within 5 s, whether brokers or Redis do or not; a worker that does no work though they
answer ends by itself (its watchdog). `/readyz`: partitions are assigned, no rebalance or recovery is under way, and no
record waits for longer than a minute; of a projector or API, that the copy is whole and can be read. A liveness probe
should have patience for ten seconds; a start takes as long as its recovery, so `/readyz` is the startup probe, too.
`vitals health` asks both from the command line.

The process' own figures (`process_cpu_seconds_total`, `process_resident_memory_bytes` and the like) are there too, as
the client library has them.
"""


def metrics_page() -> str:
    """Write the page of metrics from the catalogue."""
    parts = [METRICS_HEAD]
    for role in EVERY_ROLE:
        rows = ["| metric | kind, unit | labels | meaning | who looks at it |", "|---|---|---|---|---|"]
        for metric in CATALOGUE:
            if role in metric.roles:
                kind = f"{metric.kind}, {metric.unit}" if metric.unit else metric.kind
                labels = "; ".join(map(_told_label, metric.labels))
                rows.append(f"| `{metric.name}` | {kind} | {labels} | {metric.meaning} | {metric.read_by} |")
        parts.append(f"## The {role}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _told_label(label: Label) -> str:
    values = [f"`{value}`" for value in label.values] + ([label.bound] if label.bound else [])
    return f"`{label.name}`: {', '.join(values)}"


@cache
def text_files() -> list[Path]:
    """List every text file of the project."""
    hidden = ("__pycache__", ".ruff_cache", "node_modules")
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if not set(hidden) & set(path.parts))
    return sorted(path for path in [*ROOT.iterdir(), *inside] if path.is_file() and path.suffix in TEXT_SUFFIXES)


def name_of(path: Path) -> str:
    """Name a file in a test's id."""
    return str(path.relative_to(ROOT))


PAGES = [path for path in text_files() if path.suffix == ".md"]


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_the_readme_shows_the_examples(path: Path) -> None:
    """Each example stands in the README, verbatim and by its name."""
    assert f"`{name_of(path)}`" in README
    assert f"```{FENCES[path.suffix]}\n{path.read_text(encoding='utf-8')}```" in README


def test_the_page_of_settings_is_current() -> None:
    """docs/settings.md is what the class says."""
    found = SETTINGS_PAGE.read_text(encoding="utf-8")
    assert found == settings_page(), "run `.venv/bin/python -m tests.architecture.test_docs`"


def test_the_page_of_metrics_is_current() -> None:
    """docs/metrics.md is what the catalogue says."""
    found = METRICS_PAGE.read_text(encoding="utf-8")
    assert found == metrics_page(), "run `.venv/bin/python -m tests.architecture.test_docs`"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Name every subcommand that can be run."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield " ".join(path)
        return
    for name, inner in inside.items():
        yield from commands(inner, (*path, name))


def test_the_readme_lists_the_commands() -> None:
    """The README's table has each subcommand, and no other."""
    told = re.findall(r"^\| `vitals ([^`]+)` \|", README, re.MULTILINE)
    subcommands = [re.sub(r" ([A-Z<]\S*)", "", line) for line in told]  # without its arguments
    assert sorted(subcommands) == sorted(commands(typer.main.get_command(build_cli())))


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as links do."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page, with its anchor, names something that exists."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_promises_more_than_is_kept(page: Path) -> None:
    """No page claims a delivery that nobody can give."""
    assert not re.search(r"exactly[- ]once", page.read_text(encoding="utf-8"), re.IGNORECASE)


@pytest.mark.parametrize("path", text_files(), ids=name_of)
def test_nothing_names_a_registry_or_a_machine(path: Path) -> None:
    """No file names the host of a package registry, or a path of somebody's machine."""
    text = path.read_text(encoding="utf-8", errors="replace")
    assert not [host for host in REGISTRY_HOSTS if host in text]
    assert not DEVELOPER_PATH.findall(text)


def overridden_hooks() -> set[tuple[str, str]]:
    """Find what the classes of the runtime layer replace in Faust."""
    found: set[tuple[str, str]] = set()
    for info in pkgutil.iter_modules(agents.runtime.__path__, "agents.runtime."):
        module = importlib.import_module(info.name)
        tree = ast.parse(inspect.getsource(module))
        for node in tree.body:
            if not isinstance(node, ast.ClassDef):
                continue
            theirs = [base for base in vars(module)[node.name].__mro__ if base.__module__.startswith(("faust", "mode"))]
            found |= {(node.name, name) for name in _defined(node) if any(name in vars(base) for base in theirs)}
    return found


def _defined(node: ast.ClassDef) -> set[str]:
    names: set[str] = set()
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name != "__init__":
            names.add(item.name)
        elif isinstance(item, ast.Assign):
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    return names


def test_the_runtime_page_lists_every_hook() -> None:
    """docs/runtime.md names each method of Faust that the layer overrides, and each version it was tested with."""
    page = (ROOT / "docs" / "runtime.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)\.(\w+)` \|", page, re.MULTILINE)) == overridden_hooks()
    told = dict(re.findall(r"^\| ([a-z-]+) \| ([\d., ]+) \|", page, re.MULTILINE))
    assert told == {name: ", ".join(versions) for name, versions in TESTED_VERSIONS.items()}


def test_the_architecture_page_lists_the_layers() -> None:
    """docs/architecture.md has the layers of .importlinter, in their order."""
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8").split("layers =\n")[1].split("\n\n")[0]
    held = [
        sorted(re.split(r" [:|] ", line.strip())) for line in contract.splitlines() if not line.strip().startswith("#")
    ]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Layers")[1]
    rows = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    assert [sorted(re.findall(r"`([^`]+)`", row)) for row in rows] == held


def test_every_module_has_a_layer() -> None:
    """Each module and package of the service and the agents is named in the layers, so that none escapes them."""
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8").split("layers =\n")[1].split("\n\n")[0]
    named = set(re.findall(r"\b(?:service|agents)\.\w+", contract))
    found = {
        f"{folder}.{path.stem}"
        for folder in ("service", "agents")
        for path in (ROOT / folder).iterdir()
        if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    assert found == named


def test_every_dependency_is_explained() -> None:
    """The record about dependencies names each one that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=~ \[;]", requirement)[0] for requirement in asked}
    page = (ROOT / "docs" / "decisions" / "0007-dependencies.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert names <= {name for cell in cells for name in cell.split(", ")}


if __name__ == "__main__":
    SETTINGS_PAGE.write_text(settings_page(), encoding="utf-8")
    METRICS_PAGE.write_text(metrics_page(), encoding="utf-8")
