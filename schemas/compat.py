"""When may a released JSON Schema be replaced? Only rules that compare schemas live here, no files.

Both directions are one question, containment. An input stays readable when all that the old schema accepts the new one
accepts too; an output, when all that the new schema lets out the old one accepts. No field may go in either.
The check is conservative: a keyword without a rule must stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Direction: TypeAlias = Literal["input", "output"]

# Keywords that describe and do not constrain, and those that `_contained` resolves itself.
ANNOTATIONS: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "examples", "default"})
# For each bound: the sign that makes "greater is stricter" true.
BOUNDS: Final = {
    "minimum": 1,
    "exclusiveMinimum": 1,
    "minLength": 1,
    "minItems": 1,
    "maximum": -1,
    "exclusiveMaximum": -1,
    "maxLength": -1,
    "maxItems": -1,
}


def breaks(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """List why `new` may not replace `old`, each with its place; empty: it may."""
    if direction == "input":
        found = [*_Containment(old, new).of(old, new, "$"), *_changed_defaults(old, new)]
    else:
        found = list(_Containment(new, old).of(new, old, "$"))
    return [*found, *_Removal(old, new).of(old, new, "$")]


class _Containment:
    """Finds what the `narrow` schema accepts and the `wide` one may refuse."""

    def __init__(self, narrow_root: Schema, wide_root: Schema) -> None:
        self._narrow_root = narrow_root
        self._wide_root = wide_root

    def of(self, narrow: Schema, wide: Schema, path: str) -> Iterator[str]:
        """Yield one line for every constraint of `wide` that `narrow` does not imply."""
        narrow, wide = resolved(narrow, self._narrow_root), resolved(wide, self._wide_root)
        if "anyOf" in narrow:
            for branch in narrow["anyOf"]:
                yield from self.of(branch, wide, path)
            return
        if "anyOf" in wide:
            branches = [list(self.of(narrow, branch, path)) for branch in wide["anyOf"]]
            if all(branches):
                yield f"{path}: no alternative accepts {_summary(narrow)} any more"
            return
        for keyword, constraint in wide.items():
            if keyword not in ANNOTATIONS:
                yield from self._implied(keyword, narrow, constraint, path)

    def _implied(self, keyword: str, narrow: Schema, constraint: Any, path: str) -> Iterator[str]:
        given = narrow.get(keyword)
        if keyword == "properties":
            for name, field in constraint.items():
                if name in narrow.get("properties", {}):
                    yield from self.of(narrow["properties"][name], field, f"{path}.{name}")
        elif keyword == "required":
            for name in sorted(set(constraint) - set(narrow.get("required", ()))):
                yield f"{path}.{name}: required on one side only"
        elif keyword == "items":
            yield from self.of(narrow.get("items", {}), constraint, f"{path}[]")
        elif keyword in {"enum", "const"}:
            allowed = constraint if keyword == "enum" else [constraint]
            values = _values(narrow)
            if values is None or any(value not in allowed for value in values):
                yield f"{path}: {keyword} {constraint} does not cover {_summary(narrow)}"
        elif not _is_implied(keyword, given, constraint):
            yield f"{path}: {keyword} {constraint!r} is stricter than {given!r}"


class _Removal:
    """Finds fields that were there and are gone, optional ones too: they would be lost without a word."""

    def __init__(self, old_root: Schema, new_root: Schema) -> None:
        self._old_root = old_root
        self._new_root = new_root

    def of(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Yield one line for every field of `old` that `new` does not have."""
        old, new = resolved(old, self._old_root), resolved(new, self._new_root)
        for name, field in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{path}.{name}: removed"
            else:
                yield from self.of(field, new["properties"][name], f"{path}.{name}")
        if "items" in old and "items" in new:
            yield from self.of(old["items"], new["items"], f"{path}[]")


def _changed_defaults(old: Schema, new: Schema) -> Iterator[str]:
    """Yield input fields whose absence would be read differently."""
    old_fields = resolved(old["properties"]["data"], old).get("properties", {}) if "properties" in old else {}
    new_fields = resolved(new["properties"]["data"], new).get("properties", {}) if "properties" in new else {}
    for name, field in old_fields.items():
        if name in new_fields and "default" in field and field["default"] != new_fields[name].get("default"):
            yield f"$.data.{name}: default changed"


def _is_implied(keyword: str, given: Any, constraint: Any) -> bool:
    if keyword == "type":
        return bool(given == constraint or (given, constraint) == ("integer", "number"))
    if keyword in BOUNDS:
        return given is not None and given * BOUNDS[keyword] >= constraint * BOUNDS[keyword]
    if keyword == "additionalProperties" and constraint is True:
        return True
    return bool(given == constraint)


def resolved(schema: Schema, root: Schema) -> Schema:
    """Follow a `$ref` into the root's `$defs`; keywords beside it count too."""
    if "$ref" not in schema:
        return schema
    name = str(schema["$ref"]).removeprefix("#/$defs/")
    beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {**root["$defs"][name], **beside}


def _values(schema: Schema) -> list[Any] | None:
    """Return the only values that a schema accepts, or None when it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    return [None] if schema.get("type") == "null" else None


def _summary(schema: Schema) -> str:
    values = _values(schema)
    return f"{values}" if values is not None else str(schema.get("type", "a value"))
