"""docs/model.md says what the code does."""

from __future__ import annotations

import doctest
from pathlib import Path

from service.model.loader import load_model
from service.scoring.signals import SIGNALS

PAGE = Path(__file__).parents[2] / "docs" / "model.md"


def test_examples_run_as_shown() -> None:
    """Every example of the page gives the output printed below it."""
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_tables_match_the_default_model() -> None:
    """The page's table of factors and the words of every signal are those of the code."""
    text = PAGE.read_text(encoding="utf-8")
    for factor in load_model().factors:
        curve = ", ".join(f"{x:g} → {y:g}" for x, y in zip(factor.curve.xs, factor.curve.ys, strict=True))
        assert f"| {factor.label} | `{factor.signal.name}` | {factor.weight:g} | {curve} |" in text
    for signal in SIGNALS.values():
        assert f"**`{signal.name}`** =" in text
        row = next((line for line in text.splitlines() if line.startswith(f"| `{signal.name}` |")), "")
        assert {word for word in signal.word_names if f"`{{{word}}}`" in row} == signal.word_names
