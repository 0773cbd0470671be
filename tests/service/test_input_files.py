"""Files of events: every format, the ids that CSV rows get, and what happens to bad lines."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from schemas.catalogue import InputKind
from schemas.times import parse_time_ms
from service.csv_events import CsvMapping, parse_fields
from service.errors import InputError
from service.ingest import VALUE_MAX_BYTES, Decoder
from service.input_files import FileEvent, InputFile, RefusedLine
from service.scoring.events import AccountUpdate, Payment, Survey, Ticket, Usage

NOW_MS = parse_time_ms("2026-01-01T00:00:00Z")
LOGINS = CsvMapping({"account": "org", "user": "who", "time": "date"}, {"type": "login"})


def login(account: str = "acme", time: str = "2025-03-01T10:00:00Z", event_id: str = "1") -> bytes:
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "test",
        "type": "io.vitals.login.v1",
        "subject": account,
        "time": time,
        "data": {"user": "ann"},
    }
    return orjson.dumps(event)


def read(
    path: Path, *, kind: InputKind | None = None, mapping: CsvMapping | None = None, strict: bool = False
) -> tuple[list[FileEvent], list[RefusedLine]]:
    refused: list[RefusedLine] = []
    file = InputFile(str(path), kind=kind, mapping=mapping, strict=strict)
    return list(file.events(Decoder(lambda: NOW_MS), refused.append)), refused


def test_ndjson_lines_pass_unchanged(tmp_path: Path) -> None:
    """Each line's bytes are the value, empty lines and CRLF ends are no matter, a missing last newline neither."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(login("a", event_id="1") + b"\r\n\n" + login("b", event_id="2"))
    events, refused = read(path)
    assert [(event.kind, event.value) for event in events] == [
        ("usage", login("a", event_id="1")),
        ("usage", login("b", event_id="2")),
    ]
    assert not refused


def test_gzip_is_found_by_content_and_read_lazily(tmp_path: Path) -> None:
    """A gzipped file is unpacked whatever its name; the first event is there before the damaged end is met."""
    path = tmp_path / "events.log"
    packed = gzip.compress(b"\n".join(login(event_id=str(number)) for number in range(20_000)))
    path.write_bytes(packed[:-200])
    events = InputFile(str(path)).events(Decoder(lambda: NOW_MS), lambda _: None)
    assert isinstance(next(events).event, Usage)
    with pytest.raises(InputError, match="is damaged"):
        list(events)


def test_bad_lines_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A bad line is refused with its number and the decoder's reason; the lines around it are read."""
    path = tmp_path / "events.ndjson"
    lines = [
        login(event_id="1"),
        b"not json",
        login(time="2031-01-01T00:00:00Z"),
        login().replace(b"login", b"logout"),
        b'{"id": "\xff"}',
        b"[" * 5_000,
        b"x" * (VALUE_MAX_BYTES + 1),
        login(event_id="2"),
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    events, refused = read(path)
    assert [orjson.loads(event.value)["id"] for event in events] == ["1", "2"]
    assert [(line.line, line.reason) for line in refused] == [
        (2, "not_json"),
        (3, "future_time"),
        (4, "unknown_type"),
        (5, "not_json"),
        (6, "not_json"),
        (7, "too_large"),
    ]
    assert str(refused[0]).startswith(f"{path}:2: not_json: ")


def test_a_value_as_large_as_allowed_passes(tmp_path: Path) -> None:
    """The longest line that a record may hold is read, with and without a line end."""
    path = tmp_path / "events.ndjson"
    padded = login().replace(b'{"user"', b'{"x":"' + b"y" * (VALUE_MAX_BYTES - len(login()) - 7) + b'","user"')
    assert len(padded) == VALUE_MAX_BYTES
    path.write_bytes(padded + b"\n" + padded)
    events, refused = read(path)
    assert len(events) == 2
    assert not refused


def test_strict_stops_at_the_first_bad_line(tmp_path: Path) -> None:
    """With strict, the first bad line is an error that names file, line and reason."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(login() + b"\nbad\n" + login(event_id="2"))
    with pytest.raises(InputError, match=r"events\.ndjson:2: not_json"):
        read(path, strict=True)


def test_kind_refuses_the_others(tmp_path: Path) -> None:
    """With a kind declared, events of other kinds are refused as on the wrong topic."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(login())
    assert len(read(path, kind="usage")[0]) == 1
    assert [line.reason for line in read(path, kind="payment")[1]] == ["wrong_topic"]


def test_standard_input_is_read(tmp_path: Path) -> None:
    """A dash reads standard input, gzipped or not."""
    code = (
        "from service.input_files import InputFile; from service.ingest import Decoder;"
        f"print(len(list(InputFile('-').events(Decoder(lambda: {NOW_MS}), print))))"
    )
    for given in (login(), gzip.compress(login())):
        done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
        assert done.stdout == b"1\n"


def test_csv_rows_become_events(tmp_path: Path) -> None:
    """Columns fill fields, constants are alike in all rows, and a date is the start of its day in UTC."""
    path = tmp_path / "logins.csv"
    path.write_text('\ufeffdate,org,who\n2025-03-01,acme,ann\n2025-03-01T12:30:00+02:00,"o,k",bo\n')
    events, refused = read(path, mapping=LOGINS)
    assert not refused
    assert [(event.event.account, event.event.time_ms) for event in events] == [
        ("acme", parse_time_ms("2025-03-01T00:00:00Z")),
        ("o,k", parse_time_ms("2025-03-01T10:30:00Z")),
    ]
    first = orjson.loads(events[0].value)
    assert first["source"] == "csv:logins.csv"
    assert first["type"] == "io.vitals.login.v1"
    assert first["data"] == {"user": "ann"}


def test_csv_cells_are_converted_by_the_schema(tmp_path: Path) -> None:
    """Numbers, lists, dates and empty cells become what the message's schema says, for all five kinds."""
    path = tmp_path / "mixed.csv"
    path.write_text(
        "type,org,at,user,cents,cur,inv,due,tick,sev,tags,mood,kind,resp,score,lo,hi,keys\n"
        "login,a,2025-03-01,ann,,,,,,,,,,,,,,\n"
        "invoice_overdue,a,2025-03-02,,1250,EUR,i1,2025-02-20,,,,,,,,,,\n"
        "ticket_opened,a,2025-03-03,,,,,,t1,high,bug|ui,-0.5,,,,,,\n"
        "survey_answered,a,2025-03-04,,,,,,,,,,csat,r1,4,1,5,\n"
        "account_updated,a,2025-03-05,,,,,,,,,,,,,,,ann|bo\n"
    )
    columns = parse_fields(
        "type=type,account=org,time=at,user=user,amount_minor=cents,currency=cur,invoice=inv,due=due,ticket=tick,"
        "severity=sev,tags=tags,sentiment=mood,kind=kind,response=resp,score=score,scale_min=lo,scale_max=hi,key_users=keys",
        "--columns",
    )
    events, refused = read(path, mapping=CsvMapping(columns, {}))
    assert not refused
    usage, payment, ticket, survey, account = (event.event for event in events)
    assert isinstance(usage, Usage)
    assert isinstance(payment, Payment)
    assert (payment.amount_minor, payment.due_ms) == (1250, parse_time_ms("2025-02-20T00:00:00Z"))
    assert isinstance(ticket, Ticket)
    assert (ticket.tags, ticket.sentiment) == (("bug", "ui"), -0.5)
    assert isinstance(survey, Survey)
    assert (survey.score, survey.scale_min, survey.scale_max) == (4.0, 1.0, 5.0)
    assert isinstance(account, AccountUpdate)
    assert account.key_users == ("ann", "bo")


def test_csv_ids_come_from_content_and_count(tmp_path: Path) -> None:
    """Equal rows stay two events, the same file read again gives the same ids, and order of other rows is no matter."""
    path = tmp_path / "logins.csv"
    rows = ["2025-03-01,acme,ann", "2025-03-01,acme,bo", "2025-03-01,acme,ann"]
    path.write_text("\n".join(["date,org,who", *rows]))
    ids = [event.event.event_id for event in read(path, mapping=LOGINS)[0]]
    assert len(set(ids)) == 3
    assert [event.event.event_id for event in read(path, mapping=LOGINS)[0]] == ids
    path.write_text("\n".join(["date,org,who", rows[1], rows[0], rows[2]]))
    assert {event.event.event_id for event in read(path, mapping=LOGINS)[0]} == set(ids)
    sessions = CsvMapping(LOGINS.columns, {"type": "session", "duration_seconds": "60"})
    assert not {event.event.event_id for event in read(path, mapping=sessions)[0]} & set(ids)


def test_csv_ids_stay_distinct_when_counting_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many distinct rows as are counted, equal rows still get different ids."""
    monkeypatch.setattr("service.csv_events.COUNTED_ROWS", 2)
    path = tmp_path / "logins.csv"
    path.write_text("date,org,who\n" + "2025-03-01,acme,ann\n2025-03-01,acme,bo\n" * 5)
    ids = [event.event.event_id for event in read(path, mapping=LOGINS)[0]]
    assert len(set(ids)) == len(ids) == 10


def test_csv_bad_rows_are_named_by_line(tmp_path: Path) -> None:
    """Rows that hold no event are refused by line number, also after a cell of several lines and an endless line."""
    path = tmp_path / "logins.csv"
    path.write_bytes(
        b"date,org,who\n"
        b'2025-03-01,acme,"a\nb"\n'  # lines 2 and 3: a control character in a name
        b"2025-02-30,acme,ann\n"
        b"2025-03-01,acme\n"
        b"2025-03-01,acme,\xff\n"
        b"2025-03-01," + b"x" * VALUE_MAX_BYTES + b",ann\n"
        b"\n"
        b"2025-03-01,acme,ann\n"
    )
    events, refused = read(path, mapping=LOGINS)
    assert len(events) == 1
    assert [(line.line, line.reason) for line in refused] == [
        (3, "invalid_event"),
        (4, "invalid_event"),
        (5, "invalid_event"),
        (6, "invalid_event"),
        (7, "too_large"),
    ]


def test_csv_unknown_type_and_odd_numbers_are_refused(tmp_path: Path) -> None:
    """A type that no message has and a number that is not finite are refused, text for a number too."""
    path = tmp_path / "rows.csv"
    path.write_text("t,s\nlogout,1\nsession,nan\nsession,long\nsession,5\n")
    mapping = CsvMapping({"type": "t", "duration_seconds": "s"}, {"account": "a", "user": "u", "time": "2025-01-01"})
    events, refused = read(path, mapping=mapping)
    assert len(events) == 1
    assert [(line.line, line.reason) for line in refused] == [
        (2, "unknown_type"),
        (3, "invalid_event"),
        (4, "invalid_event"),
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            CsvMapping({"account": "org", "user": "usr", "time": "date"}, {"type": "login"}),
            "its columns are: date, org",
        ),
        (CsvMapping({"account": "org", "time": "date"}, {}), "add type=COLUMN to --columns, or --set type=VALUE"),
        (CsvMapping({**LOGINS.columns, "usr": "who"}, {"type": "login"}), "no event has the field 'usr'"),
        (None, "add account=COLUMN"),
    ],
)
def test_a_wrong_mapping_names_the_cure(tmp_path: Path, mapping: CsvMapping | None, message: str) -> None:
    """A column or field that does not exist, or one that is needed, is an error that says what to write."""
    path = tmp_path / "logins.csv"
    path.write_text("date,org,who\n2025-03-01,acme,ann\n")
    with pytest.raises(InputError, match=message):
        read(path, mapping=mapping)


@pytest.mark.parametrize("text", ["account", "account=", "=org", "account=org,,time=at"])
def test_malformed_field_lists_are_refused(text: str) -> None:
    """Anything but field=value pairs is refused with an example."""
    with pytest.raises(InputError, match=r"--columns: .* is not field=value"):
        parse_fields(text, "--columns")


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    """A missing file, a folder and a CSV file without a header are errors, not refused lines."""
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path / "missing.ndjson")
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path)
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(InputError, match="has no header"):
        read(empty, mapping=LOGINS)


def test_progress_reaches_the_size(tmp_path: Path) -> None:
    """The bytes read grow up to about the size of the file."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(login(event_id=str(number)) for number in range(4_096)))
    file = InputFile(str(path))
    assert file.bytes_read == 0
    for _ in file.events(Decoder(lambda: NOW_MS), lambda _: None):
        pass
    assert file.bytes_read == file.total_bytes
