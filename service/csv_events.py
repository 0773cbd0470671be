"""CSV rows as CloudEvents: which column fills which field of the event, and the id that a row gets.

The id depends on the row's content and on how many equal rows came before it, so publishing a file twice gives the
same ids, while two logins of one user on one day stay two events.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from schemas.catalogue import INPUTS, InputKind
from schemas.codec import encode_input
from schemas.times import parse_time_ms
from service.errors import InputError, RecordRejected
from service.ingest import VALUE_MAX_BYTES

REQUIRED_FIELDS = ("account", "time", "type")
ENVELOPE_FIELDS = (*REQUIRED_FIELDS, "id", "source")
# Equal rows are counted among this many distinct rows, then counting starts anew under another number.
COUNTED_ROWS = 1_000_000

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Convert = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """`columns` maps fields of the event to columns of the file, `constants` sets fields alike in every row."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]

    def check(self, path: str, kind: InputKind | None) -> None:
        """Raise InputError for a mapping without account, time or type, or with a field that no event has."""
        named = {*self.columns, *self.constants}
        for name in REQUIRED_FIELDS:
            if name not in named:
                raise InputError(
                    f"{path}: nothing says the {name} of its rows; "
                    f"add {name}=COLUMN to --columns, or --set {name}=VALUE for all rows"
                )
        known = {*ENVELOPE_FIELDS}
        for short, message in INPUTS.items():
            if kind in {None, message.kind}:
                known |= converters(short).keys()
        if unknown := sorted(named - known):
            raise InputError(f"no event has the field {unknown[0]!r}; the fields are: {', '.join(sorted(known))}")

    def positions(self, path: str, header: list[str]) -> list[tuple[str, int]]:
        """Find the columns in the file's header; raises InputError listing those that exist."""
        for column in self.columns.values():
            if column not in header:
                raise InputError(f"{path} has no column {column!r}; its columns are: {', '.join(header)}")
        return [(name, header.index(column)) for name, column in self.columns.items()]


def parse_fields(text: str, option: str) -> dict[str, str]:
    """Parse `field=value,field=value`; raises InputError naming the option."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise InputError(f"{option}: {part!r} is not field=value, as in {option} account=org_id,time=date")
        fields[name.strip()] = value.strip()
    return fields


def bounded_lines(stream: BufferedReader) -> Iterator[tuple[int, bytes | RecordRejected]]:
    """Yield each line's number and its text without the end; a refusal for a line that no record may hold."""
    line = 0
    while text := stream.readline(VALUE_MAX_BYTES + 2):
        line += 1
        if text.endswith(b"\n") or len(text) <= VALUE_MAX_BYTES:
            yield line, text.rstrip(b"\r\n")
            continue
        while not text.endswith(b"\n") and (text := stream.readline(VALUE_MAX_BYTES)):
            pass  # the rest of the line is read and dropped
        yield line, RecordRejected("too_large", f"the line has more than {VALUE_MAX_BYTES} bytes")


def csv_values(path: str, stream: BufferedReader, mapping: CsvMapping) -> Iterator[tuple[int, bytes | RecordRejected]]:
    """Yield each row's (last) line number and its CloudEvent, or why there is none."""
    lines = _TextLines(stream)
    rows = csv.reader(lines)
    header = _header(path, rows)
    positions = mapping.positions(path, header)
    encoder = _RowEncoder(f"csv:{Path(path).name}", mapping.constants)
    while True:
        value: bytes | RecordRejected
        try:
            row = next(rows, None)
            if row is None:
                return
            if not row:
                continue
            if len(row) == len(header):
                value = encoder.encode({name: row[position] for name, position in positions})
            else:
                value = RecordRejected("invalid_event", f"the row has {len(row)} fields, the header {len(header)}")
        except csv.Error as error:
            value = RecordRejected("invalid_event", f"not a CSV row: {error}")
        except RecordRejected as rejected:
            value = rejected
        yield lines.line, value


def _header(path: str, rows: Iterator[list[str]]) -> list[str]:
    try:
        header = next(rows, None)
    except (csv.Error, RecordRejected):
        header = None
    if not header:
        raise InputError(f"{path} has no header; its first line must name the columns")
    return header


class _TextLines(Iterator[str]):
    """The stream's lines as text; what is not UTF-8 becomes lone surrogates, which encoding the row refuses.

    A line that is too long raises RecordRejected, and the one after it can still be read.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self.line = 0
        self._lines = bounded_lines(stream)

    def __next__(self) -> str:
        self.line, text = next(self._lines)
        if isinstance(text, RecordRejected):
            raise text
        return text.decode("utf-8-sig" if self.line == 1 else "utf-8", "surrogateescape") + "\n"


class _RowEncoder:
    """Makes the CloudEvents of one file's rows."""

    def __init__(self, source: str, constants: Mapping[str, str]) -> None:
        self._source = source
        self._constants = constants
        self._counts: dict[bytes, int] = {}
        self._generation = 0

    def encode(self, fields: dict[str, str]) -> bytes:
        """Encode one row as structured-mode JSON; raises RecordRejected for what no event can hold."""
        fields.update(self._constants)
        short, account, time = fields.pop("type"), fields.pop("account"), fields.pop("time")
        event_id, source = fields.pop("id", ""), fields.pop("source", "") or self._source
        if short not in INPUTS:
            raise RecordRejected("unknown_type", f"type: expected one of {', '.join(INPUTS)}")
        convert = converters(short)
        try:
            time_ms = time_or_date_ms(time)
        except ValueError as error:
            raise RecordRejected("invalid_event", f"time: {error}") from None
        data = {name: _converted(text, convert.get(name)) for name, text in fields.items() if text}
        try:
            event_id = event_id or self._row_id([short, account, time, data])
            return encode_input(short, data, event_id=event_id, source=source, account=account, time_ms=time_ms)
        except TypeError:
            raise RecordRejected("invalid_event", "the row is not text in UTF-8") from None
        except ValueError as error:
            raise RecordRejected("invalid_event", str(error)) from None

    def _row_id(self, content: list[Any]) -> str:
        digest = hashlib.sha256(orjson.dumps(content)).digest()[:16]
        if len(self._counts) >= COUNTED_ROWS:
            self._counts.clear()
            self._generation += 1
        count = self._counts[digest] = self._counts.get(digest, 0) + 1
        return f"{digest.hex()}-{self._generation}-{count}"


@functools.lru_cache(4_096)
def time_or_date_ms(text: str) -> int:
    """Read a time as on the wire, or a date as its start in UTC; raises ValueError.

    Cached, because files repeat their times, dates above all.
    """
    return parse_time_ms(_with_time(text))


def _with_time(text: str) -> str:
    """Read a date without a time as the start of that day, UTC."""
    return text + "T00:00:00Z" if _DATE.fullmatch(text) else text


def _converted(text: str, convert: Convert | None) -> Any:
    """Turn a cell into what its field holds; what does not convert stays text, for the decoder to name."""
    if convert is None:
        return text
    try:
        return convert(text)
    except ValueError:
        return text


@functools.cache
def converters(short: str) -> dict[str, Convert]:
    """List the fields of a message's data, each with what turns a cell's text into it, by the message's JSON Schema."""
    properties = INPUTS[short].data.model_json_schema()["properties"]
    return {name: _converter(schema) for name, schema in properties.items()}


def _converter(schema: dict[str, Any]) -> Convert:
    kinds = {part.get("type"): part for part in schema.get("anyOf", [schema])}
    if "integer" in kinds:
        return int
    if "number" in kinds:
        return float
    if "array" in kinds:
        return lambda text: text.split("|")
    if kinds.get("string", {}).get("format") == "date-time":
        return _with_time
    return str
