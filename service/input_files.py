"""Files of events, for `publish` and `replay` alike: NDJSON of CloudEvents, or CSV rows turned into CloudEvents.

One reader, one set of refusals and the same bytes for both, so that what is replayed is what would be published. A
bad line is refused by number and reading goes on; what cannot be read at all raises InputError. Reading is lazy and
memory is bounded. How a CSV row becomes an event is in `service.csv_events`.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from schemas.catalogue import InputKind
from service.csv_events import CsvMapping, CsvRow, bounded_lines, csv_rows
from service.errors import InputError, RecordRejected
from service.ingest import Decoder
from service.scoring.events import AccountUpdate, Action, Event, Payment, Survey, Ticket, Usage

STDIN = "-"
GZIP_MAGIC = b"\x1f\x8b"
POSITION_LINES = 256
_SUBJECT = b'"subject"'
KIND_OF_EVENT: dict[type[Event], InputKind] = {
    Usage: "usage",
    Payment: "payment",
    Ticket: "ticket",
    Survey: "survey",
    AccountUpdate: "account",
    Action: "action",
}


class FileEvent(NamedTuple):
    """One line that holds an event: `value` is what Kafka gets, `event` what the core understands of it."""

    kind: InputKind
    value: bytes
    event: Event


class RefusedLine(NamedTuple):
    """One line that holds none; `reason` is from the closed list of dead-letter reasons."""

    file: str
    line: int
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}: {self.detail}"


class Part(Protocol):
    """Some of the accounts; bad lines that name none are told by the part that `is_first`."""

    @property
    def is_first(self) -> bool:
        """Tell whether bad lines of nobody are this part's."""

    def owns(self, account: bytes) -> bool:
        """Tell whether the account (its id in UTF-8) belongs to this part."""


class Share:
    """One of `count` parts of all accounts, the same in every process and on every machine."""

    def __init__(self, index: int, count: int) -> None:
        self.index = index
        self.count = count
        self._known: dict[bytes, bool] = {}

    @property
    def is_first(self) -> bool:
        """True for the first of the parts."""
        return self.index == 0

    def owns(self, account: bytes) -> bool:
        """Tell whether the account's hash falls into this part."""
        known = self._known.get(account)
        if known is None:
            known = self._known[account] = zlib.crc32(account) % self.count == self.index
        return known


class OneAccount:
    """One account alone."""

    is_first = True

    def __init__(self, account: str) -> None:
        self._account = account.encode("utf-8", "surrogatepass")

    def owns(self, account: bytes) -> bool:
        """Tell whether this is the account."""
        return account == self._account


class InputFile:
    """One file; `events` reads it once, `bytes_read` of `total_bytes` (None: not known) tell how far it is.

    `kind` refuses events of other kinds; `mapping` makes events of CSV rows; `strict` ends at the first bad line.
    """

    def __init__(
        self, path: str, *, kind: InputKind | None = None, mapping: CsvMapping | None = None, strict: bool = False
    ) -> None:
        self.path = path
        self.total_bytes: int | None = None
        self._kind = kind
        self._strict = strict
        self.bytes_read = 0
        if path != STDIN:
            if not Path(path).is_file():
                raise InputError(f"{path} is not a file; name an NDJSON or CSV file, or - for standard input")
            self.total_bytes = Path(path).stat().st_size
        is_csv = mapping is not None or path.removesuffix(".gz").endswith(".csv")
        self._mapping = (mapping or CsvMapping({}, {})) if is_csv else None
        if self._mapping is not None:
            self._mapping.check(path, kind)

    def events(self, decoder: Decoder, refuse: Callable[[RefusedLine], None]) -> Iterator[FileEvent]:
        """Yield the file's events in order; raises InputError when it cannot be read, or at a bad line if strict."""
        for line, found in self._lines():
            try:
                value = _value(found)
                event = decoder.decode_value(self._kind, value)
            except RecordRejected as rejected:
                self._refuse(RefusedLine(self.path, line, rejected.reason, rejected.detail), refuse)
            else:
                yield FileEvent(KIND_OF_EVENT[type(event)], value, event)

    def core_events(
        self, decoder: Decoder, refuse: Callable[[RefusedLine], None], part: Part | None = None
    ) -> Iterator[Event]:
        """Yield what the core understands of the same events, without the bytes where they need not be written.

        Of a part only its accounts' events come, and a bad line is refused by the part that it belongs to.
        """
        for line, found in self._lines():
            account = None
            if part is not None:
                account = _account_bytes(found)
                if account is not None and not part.owns(account):
                    continue
            try:
                event = self._core_event(found, decoder)
            except RecordRejected as rejected:
                if part is None or account is not None or part.is_first:
                    self._refuse(RefusedLine(self.path, line, rejected.reason, rejected.detail), refuse)
                continue
            if part is None or account is not None or part.owns(event.account.encode()):
                yield event

    def _core_event(self, found: bytes | CsvRow | RecordRejected, decoder: Decoder) -> Event:
        if isinstance(found, CsvRow) and self._kind in {None, "usage"}:
            event = found.plain_event()
            if event is not None and not decoder.is_future(event.time_ms):
                return event
        return decoder.decode_value(self._kind, _value(found))

    def _lines(self) -> Iterator[tuple[int, bytes | CsvRow | RecordRejected]]:
        """Yield what each line holds that is not empty, noting how far the file is read."""
        with self._open() as (raw, stream):
            found = bounded_lines(stream) if self._mapping is None else csv_rows(self.path, stream, self._mapping)
            for line, value in found:
                if not line % POSITION_LINES and self.total_bytes is not None:
                    self.bytes_read = raw.tell()
                if value:
                    yield line, value

    def _refuse(self, refused: RefusedLine, refuse: Callable[[RefusedLine], None]) -> None:
        if self._strict:
            raise InputError(f"{refused}; correct the line, or leave out --strict to pass over such lines")
        refuse(refused)

    @contextmanager
    def _open(self) -> Iterator[tuple[FileIO, BufferedReader]]:
        """Open the file (raw, and unpacked if its first bytes say so); what goes wrong with it becomes InputError."""
        try:
            # Standard input gets a reader of its own: the shared one would be locked by a thread that waits for a line.
            raw = FileIO(sys.stdin.fileno(), closefd=False) if self.path == STDIN else FileIO(self.path)
            with raw, _unpacked(BufferedReader(raw)) as stream:
                yield raw, stream
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.path} is damaged ({error}); make or fetch the file again") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from None


def _value(found: bytes | CsvRow | RecordRejected) -> bytes:
    """Return the value for Kafka; raises RecordRejected when there is none."""
    if isinstance(found, RecordRejected):
        raise found
    return found if isinstance(found, bytes) else found.value()


def _account_bytes(found: bytes | CsvRow | RecordRejected) -> bytes | None:
    """Read the account of a line without reading the line; None when only the decoder can tell."""
    if isinstance(found, CsvRow):
        return found.account.encode("utf-8", "surrogatepass")
    if isinstance(found, RecordRejected):
        return None
    begin = found.find(_SUBJECT)
    if begin < 0 or b"\\" in found or found.find(_SUBJECT, begin + len(_SUBJECT)) >= 0:
        return None
    begin += len(_SUBJECT)
    if found[begin : begin + 2] != b':"':
        return None
    end = found.find(b'"', begin + 2)
    return found[begin + 2 : end]


@contextmanager
def _unpacked(stream: BufferedReader) -> Iterator[BufferedReader]:
    if stream.peek(2)[:2] != GZIP_MAGIC:
        yield stream
        return
    with gzip.open(stream) as unpacked:
        yield cast("BufferedReader", unpacked)
