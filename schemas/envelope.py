"""The CloudEvents 1.0 envelope around every message; `data` belongs to the messages themselves.

Inputs keep what they do not know, so that it can be counted and looked at; outputs refuse it.
"""

from __future__ import annotations

from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import AccountId, Identifier, JsonMediaType, OutputId, Source, UtcTime

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
STRUCTURED_HEADERS: Final[tuple[tuple[str, bytes], ...]] = (("content-type", STRUCTURED_CONTENT_TYPE.encode()),)

DataT = TypeVar("DataT", bound=BaseModel)


def drop_closing(schema: dict[str, Any]) -> None:
    """Leave out `additionalProperties: false`: we never send other fields, but readers must let them grow."""
    schema.pop("additionalProperties", None)


class InputData(BaseModel):
    """Base of every input's `data`: strict types, finite numbers, unknown fields kept aside."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


class OutputData(BaseModel):
    """Base of every output's `data` and its parts: no field more, no number that is not finite."""

    model_config = ConfigDict(
        strict=True, allow_inf_nan=False, extra="forbid", validate_by_name=True, json_schema_extra=drop_closing
    )


class InputEvent(BaseModel, Generic[DataT]):
    """An input event as published; attributes of CloudEvents extensions are legitimate and ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    specversion: Literal["1.0"]
    id: Identifier
    source: Source
    type: str
    subject: AccountId = Field(description="account id; equals the record's key")
    time_ms: UtcTime = Field(alias="time")
    datacontenttype: JsonMediaType | None = None
    data: DataT


class OutputEvent(BaseModel, Generic[DataT]):
    """An output event as consumed."""

    model_config = OutputData.model_config

    specversion: Literal["1.0"]
    id: OutputId
    source: Source
    type: str
    subject: AccountId = Field(description="account id; equals the record's key")
    time_ms: UtcTime = Field(alias="time")
    datacontenttype: Literal["application/json"]
    data: DataT
