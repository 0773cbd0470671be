"""Released messages stay readable: golden schemas against the models, golden examples against both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.catalogue import INPUTS, InputMessage, OutputMessage
from schemas.compat import Direction, breaks
from schemas.envelope import InputData
from schemas.export import GOLDEN, current_schema, export, schema_path
from schemas.fields import Identifier
from tests.schemas.golden import MESSAGES, examples_of

each_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.short)


def golden_schema(message: InputMessage | OutputMessage) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schema_path(message).read_text(encoding="utf-8"))
    return schema


@each_message
def test_model_is_compatible_with_its_released_schema(message: InputMessage | OutputMessage) -> None:
    """No change of a model may break old events or old readers."""
    direction: Direction = "input" if isinstance(message, InputMessage) else "output"
    assert breaks(golden_schema(message), current_schema(message), direction) == []


@each_message
def test_released_schema_is_up_to_date(message: InputMessage | OutputMessage) -> None:
    """A compatible change is written down too: run `python -m schemas.export`."""
    assert golden_schema(message) == current_schema(message)


@each_message
def test_released_schema_accepts_the_examples(message: InputMessage | OutputMessage) -> None:
    """Every example is valid by the stored schema, as a reader in another language would check it."""
    validator = Draft202012Validator(golden_schema(message))
    examples = examples_of(message)
    assert examples
    for example in examples:
        assert [error.message for error in validator.iter_errors(example)] == []


def test_golden_folder_holds_exactly_the_messages() -> None:
    """No golden file is without its message, no message without its files."""
    expected = {
        f"{message.short}.v{message.version}{part}" for message in MESSAGES for part in (".json", ".examples.json")
    }
    assert {path.name for path in GOLDEN.iterdir()} == expected


def released_and_changed(folder: Path, data: type[InputData]) -> InputMessage:
    """Release `login` in a folder, and return it as if its data had been edited to this model."""
    shutil.copy(schema_path(INPUTS["login"]), folder)
    released = INPUTS["login"]
    event = type("LoginEvent", (released.event,), {"__annotations__": {"data": data}, "__module__": __name__})
    return InputMessage(released.short, released.kind, released.version, data, event)


def test_export_refuses_an_incompatible_change(tmp_path: Path) -> None:
    """A released schema that would break stays as it is, and the refusal names the field."""

    class Login(InputData):
        user: Identifier
        role: Identifier

    message = released_and_changed(tmp_path, Login)
    before = schema_path(message, tmp_path).read_bytes()
    assert any("$.data.role: required" in line for line in export([message], tmp_path))
    assert schema_path(message, tmp_path).read_bytes() == before


def test_export_writes_new_and_compatible_schemas(tmp_path: Path) -> None:
    """A message without a file gets one; a compatible change replaces its file."""

    class Login(INPUTS["login"].data):  # type: ignore[misc]  # a class from the catalogue
        device: Identifier | None = None

    message = released_and_changed(tmp_path, Login)
    assert export([message, INPUTS["session"]], tmp_path) == []
    assert "device" in schema_path(message, tmp_path).read_text(encoding="utf-8")
    assert schema_path(INPUTS["session"], tmp_path).read_bytes() == schema_path(INPUTS["session"]).read_bytes()
