"""The golden examples, read once, for the tests of schemas and of the decoder."""

from __future__ import annotations

import json
from typing import Any

from schemas.catalogue import INPUTS, OUTPUTS, InputMessage, OutputMessage
from schemas.export import examples_path

MESSAGES: list[InputMessage | OutputMessage] = [*INPUTS.values(), *OUTPUTS.values()]


def examples_of(message: InputMessage | OutputMessage) -> list[dict[str, Any]]:
    """Read the stored examples of a message's current version."""
    found: list[dict[str, Any]] = json.loads(examples_path(message).read_text(encoding="utf-8"))
    return found


INPUT_EXAMPLES: list[tuple[InputMessage, dict[str, Any]]] = [
    (message, example) for message in INPUTS.values() for example in examples_of(message)
]
