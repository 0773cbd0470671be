"""F19: the model changes while records flow and workers die, and every output is of one model as a whole.

Which model was in force for which event depends on when a worker looked, so no oracle knows the alerts that are due.
What holds in every order is asserted: each score and each alert follows from its own values by the model that it names;
alerts are numbered without gaps (`compare`); and in the end every account is what the last model makes of it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.compare import Difference
from tests.chaos.observed import Observed
from tests.chaos.oracle import Expected
from tests.chaos.run import MODELS, Run

OTHER = Path(__file__).parent / "live_other.yaml"
RELOAD_SECONDS = 4.0
ROUNDING = 0.011
BANDS = ("endangered", "at_risk")


def change_model(run: Run, times: int) -> None:
    """F19: another model is put in place and a worker dies meanwhile, again and again; one comes while none runs."""
    files = (MODELS["live"], OTHER)
    run.checks.append(_each_of_one_model)
    run.checks.append(_last_model_everywhere)
    run.fleet.wait_ready()
    for number in range(times):
        run.fleet.pass_time(run.rng.uniform(1, 3))
        run.put_model(files[(number + 1) % 2])
        run.fleet.pass_time(run.rng.uniform(0, RELOAD_SECONDS))
        run.fleet.kill(run.rng.choice(run.fleet.running()))
        run.fleet.tend()
    run.end_producing()
    run.catch_up()
    for slot in run.fleet.running():  # what changes while nobody runs is found by recovery alone
        run.fleet.kill(slot)
    run.evict_dead()
    run.put_model(files[(times + 1) % 2])
    run.fleet.tend()
    run.fleet.wait_ready()


def _documents() -> dict[str, Any]:
    """Read both models, by the version that outputs name: the file's own and a fingerprint behind it."""
    return {
        document["version"]: document
        for document in (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (MODELS["live"], OTHER) if path)
    }


def _each_of_one_model(_: Expected, observed: Observed) -> Iterator[Difference]:
    documents = _documents()
    for topic in (observed.topics.scores, observed.topics.alerts):
        for record in observed.records[topic]:
            if record.value is None:
                continue
            data = json.loads(record.value)["data"]
            document = next(
                (known for name, known in documents.items() if data["model_version"].startswith(name)), None
            )
            wrong = "no such model" if document is None else _contradiction(data, document)
            if wrong:
                yield Difference("mixed models", f"{topic} {record.key!r} seq {data['seq']}", wrong, data)


def _contradiction(data: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    """Say what of an output does not follow from its own values by a model."""
    total = 0.0
    for factor in data["factors"]:
        known = document["factors"].get(factor["name"])
        if known is None:
            return f"factor {factor['name']}"
        if abs(factor["output"] - _on_curve(known["curve"], factor["value"])) > ROUNDING:
            return f"output of {factor['name']}"
        total += factor["contribution"]
    if data["score"] is not None and abs(total - data["score"]) > ROUNDING:
        return f"score {total}"
    if data["score"] is not None and "previous_band" in data:
        due = _band(document["bands"], data["previous_band"], data["score"])
        return None if due == data["band"] else f"band {due}"
    return None


def _on_curve(curve: list[list[float]], at: float) -> float:
    """Interpolate; constant outside the curve."""
    after = bisect_right([point[0] for point in curve], at)
    if after in (0, len(curve)):
        return curve[min(after, len(curve) - 1)][1]
    (x0, y0), (x1, y1) = curve[after - 1], curve[after]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def _band(bands: Mapping[str, Any], before: str, score: float) -> str:
    """Take the worst band that the score enters or, coming from it or a worse one, does not leave."""
    for number, band in enumerate(BANDS):
        limit = bands[band]["leave" if before in BANDS[: number + 1] else "enter"]
        if score < limit:
            return band
    return "healthy"


def _last_model_everywhere(expected: Expected, observed: Observed) -> Iterator[Difference]:
    last = {account: json.loads(value)["data"] for account, value in observed.last_scores().items()}
    for account, due in expected.scores.items():
        found = last.get(account)
        if found is None and due["seq"] == 0:
            continue  # without a score nothing need be told, as in `compare`
        for name in ("model_version", "score", "coverage"):
            if found is None or found[name] != due[name]:
                yield Difference("score", account, {name: due[name]}, found and {name: found[name]})
