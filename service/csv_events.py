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
from typing import Any, NamedTuple

import orjson

from schemas.catalogue import INPUTS, InputKind
from schemas.codec import encode_input
from schemas.times import parse_time_ms
from service.core_events import ID_SEPARATOR
from service.errors import InputError, RecordRejected, UsageError
from service.ingest import VALUE_MAX_BYTES
from service.plain_usage import ACTIONS, ID_MAX, make_usage
from service.scoring.events import Usage

REQUIRED_FIELDS = ("account", "time", "type")
ENVELOPE_FIELDS = (*REQUIRED_FIELDS, "id", "source")
# Equal rows are counted among this many distinct rows, then counting starts anew under another number.
COUNTED_ROWS = 1_000_000
BLOCK_BYTES = 256 * 1024

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Convert = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """`columns` maps fields of the event to columns of the file, `constants` sets fields alike in every row."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]

    def check(self, path: str, kind: InputKind | None) -> None:
        """Raise UsageError for a mapping without account, time or type, or with a field or type that no event has."""
        named = {*self.columns, *self.constants}
        for name in REQUIRED_FIELDS:
            if name not in named:
                raise UsageError(
                    f"{path}: nothing says the {name} of its rows; "
                    f"add {name}=COLUMN to --columns, or --set {name}=VALUE for all rows"
                )
        if "type" in self.constants and self.constants["type"] not in INPUTS:
            raise UsageError(f"--set type={self.constants['type']}: expected one of {', '.join(INPUTS)}")
        known = {*ENVELOPE_FIELDS}
        for short, message in INPUTS.items():
            if kind in {None, message.kind}:
                known |= converters(short).keys()
        if unknown := sorted(named - known):
            raise UsageError(f"no event has the field {unknown[0]!r}; the fields are: {', '.join(sorted(known))}")

    def positions(self, path: str, header: list[str]) -> list[tuple[str, int]]:
        """Find the columns in the file's header; raises InputError listing those that exist."""
        for column in self.columns.values():
            if column not in header:
                raise InputError(f"{path} has no column {column!r}; its columns are: {', '.join(header)}")
        return [(name, header.index(column)) for name, column in self.columns.items()]


def parse_fields(text: str, option: str) -> dict[str, str]:
    """Parse `field=value,field=value`; raises UsageError naming the option."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise UsageError(f"{option}: {part!r} is not field=value, as in {option} account=org_id,time=date")
        fields[name.strip()] = value.strip()
    return fields


def bounded_lines(stream: BufferedReader) -> Iterator[tuple[int, bytes | RecordRejected]]:
    """Yield each line's number and its text without the end; a refusal for a line that no record may hold.

    Reads what is there, up to a block, so that a pipe's lines come as they are written.
    """
    line = 0
    rest = b""
    while block := stream.read1(BLOCK_BYTES):
        texts = (rest + block).split(b"\n")
        # Of a line without end only so much is kept that it stays too long.
        rest = texts.pop()[: VALUE_MAX_BYTES + 2]
        for text in texts:
            line += 1
            yield line, text.rstrip(b"\r") if len(text) <= VALUE_MAX_BYTES + 1 else _too_long()
    if rest:
        yield line + 1, rest.rstrip(b"\r") if len(rest) <= VALUE_MAX_BYTES + 1 else _too_long()


def _too_long() -> RecordRejected:
    return RecordRejected("too_large", f"the line has more than {VALUE_MAX_BYTES} bytes")


class CsvRow(NamedTuple):
    """A row as an event before it is put into its envelope; `data` is JSON-ready and not yet checked."""

    short: str
    account: str
    time_ms: int
    event_id: str
    source: str
    data: dict[str, Any]

    def value(self) -> bytes:
        """Write the row as structured-mode JSON; raises RecordRejected for what no event can hold."""
        try:
            return encode_input(
                self.short,
                self.data,
                event_id=self.event_id,
                source=self.source,
                account=self.account,
                time_ms=self.time_ms,
            )
        except TypeError:
            raise _not_text() from None
        except ValueError as error:
            raise RecordRejected("invalid_event", str(error)) from None

    def plain_event(self) -> Usage | None:
        """Make the event that decoding `value()` gives, without writing it; None when only decoding can tell."""
        action = ACTIONS.get(self.short)
        if action is None or not 0 < len(self.event_id) <= ID_MAX or not 0 < len(self.source) <= ID_MAX:
            return None
        texts = [self.source, self.event_id, self.account, *[v for v in self.data.values() if type(v) is str]]
        if not "".join(texts).isprintable():  # lone surrogates are not, either
            return None
        try:
            identity = f"{self.source}{ID_SEPARATOR}{self.event_id}"
            return make_usage(self.account, identity, self.time_ms, action, self.data)
        except (KeyError, TypeError):
            return None


def csv_rows(path: str, stream: BufferedReader, mapping: CsvMapping) -> Iterator[tuple[int, CsvRow | RecordRejected]]:
    """Yield each row with its (last) line number, or why there is none."""
    lines = _TextLines(stream)
    rows = csv.reader(lines)
    header = _header(path, rows)
    reader = _RowReader(f"csv:{Path(path).name}", mapping.positions(path, header), mapping.constants)
    read, fields = reader.read, len(header)
    while True:
        found: CsvRow | RecordRejected
        try:
            for row in rows:
                if len(row) == fields:
                    yield lines.line, read(row)
                elif row:
                    found = RecordRejected("invalid_event", f"the row has {len(row)} fields, the header {fields}")
                    yield lines.line, found
        except csv.Error as error:
            found = RecordRejected("invalid_event", f"not a CSV row: {error}")
        except RecordRejected as rejected:
            found = rejected
        else:
            return
        yield lines.line, found


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


class _Cell(NamedTuple):
    """Where a field of the event comes from: a column, or a constant for all rows."""

    name: str
    position: int
    constant: str | None

    def of(self, row: list[str]) -> str:
        """Return the field's text in a row."""
        return row[self.position] if self.constant is None else self.constant


class _RowReader:
    """Reads the rows of one file."""

    def __init__(self, source: str, positions: list[tuple[str, int]], constants: Mapping[str, str]) -> None:
        cells = {name: _Cell(name, position, constants.get(name)) for name, position in positions}
        for name, constant in constants.items():
            cells.setdefault(name, _Cell(name, -1, constant))
        self._source = source
        self._type, self._account, self._time = cells.pop("type"), cells.pop("account"), cells.pop("time")
        self._id = cells.pop("id", _Cell("id", -1, ""))
        self._row_source = cells.pop("source", _Cell("source", -1, ""))
        self._cells = list(cells.values())
        self._counts: dict[bytes, int] = {}
        self._generation = 0

    def read(self, row: list[str]) -> CsvRow:
        """Read one row; raises RecordRejected for what no event can hold."""
        short, account, time = self._type.of(row), self._account.of(row), self._time.of(row)
        if short not in INPUTS:
            raise RecordRejected("unknown_type", f"type: expected one of {', '.join(INPUTS)}")
        convert = converters(short)
        try:
            time_ms = time_or_date_ms(time)
        except ValueError as error:
            raise RecordRejected("invalid_event", f"time: {error}") from None
        data: dict[str, Any] = {}
        for name, position, constant in self._cells:
            text = row[position] if constant is None else constant
            if text:
                data[name] = _converted(text, convert.get(name))
        event_id = self._id.of(row) or self._row_id([short, account, time, data])
        return CsvRow(short, account, time_ms, event_id, self._row_source.of(row) or self._source, data)

    def _row_id(self, content: list[Any]) -> str:
        try:
            digest = hashlib.sha256(orjson.dumps(content)).digest()[:16]
        except TypeError:
            raise _not_text() from None
        if len(self._counts) >= COUNTED_ROWS:
            self._counts.clear()
            self._generation += 1
        count = self._counts[digest] = self._counts.get(digest, 0) + 1
        return f"{digest.hex()}-{self._generation}-{count}"


def _not_text() -> RecordRejected:
    return RecordRejected("invalid_event", "the row is not text in UTF-8")


@functools.lru_cache(4_096)
def time_or_date_ms(text: str) -> int:
    """Read a time as on the wire, or a date as its start in UTC; raises ValueError.

    Cached, because files repeat their times, dates above all.
    """
    try:
        return parse_time_ms(_with_time(text))
    except ValueError as error:
        told = str(error).removesuffix(", with time and offset")  # a date alone is fine here
        raise ValueError(f"{told}, like 2025-06-30 or 2025-06-30T12:00:00Z") from None


def _with_time(text: str) -> str:
    """Read a date without a time as the start of that day, UTC."""
    return text + "T00:00:00Z" if _DATE.fullmatch(text) else text


def _converted(text: str, convert: Convert | None) -> Any:
    """Turn a cell into what its field holds; what does not convert stays text, for the decoder to name."""
    if convert is None or convert is str:
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
