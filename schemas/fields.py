"""The constrained types that messages are made of; a bound that two messages share stands here once.

Control characters are refused in every string, so that no value can forge a log line, a header or a composed key.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from schemas.times import MAX_TIME_MS, MIN_TIME_MS, RFC3339_PATTERN, parse_time_ms, time_text

ACCOUNT_MAX_BYTES: Final = 256
ACCOUNT_MAX: Final = 256  # characters
SENTENCE_MAX: Final = 2_000
MAX_MINOR_UNITS: Final = 2**53 - 1  # exact in every JSON reader, also in those that know only doubles


def _text(max_length: int) -> Any:
    # Lengths beside the pattern, not in it: a counted repetition costs the matcher twice the time.
    return Field(min_length=1, max_length=max_length, pattern=r"^[^\x00-\x1f\x7f]*$")


class _TimeSchema:
    """Text on the wire, epoch milliseconds in Python, both ways."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(
                parse_time_ms, core_schema.str_schema(pattern=RFC3339_PATTERN)
            ),
            python_schema=core_schema.int_schema(strict=True, ge=MIN_TIME_MS, le=MAX_TIME_MS),
            serialization=core_schema.plain_serializer_function_ser_schema(
                time_text, return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": RFC3339_PATTERN}


UtcTime = Annotated[int, _TimeSchema()]
AccountId = Annotated[str, _text(ACCOUNT_MAX)]
Identifier = Annotated[str, _text(256)]
Source = Annotated[str, _text(512)]
OutputId = Annotated[str, _text(512)]  # an account id and more
Name = Annotated[str, _text(256)]
Label = Annotated[str, _text(64)]
Sentence = Annotated[str, _text(SENTENCE_MAX)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
MinorUnits = Annotated[int, Field(ge=0, le=MAX_MINOR_UNITS)]
Sentiment = Annotated[float, Field(ge=-1, le=1)]
AlertSeq = Annotated[int, Field(ge=1, le=MAX_MINOR_UNITS)]
ScaleValue = Annotated[float, Field(ge=-1_000, le=1_000)]
DurationSeconds = Annotated[float, Field(ge=0, le=31 * 86_400)]
Tags = Annotated[tuple[Label, ...], Field(max_length=50)]
KeyUsers = Annotated[tuple[Identifier, ...], Field(max_length=50)]
Score = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
JsonMediaType = Annotated[
    str, Field(max_length=128, pattern=r"^[A-Za-z]+/([A-Za-z0-9.-]+\+)?[Jj][Ss][Oo][Nn] *(;[ -~]*)?$")
]
