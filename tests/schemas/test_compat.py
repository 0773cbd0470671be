"""The compatibility check bites: each rule is shown by a change that breaks it and one that does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.catalogue import INPUTS, OUTPUTS
from schemas.compat import Direction, breaks
from schemas.export import current_schema

Schema = dict[str, Any]
Edit = Callable[[Schema], None]


def fields(schema: Schema) -> Schema:
    """Return the properties of `data`."""
    name = str(schema["properties"]["data"]["$ref"]).removeprefix("#/$defs/")
    found: Schema = schema["$defs"][name]
    return found


def edit_field(name: str, **changes: Any) -> Edit:
    def edit(schema: Schema) -> None:
        fields(schema)["properties"].setdefault(name, {}).update(changes)

    return edit


def edit_option(name: str, **changes: Any) -> Edit:
    """Change the value alternative of a field that may be null."""

    def edit(schema: Schema) -> None:
        fields(schema)["properties"][name]["anyOf"][0].update(changes)

    return edit


def replace_field(name: str, new: Schema) -> Edit:
    def edit(schema: Schema) -> None:
        fields(schema)["properties"][name] = new

    return edit


def remove_field(name: str) -> Edit:
    def edit(schema: Schema) -> None:
        del fields(schema)["properties"][name]
        fields(schema)["required"] = [other for other in fields(schema)["required"] if other != name]

    return edit


def require(name: str) -> Edit:
    def edit(schema: Schema) -> None:
        fields(schema)["required"].append(name)

    return edit


def release(name: str) -> Edit:
    def edit(schema: Schema) -> None:
        fields(schema)["required"].remove(name)

    return edit


def envelope(edit: Edit) -> Edit:
    """Apply an edit of `data` to the envelope instead."""

    def edit_envelope(schema: Schema) -> None:
        edit({"properties": {"data": {"$ref": "#/$defs/Envelope"}}, "$defs": {"Envelope": schema}})

    return edit_envelope


def close(schema: Schema) -> None:
    fields(schema)["additionalProperties"] = False


def drop_dependency(schema: Schema) -> None:
    del fields(schema)["if"], fields(schema)["then"]


def add_dependency(schema: Schema) -> None:
    fields(schema)["if"] = {"required": ["sentiment"]}
    fields(schema)["then"] = {"required": ["severity"]}


def add_to_factor(schema: Schema) -> None:
    schema["$defs"]["Factor"]["properties"]["trend"] = {"type": "number"}


def remove_from_factor(schema: Schema) -> None:
    factor = schema["$defs"]["Factor"]
    del factor["properties"]["sentence"]
    factor["required"].remove("sentence")


NULL = {"type": "null"}
BREAKING: list[tuple[str, str, Edit, str]] = [
    ("input newly required", "login", require("role"), "$.data.role"),
    (
        "input new field required",
        "login",
        lambda schema: (edit_field("org", type="string")(schema), require("org")(schema))[0],
        "$.data.org",
    ),
    ("input type changed", "login", edit_field("user", type="integer"), "$.data.user"),
    ("input number narrowed", "session", edit_field("duration_seconds", type="integer"), "$.data.duration_seconds"),
    ("input null refused", "login", replace_field("role", {"type": "string"}), "$.data.role"),
    ("input enum value removed", "survey_answered", edit_field("kind", enum=["nps", "csat"]), "$.data.kind"),
    (
        "input optional enum value removed",
        "ticket_opened",
        edit_option("severity", enum=["low", "high"]),
        "$.data.severity",
    ),
    ("input minimum raised", "subscription_changed", edit_field("mrr_minor", minimum=1), "$.data.mrr_minor"),
    ("input maximum lowered", "session", edit_field("duration_seconds", maximum=3600), "$.data.duration_seconds"),
    ("input exclusive bound added", "session", edit_field("duration_seconds", exclusiveMinimum=0), "$.data.duration"),
    ("input shorter text", "login", edit_field("user", maxLength=64), "$.data.user"),
    ("input pattern changed", "login", edit_field("user", pattern="^[a-z]+$"), "$.data.user"),
    ("input fewer items", "ticket_opened", edit_field("tags", maxItems=10), "$.data.tags"),
    ("input items narrowed", "ticket_opened", edit_field("tags", items={"type": "integer"}), "$.data.tags[]"),
    ("input unknown fields refused", "login", close, "$.data"),
    ("input dependency added", "ticket_opened", add_dependency, "$.data"),
    ("input field gone", "feature_used", remove_field("feature"), "$.data.feature"),
    ("input default changed", "survey_answered", edit_field("scale_max", default=10), "$.data.scale_max"),
    ("input type name changed", "login", envelope(edit_field("type", const="io.vitals.login.v2")), "$.type"),
    ("input envelope required", "login", envelope(require("datacontenttype")), "$.datacontenttype"),
    ("input keyword without a rule", "login", edit_field("user", contentEncoding="base64"), "$.data.user"),
    ("output field removed", "score", remove_field("owner"), "$.data.owner"),
    ("output field made optional", "score", release("score"), "$.data.score"),
    ("output type widened", "score", edit_field("seq", type="number"), "$.data.seq"),
    (
        "output null allowed",
        "alert",
        replace_field("score", {"anyOf": [{"type": "number", "minimum": 0, "maximum": 100}, NULL]}),
        "$.data.score",
    ),
    (
        "output enum value added",
        "score",
        edit_field("band", enum=["unknown", "healthy", "at_risk", "endangered", "lost"]),
        "$.data.band",
    ),
    ("output bound loosened", "score", edit_field("coverage", maximum=2), "$.data.coverage"),
    ("output bound dropped", "alert", replace_field("coverage", {"type": "number"}), "$.data.coverage"),
    ("output time in another form", "alert", replace_field("as_of", {"type": "integer"}), "$.data.as_of"),
    ("output part lost a field", "score", remove_from_factor, "$.data.factors[].sentence"),
]
HARMLESS: list[tuple[str, str, Edit]] = [
    ("input optional field added", "login", edit_field("device", anyOf=[{"type": "string"}, NULL], default=None)),
    ("input no longer required", "feature_used", release("feature")),
    ("input type widened", "subscription_changed", edit_field("mrr_minor", type="number")),
    ("input null allowed", "login", replace_field("user", {"anyOf": [{"type": "string"}, NULL]})),
    ("input enum value added", "survey_answered", edit_field("kind", enum=["nps", "csat", "ces", "pmf"])),
    ("input bound loosened", "session", edit_field("duration_seconds", maximum=10**9)),
    ("input dependency dropped", "purchase", drop_dependency),
    ("input described anew", "login", edit_field("user", description="who", title="User id")),
    ("output field added", "score", edit_field("trend", type="number")),
    ("output field added to a part", "score", add_to_factor),
    (
        "output field made sure",
        "score",
        replace_field(
            "owner", {"type": "string", "pattern": "^[^\\x00-\\x1f\\x7f]*$", "minLength": 1, "maxLength": 256}
        ),
    ),
    ("output enum value gone", "alert", edit_field("kind", enum=["at_risk", "endangered"])),
    ("output bound tightened", "score", edit_field("coverage", minimum=0.1)),
]


def changed(short: str, edit: Edit) -> tuple[Schema, Schema, Direction]:
    message = INPUTS.get(short) or OUTPUTS[short]
    old = current_schema(message)
    new = copy.deepcopy(old)
    edit(new)
    assert new != old
    return old, new, "input" if short in INPUTS else "output"


@pytest.mark.parametrize(
    ("short", "edit", "place"), [case[1:] for case in BREAKING], ids=[case[0] for case in BREAKING]
)
def test_breaking_change_is_found(short: str, edit: Edit, place: str) -> None:
    """A change that breaks old readers or old events is found, and named by its place."""
    found = breaks(*changed(short, edit))
    assert found
    assert all(line.startswith(place) for line in found), found


@pytest.mark.parametrize(("short", "edit"), [case[1:] for case in HARMLESS], ids=[case[0] for case in HARMLESS])
def test_compatible_change_passes(short: str, edit: Edit) -> None:
    """A change that nobody can notice as a break is let through."""
    assert breaks(*changed(short, edit)) == []
