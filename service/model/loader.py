"""Reads a model file: YAML with line numbers in, a checked model of the scoring core out.

Every refusal names file, line and field, one line per fault. Nothing is guessed: unknown and repeated keys are
refused, and so are YAML aliases, tags other than the plain ones, and files larger than a model can be.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import ConfigError
from service.model.build import build_model
from service.model.file_format import (
    BandsFile,
    ConditionFile,
    FactorChangeFile,
    FactorFile,
    ModelFile,
    ProfileFile,
    RuleFile,
    ThresholdsFile,
    WhenFile,
)
from service.scoring.model import Model

MAX_FILE_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 16  # a model is seven levels deep; deeper input is refused before it costs anything
MAX_FAULTS_SHOWN: Final = 100
HASH_CHARACTERS: Final = 8
DEFAULT_NAME: Final = "default.yaml"

_FIELD_FIRST: Final = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+)*): (.+)")
_Path = tuple[str | int, ...]


@dataclass
class _Lines:
    """The line of every value by its path in the document, and faults found while reading it."""

    name: str
    by_path: dict[_Path, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def fault(self, path: _Path, text: str) -> None:
        """Note a fault at `path`, or at the nearest line above it that the file has."""
        where = ".".join(str(part) for part in path)
        line = self.line_of(path)
        self.faults.append(f"{self.name}:{line}: {where}: {text}" if where else f"{self.name}:{line}: {text}")

    def line_of(self, path: _Path) -> int:
        """Give the line of `path`, or of the nearest place above it that the file has."""
        while path and path not in self.by_path:
            path = path[:-1]
        return self.by_path.get(path, 1)

    def raise_if_any(self) -> None:
        """Refuse the file when a fault was noted."""
        if self.faults:
            more = len(self.faults) - MAX_FAULTS_SHOWN
            rest = [f"... and {more} more"] if more > 0 else []
            raise ConfigError("\n".join(self.faults[:MAX_FAULTS_SHOWN] + rest))


def load_model(path: str | Path | None = None) -> Model:
    """Load the model file at `path`, or the default model; raises ConfigError naming line and field."""
    if path is None:
        text = resources.files("service.model").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")
        return parse_model(text, DEFAULT_NAME)
    return parse_model(read_text(Path(path)), str(path))


def read_text(place: Path) -> str:
    """Read the text of a model file; raises ConfigError when that is not possible."""
    try:
        with place.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{place}: larger than {MAX_FILE_BYTES} bytes; is this a model file?")
        return content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: is not UTF-8 text (byte {error.start})") from error


def parse_model(text: str, name: str) -> Model:
    """Check the YAML `text` of a model; `name` is the file named in errors."""
    lines = _Lines(name)
    document = _read_yaml(text, lines)
    lines.raise_if_any()
    # Comments and layout do not make another version, so the hash is of what was checked.
    try:
        checked = ModelFile.model_validate(document)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _explain_fault(detail, lines)
        lines.raise_if_any()
        raise
    content = json.dumps(checked.model_dump(mode="json"), separators=(",", ":"))
    short_hash = hashlib.sha256(content.encode()).hexdigest()[:HASH_CHARACTERS]
    return build_model(checked, f"{checked.version}+{short_hash}")


def line_of_field(text: str, field_name: str) -> int:
    """Give the line of a field of a valid model, named like `factors.recency.curve.0`."""
    lines = _Lines("")
    _read_yaml(text, lines)
    return lines.line_of(tuple(int(part) if part.isdecimal() else part for part in field_name.split(".")))


def _read_yaml(text: str, lines: _Lines) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{lines.name}:{line}: is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{lines.name}: is not valid YAML: {str(error).splitlines()[0]}") from error
    if root is None:
        raise ConfigError(f"{lines.name}:1: is empty; see docs/model.md for what a model file says")
    return _plain(root, (), lines)


def _plain(node: yaml.Node, path: _Path, lines: _Lines) -> Any:
    """Turn a YAML node into plain values and note the line of each."""
    lines.by_path.setdefault(path, node.start_mark.line + 1)
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{lines.name}:{node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    if id(node) in lines.seen:  # a few lines of aliases to aliases would unfold into millions of values
        raise ConfigError(f"{lines.name}:{lines.by_path[path]}: YAML aliases are not supported; repeat the value")
    lines.seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, lines)
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):
        lines.fault(path, f"cannot read {node.value!r} as {node.tag}")
        return None


def _plain_mapping(node: yaml.MappingNode, path: _Path, lines: _Lines) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        inner = (*path, key)
        if key in result:
            first = lines.by_path[inner]
            lines.by_path[inner] = line
            lines.fault(inner, f"is there twice (first in line {first}); remove one")
            continue
        lines.by_path[inner] = line
        result[key] = _plain(value_node, inner, lines)
    return result


def _explain_fault(detail: ErrorDetails, lines: _Lines) -> None:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    context = detail.get("ctx", {})
    known = _known_fields(path[:-1])
    bound = next((context[key] for key in ("gt", "ge", "le") if key in context), 0)
    texts = {
        "greater_than": f"must be > {bound:g}",
        "greater_than_equal": f"must be >= {bound:g}",
        "less_than_equal": f"must be <= {bound:g}",
        "too_long": f"must have at most {context.get('max_length')} entries",
        "too_short": f"must have at least {context.get('min_length')} entries",
        "finite_number": "must be a finite number",
        "float_type": "must be a number",
        "string_type": 'must be text (put it in "quotes")',
        "tuple_type": "must be a pair [signal value, output]",
        "dict_type": "must be a mapping of keys to values",
        "model_type": "must be a mapping of keys to values",
        "missing": "is missing",
        "extra_forbidden": f"is not a known key; known: {', '.join(known)}",
        "value_error": str(context.get("error")),
        "string_pattern_mismatch": f"must match {context.get('pattern')}",
    }
    text = texts.get(detail["type"], detail["msg"][:1].lower() + detail["msg"][1:])
    if not path and detail["type"] == "value_error":
        for told in text.splitlines():
            found = _FIELD_FIRST.fullmatch(told)  # a rule between blocks names its place itself
            lines.fault(tuple(found[1].split(".")) if found else path, found[2] if found else told)
        return
    value = detail["input"]
    shows_value = isinstance(value, str | int | float) and detail["type"] not in {"missing", "extra_forbidden"}
    lines.fault(path, f"{text} (got {value!r})" if shows_value else text)


def _known_fields(path: _Path) -> list[str]:
    """List the keys allowed in the mapping at `path`."""
    match path:
        case ("factors", _):
            fields: type[BaseModel] = FactorFile
        case ("bands",):
            fields = BandsFile
        case ("bands", _):
            fields = ThresholdsFile
        case ("rules", _):
            fields = RuleFile
        case ("rules", *_):
            fields = ConditionFile
        case ("profiles", _, "when"):
            fields = WhenFile
        case ("profiles", _, "factors", _):
            fields = FactorChangeFile
        case ("profiles", _):
            fields = ProfileFile
        case _:
            fields = ModelFile
    return [field.alias or name for name, field in fields.model_fields.items()]
