"""The page of events tells what the schemas hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from schemas.catalogue import INPUTS, InputMessage, OutputMessage
from schemas.outputs import DeadLetterReason
from tests.schemas.golden import MESSAGES, examples_of

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
SECTIONS = {section.split("\n", 1)[0]: section for section in PAGE.split("\n### ")[1:]}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.short)
def test_page_shows_the_golden_example(message: InputMessage | OutputMessage) -> None:
    """Each message has a section with its first golden example, verbatim."""
    example = json.dumps(examples_of(message)[0], indent=2, ensure_ascii=False)
    assert f"```json\n{example}\n```" in SECTIONS[message.short]


@pytest.mark.parametrize("message", INPUTS.values(), ids=lambda message: message.short)
def test_page_explains_every_input_field(message: InputMessage) -> None:
    """Each field that a publisher may send is named in the text too, not only in an example."""
    prose = "".join(PAGE.split("```")[::2])
    missing = [name for name, field in message.data.model_fields.items() if f"`{field.alias or name}`" not in prose]
    assert missing == []


def test_page_has_no_other_messages() -> None:
    """A section for each message, and none for a message that is gone."""
    assert set(SECTIONS) == {message.short for message in MESSAGES}


@pytest.mark.parametrize("reason", get_args(DeadLetterReason))
def test_page_has_a_cure_for_every_reason(reason: str) -> None:
    """Each dead-letter reason stands in the table of cures."""
    assert f"| `{reason}` |" in PAGE
