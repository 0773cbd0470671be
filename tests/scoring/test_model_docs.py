"""docs/model.md says what the code does: its examples are executed, and no signal is missing from it."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

from service.ingest import Decoder
from service.model.file_format import ModelFile
from service.model.loader import load_model
from service.scoring import engine
from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from service.scoring.state import AccountState
from tests.scoring.logs import DAY, HOUR, T0
from tests.scoring.pair import FAR_FUTURE_MS, compile_model
from tests.scoring.wire_logs import text_of

PAGE = Path(__file__).parents[2] / "docs" / "model.md"
MODEL = load_model()
Wire = dict[str, Any]


def day(number: float) -> str:
    """Write the instant at which a day of the examples begins; with a fraction, one within it."""
    return text_of(T0 + round(number * DAY))


def event(number: float, name: str, /, **data: Any) -> Wire:
    """Make an event, at 9 in the morning unless the day has a fraction."""
    time = day(number) if number % 1 else text_of(T0 + round(number) * DAY + 9 * HOUR)
    head = {"specversion": "1.0", "source": "example", "type": f"io.vitals.{name}.v1", "subject": "acme", "time": time}
    return {**head, "data": data}


def login(number: float, user: str = "ann") -> Wire:
    return event(number, "login", user=user)


def account(number: float, **facts: Any) -> Wire:
    return event(number, "account_updated", **facts)


def ticket(number: float, action: str, name: str, **facts: Any) -> Wire:
    return event(number, f"ticket_{action}", ticket=name, **facts)


def survey(number: float, kind: str, score: float, low: float, high: float) -> Wire:
    facts = {"kind": kind, "score": score, "scale_min": low, "scale_max": high}
    return event(number, "survey_answered", response=f"{kind} {number}", **facts)


def play(events: list[Wire], at: float, model: Wire | None = None) -> AccountState:
    """Feed the events to a new account, then let time pass."""
    used = MODEL if model is None else compile_model(model)
    decoder, state = Decoder(lambda: FAR_FUTURE_MS), AccountState("acme")
    for number, one in enumerate(events):
        core_event = decoder.decode_value(None, json.dumps({**one, "id": str(number)}).encode())
        engine.step(state, core_event, core_event.time_ms, used)
    engine.tick(state, T0 + round(at * DAY), used)
    return state


def show(state: AccountState, *names: str) -> None:
    """Print signals, to four digits."""
    for name in names:
        value = SIGNALS[name].read(state)
        print(name, "none" if value is None else f"{value:.4g}")  # noqa: T201


def tell(state: AccountState) -> None:
    """Print the alerts."""
    for alert in state.unsent:
        number = (alert.time_ms - T0) // DAY
        print(f"day {number} {alert.kind}: {alert.previous_band} to {alert.band}, score {alert.score:.2f}")  # noqa: T201


WORDS = {"account": account, "day": day, "event": event, "login": login, "play": play}
WORDS |= {"show": show, "survey": survey, "tell": tell, "ticket": ticket}


def test_examples_run_as_shown() -> None:
    """Every example of the page gives the output printed below it."""
    result = doctest.testfile(str(PAGE), module_relative=False, globs=dict(WORDS))
    assert result.attempted > 40
    assert result.failed == 0


def test_every_signal_has_a_formula_and_an_example() -> None:
    """The page's tables name every signal, and an example shows each that accounts have."""
    text = PAGE.read_text(encoding="utf-8")
    formulas, examples = text.split("## Examples")
    first_cells = "\n".join(re.findall(r"^\|([^|]*)\|", formulas, re.MULTILINE))
    rows = set(re.findall(r"`([a-z_0-9]+)`", first_cells)) | set(re.findall(r"^`(\w+)` = ", formulas, re.MULTILINE))
    assert {*SIGNALS, *SCORE_SIGNALS} <= rows
    assert set(re.findall(r"^([a-z_]+) (?:none|-?[0-9])", examples, re.MULTILINE)) - {"day"} == set(SIGNALS)


def test_the_keys_and_words_of_a_model_file_are_listed() -> None:
    """The section about a model of one's own has each key of the file, and each signal's words in one row."""
    section = PAGE.read_text(encoding="utf-8").split("## Your own model\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(ModelFile.model_fields)
    told: dict[str, set[str]] = {}
    for words, names in re.findall(r"^\| (`\{[^|]+) \| ([^|]+) \|$", section, re.MULTILINE):
        told |= {name: set(re.findall(r"\w+", words)) for name in re.findall(r"\w+", names)}
    assert told == {name: set(signal.word_names) for name, signal in SIGNALS.items() if signal.word_names}
