"""The logs that the chaos scenarios produce: seeded, and such that their outcome does not depend on luck.

With several input topics, the order in which a worker takes records of one account from different topics is fixed under
the event clock only, which merges them by event time. So there are these logs:

- `history_log`, for `--clock event`: a simulated stream with duplicates and late records, produced whole before the
  first worker starts, so that the merger never has to guess what is still to come. Whatever order the merge gives is
  the expected one. Each partition ends with an event of one last instant, so that all of them end at the same time.
  Records are late within their day only: whether an account's midnight was before or after a later one is up to the
  events of others, which move the partition's time.
- `live_log`, for `--clock wall`, produced while faults happen: only tickets move the score of its model, an account's
  tickets stand in order on one topic, and everything else of the account happened before them. So every interleaving
  gives the same scores and alerts, and what the others leave behind is compared as counts and sets. All of one account
  happened within an hour and in less than 256 events: no repetition is outside the window of known ids. No account is
  due before midnight, and the workers' clocks stand at noon.

A third one, `contested_log`, is for what must hold in every order: tickets and payments both move the score, so nobody
can say which alerts are due, but no two alerts may have one number, none may be missing in between, and what is counted
is counted once.

A fourth one, `late_log`, has the events of 24 hours in no order at all. The model promises the same signals for the
same events in any order, so the facts and the score that are due are those of the events in order.

A fifth one, `acting_log`, is that of the event clock with what people do: every action, in the order of their times but
for repetitions. The live log has actions as well, but only such that no alert and no other topic's event changes what
becomes of them.

Records that only a re-keyed copy brings home (`stray`) have no order to others; they are logins of one hour, because a
crash copies them again, and a repetition is known by its id for an hour.
A record that must become a dead letter says so in a header, which the oracle reads back with it.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal, NamedTuple

from aiokafka.partitioner import murmur2

from schemas.codec import encode_input
from schemas.times import time_text
from service.simulation.stream import Simulation
from service.topic_catalogue import TopicKind

PARTITIONS = 8
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
LIVE_DAY_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
LIVE_NOON_MS = LIVE_DAY_MS + 12 * HOUR_MS
HISTORY_START_DAY = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) // 86_400
EXPECT_HEADER = "chaos.expect"
SOURCE = "chaos"
# Chances of a good record: to be sent twice, to be sent long after its time, to be followed by a poison record.
DUPLICATE_CHANCE = 0.03
LATE_CHANCE = 0.02
POISON_CHANCE = 0.004
STRAY_ACCOUNTS_EACH = 20

LogKind = Literal["live", "contested", "late", "history", "acting"]


class LogRecord(NamedTuple):
    """One record to produce; `partition` None: the one that its key hashes to."""

    kind: TopicKind
    key: bytes | None
    value: bytes | None
    partition: int
    headers: tuple[tuple[str, bytes], ...] = ()


def home_of(key: bytes) -> int:
    """Return the partition that a key hashes to."""
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


def event(kind_and_type: tuple[TopicKind, str], account: str, event_id: str, time_ms: int, data: Any) -> LogRecord:
    """Make the record of a good event on its home partition."""
    kind, short = kind_and_type
    value = encode_input(short, data, event_id=event_id, source=SOURCE, account=account, time_ms=time_ms)
    key = account.encode()
    return LogRecord(kind, key, value, home_of(key))


LOGIN: tuple[TopicKind, str] = ("usage", "login")
FAILED: tuple[TopicKind, str] = ("payment", "payment_failed")
PAID: tuple[TopicKind, str] = ("payment", "invoice_paid")
OPENED: tuple[TopicKind, str] = ("ticket", "ticket_opened")
SOLVED: tuple[TopicKind, str] = ("ticket", "ticket_solved")
FACTS: tuple[TopicKind, str] = ("account", "account_updated")
ACTORS = ("dana", "eve")
BANDS = ("healthy", "at_risk", "endangered")


def live_log(seed: int, accounts: int, ticket_rounds: int, first: int = 0) -> list[LogRecord]:
    """Draw the log of the wall clock, in the order of production; accounts are numbered from `first`."""
    rng = Random(f"live/{seed}/{first}")
    placed: list[tuple[float, int, LogRecord]] = []
    for number in range(first, first + accounts):
        is_stray = number % STRAY_ACCOUNTS_EACH == 3
        name = f"{'stray' if is_stray else 'acct'}-{number}"
        for sequence in _live_sequences(rng, name, ticket_rounds):
            chosen = [_stray(rng, record) for record in sequence] if is_stray else sequence
            for at, record in zip(sorted(rng.random() for _ in chosen), chosen, strict=True):
                placed.append((at, len(placed), record))
                if rng.random() < DUPLICATE_CHANCE and b"late" not in (record.value or b""):
                    placed.append((rng.uniform(at, 1.0), len(placed), record))
    placed.sort(key=lambda item: item[:2])
    return list(_with_poison(rng, [record for _, _, record in placed], LIVE_DAY_MS))


def _live_sequences(rng: Random, account: str, ticket_rounds: int) -> Iterator[list[LogRecord]]:
    """Yield an account's events by topic; only within a topic does their order count."""
    ten_ms = LIVE_DAY_MS + 10 * HOUR_MS
    logins = []
    for number in range(rng.randint(2, 12)):
        time_ms = ten_ms + rng.randrange(20 * MINUTE_MS)
        logins.append(event(LOGIN, account, f"{account}-u{number}", time_ms, {"user": f"u{rng.randrange(4)}"}))
    # After the first login the account knows its day: what is older than 90 days is late, what is younger counts.
    for number in range(sum(rng.random() < 0.3 for _ in range(3))):
        days = rng.choice((1, 20, 60, 120))
        time_ms = ten_ms - days * DAY_MS
        late = event(LOGIN, account, f"{account}-late{number}", time_ms, {"user": "u0"})
        if not account.startswith("stray"):
            logins.insert(rng.randint(1, len(logins)), late)
    yield logins
    failures = [
        event(FAILED, account, f"{account}-p{number}", ten_ms + rng.randrange(20 * MINUTE_MS), _invoice(number))
        for number in range(rng.choice((0, 0, 1, 3)))
    ]
    yield failures
    if account.startswith("stray"):
        return
    yield _harmless_actions(rng, account, ten_ms)
    tickets, at_ms = [], ten_ms + 25 * MINUTE_MS
    for number in range(ticket_rounds):
        ticket = {"ticket": f"t{number}"}
        opened = {**ticket, "severity": rng.choice(("low", "normal", "urgent"))}
        for kind, data in ((OPENED, opened), (SOLVED, ticket)):
            at_ms += rng.randrange(1, 30 * MINUTE_MS // (2 * ticket_rounds))
            tickets.append(event(kind, account, f"{account}-{kind[1]}{number}", at_ms, data))
    if rng.random() < 0.5:
        tickets.pop()  # half of the accounts end in trouble
    yield tickets


def with_erasures(seed: int, accounts: int, log: list[LogRecord]) -> list[LogRecord]:
    """Put accounts that are erased, once or twice, between the records of a live log; they have no alert."""
    rng = Random(f"erasures/{seed}")
    ten_ms = LIVE_DAY_MS + 10 * HOUR_MS
    mixed = list(log)
    for number in range(accounts):
        account = f"gone-{number:03}"
        records = [event(FACTS, account, f"{account}-f", ten_ms, {"name": f"Name of {account}"})]
        records += [
            event(LOGIN, account, f"{account}-u{each}", ten_ms + each, {"user": "u1"})
            for each in range(rng.randint(1, 4))
        ]
        for each in range(rng.randint(1, 2)):
            what = ("erase_account", {"reason": f"request {each}"})
            records.append(_action(rng, what, account, f"{account}-e{each}", ten_ms + HOUR_MS + each))
        for record in records:
            mixed.insert(rng.randint(0, len(mixed)), record)
    return mixed


def _harmless_actions(rng: Random, account: str, ten_ms: int) -> list[LogRecord]:
    """Draw actions that move no band and no alert: notes, words that the model does not read, ends that are past."""
    actions = []
    for number in range(rng.choice((0, 1, 4, 8))):
        time_ms = ten_ms + rng.randrange(20 * MINUTE_MS)
        past = {"until": time_text(time_ms - rng.randrange(HOUR_MS))}
        what: tuple[str, dict[str, Any]] = rng.choice(
            (
                ("add_note", {"note": f"note {number}"}),
                ("set_sentiment", {"sentiment": rng.choice((-1, 0, 0.5))}),
                ("override_band", {"band": "healthy", "reason": "over", **past}),
                ("snooze_alerts", past),
                ("resolve_alert", {"alert_seq": 1_000_000}),
            )
        )
        actions.append(_action(rng, what, account, f"{account}-act{number}", time_ms))
    return actions


def _action(rng: Random, what: tuple[str, dict[str, Any]], account: str, event_id: str, time_ms: int) -> LogRecord:
    short, said = what
    return event(("action", short), account, event_id, time_ms, {"actor": rng.choice(ACTORS), **said})


def acting_log(seed: int, accounts: int, days: int) -> list[LogRecord]:
    """Draw the log of the event clock, and what people did about its accounts: before it, as it has its own topic."""
    rng = Random(f"acting/{seed}")
    history = history_log(seed, accounts, days)
    keys = {record.key for record in history if not record.headers and record.kind != "usage"}
    actions: list[LogRecord] = []
    first_ms, last_ms = HISTORY_START_DAY * DAY_MS, (HISTORY_START_DAY + days) * DAY_MS
    times = sorted(rng.randrange(first_ms, last_ms) for _ in range(accounts * days // 4))
    names = sorted(key.decode() for key in keys if key)
    for number, time_ms in enumerate(times):
        until = {"until": time_text(time_ms + rng.choice((0, 1, 3, 10, 40)) * DAY_MS)}
        alert = {"alert_seq": rng.choice((1, 1, 2, 3, 4, 9))}
        what: tuple[str, dict[str, Any]] = rng.choice(
            (
                ("acknowledge_alert", alert),
                ("resolve_alert", alert),
                ("snooze_alerts", until),
                ("snooze_alerts", {**until, **alert}),
                ("override_band", {"band": rng.choice(BANDS), "reason": "by hand", **until}),
                ("set_sentiment", {"sentiment": rng.choice((-1, -0.5, 0.5, 1))}),
                ("add_note", {"note": f"note {number}"}),
            )
        )
        account = rng.choice(names)
        actions.append(_action(rng, what, account, f"act-{number}", time_ms))
        if rng.random() < LATE_CHANCE * 3:  # what was said before, and comes after, is superseded
            said_ms = time_ms - min(HOUR_MS, time_ms % DAY_MS)
            actions.append(_action(rng, what, account, f"act-{number}-before", said_ms))
        if rng.random() < DUPLICATE_CHANCE:
            actions.append(rng.choice(actions[-5:]))
    return [*actions, *history]


def contested_log(seed: int, accounts: int, rounds: int, first: int = 0) -> list[LogRecord]:
    """Draw a log of the wall clock in which two topics compete for the score of every account."""
    rng = Random(f"contested/{seed}/{first}")
    placed: list[tuple[float, int, LogRecord]] = []
    for number in range(first, first + accounts):
        account = f"both-{number}"
        for bad, good, name in ((OPENED, SOLVED, "ticket"), (FAILED, PAID, "invoice")):
            at_ms = LIVE_DAY_MS + 10 * HOUR_MS
            sequence = []
            for each in range(2 * rounds):
                kind = good if each % 2 else bad
                what = f"{name[0]}{each // 2}"
                data: dict[str, Any] = {"ticket": what} if name == "ticket" else _invoice(each // 2)
                if kind is OPENED:
                    data["severity"] = "urgent"
                at_ms += rng.randrange(1, 50 * MINUTE_MS // (2 * rounds))
                sequence.append(event(kind, account, f"{account}-{name}{each}", at_ms, data))
            for at, record in zip(sorted(rng.random() for _ in sequence), sequence, strict=True):
                placed.append((at, len(placed), record))
    placed.sort(key=lambda item: item[:2])
    return list(_with_poison(rng, [record for _, _, record in placed], LIVE_DAY_MS))


def late_log(seed: int, accounts: int, rounds: int) -> list[LogRecord]:
    """Draw a log of the wall clock in which everything is up to a day late, a repetition right behind its first."""
    rng = Random(f"late/{seed}")
    last_ms = LIVE_DAY_MS + 10 * HOUR_MS
    records: list[LogRecord] = []
    for number in range(accounts):
        account = f"late-{number}"
        for each in range(2 * rounds):
            first_ms = last_ms - rng.randrange(DAY_MS)
            second_ms = min(first_ms + rng.randrange(1, 10 * HOUR_MS), last_ms)
            ticket = {"ticket": f"t{each}"}
            pairs: list[tuple[tuple[TopicKind, str], Any, int]] = [
                (LOGIN, {"user": f"u{rng.randrange(4)}"}, first_ms),
                (OPENED, {**ticket, "severity": rng.choice(("low", "normal", "urgent"))}, first_ms),
                (FAILED, _invoice(each), first_ms),
            ]
            pairs += [(SOLVED, ticket, second_ms)] * (rng.random() < 0.6)
            pairs += [(PAID, _invoice(each), second_ms)] * (rng.random() < 0.6)
            for kind, data, time_ms in pairs:
                records.append(event(kind, account, f"{account}-{kind[1]}{each}", time_ms, data))
    rng.shuffle(records)
    repeated = [again for record in records for again in [record] * (1 + (rng.random() < DUPLICATE_CHANCE))]
    return list(_with_poison(rng, repeated, LIVE_DAY_MS))


def _invoice(number: int) -> dict[str, Any]:
    return {"amount_minor": 9900, "currency": "EUR", "invoice": f"i{number}"}


def _stray(rng: Random, record: LogRecord) -> LogRecord:
    return record._replace(partition=rng.randrange(PARTITIONS)) if record.kind == "usage" else record


def history_log(seed: int, accounts: int, days: int) -> list[LogRecord]:
    """Draw the log of the event clock, in the order of production."""
    rng = Random(f"history/{seed}")
    records: list[LogRecord] = []
    later: list[tuple[int, int, LogRecord]] = []
    last_day = HISTORY_START_DAY + days - 1
    today = HISTORY_START_DAY
    for line in Simulation(accounts, days, seed, HISTORY_START_DAY).lines():
        if line.time_ms // DAY_MS != today:
            today = line.time_ms // DAY_MS
            records += [record for _, _, record in later]
            later.clear()
        key = line.account.encode()
        record = LogRecord(line.kind, key, line.value, home_of(key))
        chance = rng.random()
        if chance < DUPLICATE_CHANCE + LATE_CHANCE:
            insort(later, (len(records) + rng.randrange(1, 500), rng.randrange(1 << 30), record))
        if chance >= LATE_CHANCE:
            records.append(record)
        while later and later[0][0] <= len(records):
            records.append(later.pop(0)[2])
    records += [record for _, _, record in later]
    for number in range(1 + accounts // STRAY_ACCOUNTS_EACH):
        for each in range(8):
            time_ms = last_day * DAY_MS + 20 * HOUR_MS + rng.randrange(50 * MINUTE_MS)
            login = event(LOGIN, f"stray-{number}", f"stray-{number}-{each}", time_ms, {"user": "u"})
            records.append(_stray(rng, login))
    return [*_with_poison(rng, records, last_day * DAY_MS), *_ends((last_day + 1) * DAY_MS + 12 * HOUR_MS)]


def _ends(time_ms: int) -> list[LogRecord]:
    """Make the last event of every partition."""
    ends: dict[int, LogRecord] = {}
    number = 0
    while len(ends) < PARTITIONS:
        record = event(LOGIN, f"end-{number}", f"end-{number}", time_ms, {"user": "u"})
        ends.setdefault(record.partition, record)
        number += 1
    return list(ends.values())


# -- poison --------------------------------------------------------------------------------------------------


def poison_records(time_ms: int) -> list[tuple[str, bytes | None, bytes | None]]:
    """List (expected reason, key, value) of usage records that nobody can score."""
    good = encode_input("login", {"user": "u1"}, event_id="p", source=SOURCE, account="acme", time_ms=time_ms)

    def changed(**changes: Any) -> bytes:
        return json.dumps({**json.loads(good), **changes}).encode()

    return [
        ("not_json", b"acme", b"hello"),
        ("not_json", b"acme", good.replace(b'"u1"', b"NaN")),
        ("not_json", b"acme", b"[" * 5000 + b"]" * 5000),
        ("not_json", b"acme", good.replace(b'"u1"', b'"\\ud800"')),
        ("invalid_event", b"acme", changed(data={"user": 7})),
        ("invalid_event", b"acme", changed(time="2026-01-01T00:00:00")),
        ("unknown_type", b"acme", changed(type="io.vitals.never_heard_of.v1")),
        ("unknown_version", b"acme", changed(type="io.vitals.login.v9")),
        ("wrong_topic", b"acme", changed(type="io.vitals.ticket_solved.v1", data={"ticket": "t"})),
        ("missing_key", None, good),
        ("key_mismatch", b"other", good),
        ("future_time", b"acme", changed(time="2099-01-01T00:00:00Z")),
        ("too_large", b"acme", changed(data={"user": "u1", "padding": "x" * 100_000})),
        ("empty_value", b"acme", b""),
        ("empty_value", b"acme", None),
    ]


def _with_poison(rng: Random, records: list[LogRecord], time_ms: int) -> Iterator[LogRecord]:
    """Put poison between the records, each kind of it at least once, on any partition."""
    known = poison_records(time_ms)
    positions = {rng.randrange(len(records)): number for number in range(len(known))}
    for position, record in enumerate(records):
        yield record
        number = positions.get(position)
        if number is None and rng.random() < POISON_CHANCE:
            number = rng.randrange(len(known))
        if number is not None:
            reason, key, value = known[number]
            headers = ((EXPECT_HEADER, reason.encode()),)
            yield LogRecord("usage", key, value, rng.randrange(PARTITIONS), headers)
