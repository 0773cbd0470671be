"""The verdict on a run: what is there against what must be there, each difference by its name.

A kind of difference belongs to one promise of `docs/failure-modes.md`. `KINDS` lists them; none is ever tolerated but a
share of repeated alerts, which the promise itself allows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agents.runtime.table import REVISION
from schemas.outputs import DEAD_LETTER_PREFIX, DeadLetter
from service.scoring.state_codec import decode
from service.topic_catalogue import TOPIC_KINDS
from tests.chaos.logs import EXPECT_HEADER
from tests.chaos.observed import Observed
from tests.chaos.oracle import Expected, Origin, plain_action, plain_score, plain_state

KINDS = {
    "lost": "an event is not in its account's state",
    "doubled": "an event is more than once in its account's state",
    "state": "a state differs in another way",
    "older state last": "an older state was written after a newer one, and compaction would keep it",
    "alert missing": "an alert that was due is not in the topic",
    "alert unknown": "an alert is in the topic that was not due",
    "alert order": "the first appearances of an account's alerts are not in the order of seq, without gaps",
    "alert bytes": "an alert differs from the one that was due, or a repeated one from the first",
    "action missing": "an action was applied or refused, and the audit does not tell",
    "action unknown": "the audit tells of an action that never was, or tells two things of one number",
    "action order": "the audit's first appearances of an account's actions are not those that were due, in order",
    "alert repeats": "more alerts were repeated than is allowed",
    "score": "the last score in the topic is not the state's",
    "mixed models": "a score or an alert does not follow from its own values by the model that it names",
    "dead letters": "the dead letters are not those that were due, byte for byte",
    "strays": "records on a foreign partition were not copied to their own, or others were",
    "offsets": "the committed offsets are not the ends of the inputs",
    "copy": "the copy in Redis is not that of the last scores in the topic",
}
REPEATED_SHARE_MAX = 0.01
# Beyond the share: a crash repeats what was on its way, a zombie also all that it decided before it froze.
REPEATED_PER_CRASH_MAX = 40
REPEATED_PER_ZOMBIE_MAX = 400


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it must be."""

    kind: str
    where: str
    expected: Any
    found: Any


@dataclass
class Verdict:
    """All differences of a run, and the counts that its report tells."""

    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Whether the run is as it must be."""
        return not self.differences

    @property
    def kinds(self) -> set[str]:
        """The kinds of differences that were found."""
        return {difference.kind for difference in self.differences}


Part = Callable[[Expected, Observed], Iterable[Difference]]


@dataclass(frozen=True)
class Bounds:
    """What a run may do, besides what it must."""

    crashes: int = 0
    zombies: int = 0
    """Both bound the repeated alerts."""
    counts_repeats: bool = True
    """Whether the sum of the repeated alerts is bounded, too: how many a crash repeats is a matter of time, and on a
    machine that does other things meanwhile most of a short log may be on its way."""
    is_ordered: bool = True
    """Whether the log has one outcome in every order; otherwise only what holds in every order is compared ..."""
    facts: tuple[str, ...] = ("more", "applied", "recent_ids", "logins", "score", "unsent")
    """... which of a state are these."""


def compare(expected: Expected, observed: Observed, bounds: Bounds) -> Verdict:
    """Compare everything."""
    verdict = Verdict()
    verdict.counts["events"] = sum(expected.events.values())
    verdict.counts["accounts"] = len(expected.states)
    verdict.counts["actions"] = sum(map(len, expected.actions.values()))
    verdict.counts["stale writes"] = observed.stale_writes()
    parts: list[Callable[[Expected, Observed], Iterator[Difference]]] = [
        _written_last,
        _erased,
        _dead_letters,
        _strays,
        _offsets,
    ]
    parts += [_states, _scores, _actions] if bounds.is_ordered else [partial(_facts, bounds.facts)]
    for part in parts:
        verdict.differences.extend(part(expected, observed))
    first, repeats, forks = _first_alerts(observed)
    verdict.differences.extend(forks)
    verdict.differences.extend(_due_alerts(expected, first) if bounds.is_ordered else _numbered_alerts(observed, first))
    verdict.counts["alerts"], verdict.counts["repeated alerts"] = sum(map(len, first.values())), repeats.total()
    verdict.differences.extend(_repeats(verdict, repeats, bounds))
    return verdict


def _states(expected: Expected, observed: Observed) -> Iterator[Difference]:
    payloads = observed.payloads()
    for account in sorted(expected.states.keys() | payloads.keys()):
        due = expected.states.get(account)
        payload = payloads.get(account)
        found = None if payload is None else plain_state(decode(account, payload))
        if due is not None and found is not None and found != due:
            names = [name for name in due if due[name] != found[name]]
            more = _counted(found) - _counted(due)
            kind = "lost" if more < 0 else "doubled" if more > 0 else "state"
            yield Difference(kind, account, {name: due[name] for name in names}, {name: found[name] for name in names})
        elif found != due:
            yield Difference("lost" if found is None else "state", account, due, found)


def _counted(state: dict[str, Any]) -> int:
    """Count what every event adds to: logins and failed payments."""
    failures: dict[str, int] = (state["more"] or {}).get("failures", {})
    logins: list[int] = state["logins"]
    return sum(logins) + sum(failures.values())


def _written_last(_: Expected, observed: Observed) -> Iterator[Difference]:
    written = observed.stored(as_recovered=False)
    for account, newest in observed.stored(as_recovered=True).items():
        last = written.get(account)
        if last is None:
            yield Difference("older state last", account, "a state", "a tombstone")
        elif last[REVISION] != newest[REVISION]:
            known, kept = (int.from_bytes(value[REVISION], "big") for value in (newest, last))
            yield Difference("older state last", account, f"revision {known}", f"revision {kept}")


def _erased(expected: Expected, observed: Observed) -> Iterator[Difference]:
    """Look for erased accounts in what compaction leaves of the changelog."""
    written = {record.key: record.value for record in observed.records[observed.topics.changelog]}
    for account in expected.erased:
        for key, value in written.items():
            if value is not None and account.encode() in key + value:
                yield Difference("not erased", account, None, (key, value))


def _scores(expected: Expected, observed: Observed) -> Iterator[Difference]:
    last = observed.last_scores()
    for account in sorted(expected.scores.keys() | last.keys()):
        due, found = expected.scores.get(account), plain_score(last[account]) if account in last else None
        if found is None and due is not None and due["seq"] == 0:
            continue  # without a score nothing need be told; a recovery may tell it all the same
        if due != found:
            yield Difference("score", account, due, found)


def _actions(expected: Expected, observed: Observed) -> Iterator[Difference]:
    first: dict[str, dict[int, dict[str, Any]]] = {}
    for record in observed.records[observed.topics.audit]:
        account, found = record.key.decode(), plain_action(record.value)
        known = first.setdefault(account, {}).setdefault(found["seq"], found)
        if known != found:
            yield Difference("action unknown", account, known, found)
    for account in sorted(expected.actions.keys() | first.keys()):
        due, told = expected.actions.get(account, []), list(first.get(account, {}).values())
        if due != told:
            kind = "missing" if len(told) < len(due) else "unknown" if len(told) > len(due) else "order"
            yield Difference(f"action {kind}", account, due, told)


def _facts(names: Sequence[str], expected: Expected, observed: Observed) -> Iterator[Difference]:
    """Compare what every order counts alike: invoices, failures, tickets, the facts of the score, applied offsets."""
    payloads = observed.payloads()
    for account, due in expected.states.items():
        found = plain_state(decode(account, payloads[account])) if account in payloads else None
        if found is None:
            yield Difference("lost", account, due, None)
            continue
        for name in names:
            if due[name] != found[name]:
                yield Difference("state", account, {name: due[name]}, {name: found[name]})


def _first_alerts(observed: Observed) -> tuple[dict[str, dict[str, bytes]], Counter[str], list[Difference]]:
    """Return every account's alerts by id in the order of their first appearance, and how often which came again."""
    repeats: Counter[str] = Counter()
    wrong: list[Difference] = []
    first: dict[str, dict[str, bytes]] = {}
    for record in observed.records[observed.topics.alerts]:
        if record.value is None:
            continue  # the account is erased
        alert_id = json.loads(record.value)["id"]
        known = first.setdefault(record.key.decode(), {})
        if alert_id in known:
            repeats[alert_id] += 1
            if record.value != known[alert_id]:
                wrong.append(Difference("alert bytes", f"{record.key!r} {alert_id}", known[alert_id], record.value))
        else:
            known[alert_id] = record.value
    return first, repeats, wrong


def _due_alerts(expected: Expected, first: dict[str, dict[str, bytes]]) -> Iterator[Difference]:
    for account in sorted(expected.alerts.keys() | first.keys()):
        due = {json.loads(value)["id"]: value for value in expected.alerts.get(account, [])}
        found = first.get(account, {})
        for alert_id in due.keys() - found.keys():
            yield Difference("alert missing", account, due[alert_id], None)
        for alert_id in found.keys() - due.keys():
            yield Difference("alert unknown", account, None, found[alert_id])
        if due.keys() == found.keys():
            if list(due) != list(found) or _seqs(found) != list(range(1, len(found) + 1)):
                yield Difference("alert order", account, _seqs(due), _seqs(found))
            for alert_id, value in due.items():
                if value != found[alert_id]:
                    yield Difference("alert bytes", account, value, found[alert_id])


def _numbered_alerts(observed: Observed, first: dict[str, dict[str, bytes]]) -> Iterator[Difference]:
    """Check what holds in every order: one alert for each number up to the state's, and each number once."""
    for account, payload in observed.payloads().items():
        seqs = _seqs(first.get(account, {}))
        due = list(range(1, decode(account, payload).seq + 1))
        if seqs != due:
            kind = (
                "alert missing" if set(due) - set(seqs) else "alert unknown" if len(seqs) > len(due) else "alert order"
            )
            yield Difference(kind, account, due, seqs)


def _repeats(verdict: Verdict, repeats: Counter[str], bounds: Bounds) -> Iterator[Difference]:
    for alert_id, times in repeats.most_common(1):
        if times > bounds.crashes + bounds.zombies:
            yield Difference("alert repeats", alert_id, f"at most {bounds.crashes + bounds.zombies}", times)
    alerts = verdict.counts["alerts"]
    allowed = REPEATED_PER_CRASH_MAX * bounds.crashes + REPEATED_PER_ZOMBIE_MAX * bounds.zombies
    allowed = max(allowed, int(alerts * REPEATED_SHARE_MAX))
    if bounds.counts_repeats and repeats.total() > allowed:
        yield Difference("alert repeats", f"{alerts} alerts", f"at most {allowed}", repeats.total())


def _seqs(alerts: dict[str, bytes]) -> list[int]:
    return [json.loads(value)["data"]["seq"] for value in alerts.values()]


def _dead_letters(expected: Expected, observed: Observed) -> Iterator[Difference]:
    found: dict[Origin, tuple[str, bytes | None, bytes | None]] = {}
    for kind in TOPIC_KINDS:
        for record in observed.records[observed.topics.dead_letters(kind)]:
            told = DeadLetter.from_headers(record.headers)
            origin = (told.topic, told.partition, told.offset)
            found[origin] = (told.reason, record.key, record.value)
            own = [name for name, _ in record.headers if not name.startswith(DEAD_LETTER_PREFIX)]
            if origin in expected.dead_letters and own != [EXPECT_HEADER]:
                yield Difference("dead letters", str(origin), [EXPECT_HEADER], own)
    for origin in sorted(expected.dead_letters.keys() | found.keys()):
        if expected.dead_letters.get(origin) != found.get(origin):
            yield Difference("dead letters", str(origin), expected.dead_letters.get(origin), found.get(origin))


def _strays(expected: Expected, observed: Observed) -> Iterator[Difference]:
    due = set(expected.strays.values())
    found = {(record.key, record.value) for record in observed.records[observed.topics.rekeyed]}
    for key, value in due ^ found:
        yield Difference("strays", key.decode(), value if (key, value) in due else None, None)


def _offsets(_: Expected, observed: Observed) -> Iterator[Difference]:
    for partition, end in observed.ends.items():
        committed = observed.committed.get(partition, 0)
        if committed != end:
            yield Difference("offsets", f"{partition[0]}/{partition[1]}", end, committed)
