"""Pathway without a licence key: its engine decodes the JSON against a schema, a Python reducer keeps the state.

What is durable is the log of the input: snapshots of state need a licence. Settings: `autocommit_duration_ms` 1500 is
the default, and PATHWAY_THREADS is the number of workers ("Worker Architecture"). Pathway folds all waiting events of
an account at once, and begins when it has read them: the clock starts at `pw.run`, so its start-up is in the time.
"""

import os
import threading
import time

import pathway as pw
from marks import ALERTS, BOOTSTRAP, EVENTS, FOLDER, MARK_EVERY, RUN, TOPIC, dump, mark, mark_done
from work import apply_to_dict, new_dict

POLL_SECONDS = 0.02
SETTLE_SECONDS = 3.0  # after the last event, for alerts and the log: an endless stream has no graceful end
FIELDS = tuple(new_dict())


class Event(pw.Schema):
    """What is read of an event, checked by the engine."""

    event_id: str
    account_id: str
    ts: str
    type: str
    n: int
    feature: str


class Fold:
    """The reducer of an account's state, and how far all of them are."""

    def __init__(self):
        self.count = 0
        self.states = {}  # the last state of each account, for the comparison: one assignment for each fold
        self.lock = threading.Lock()

    def __call__(self, state, rows):
        """Take a batch of one account's events into its state; the alerts that it raised are part of the state."""
        account = {**new_dict(), "alerts": []} if state is None else state.value
        account = {**account, "features": dict(account["features"]), "alerts": list(account["alerts"])}
        name = ""
        for (offset, name, ts, n, feature), _ in sorted(rows):  # noqa: B007 - the name of all is the same
            if apply_to_dict(account, {"ts": ts, "n": n, "feature": feature}, offset):
                account["alerts"].append(account["score"])
        self.states[name] = account
        self._note(len(rows))
        return pw.Json(account)

    def _note(self, count):
        with self.lock:
            before, self.count = self.count, self.count + count
            if before // MARK_EVERY != self.count // MARK_EVERY or self.count >= EVENTS:
                mark(self.count)


fold = Fold()


@pw.reducers.stateful_many
def fold_rows(state: pw.Json | None, rows) -> pw.Json:
    """Hand rows to the fold."""
    return fold(state, rows)


def end_when_done():
    """End the process some time after the last event."""
    while fold.count < EVENTS:
        time.sleep(POLL_SECONDS)
    time.sleep(SETTLE_SECONDS)
    dump((name, {field: state[field] for field in FIELDS}) for name, state in fold.states.items())
    mark_done()
    os._exit(0)


events = pw.io.kafka.read(
    {"bootstrap.servers": BOOTSTRAP, "group.id": RUN, "auto.offset.reset": "earliest"},
    topic=TOPIC,
    format="json",
    schema=Event,
    with_metadata=True,
    name="events",
)
events = events.filter((events.type == "login") | (events.type == "feature") | (events.type == "ticket"))
offset = events._metadata["offset"].as_int(unwrap=True)  # noqa: SLF001 - the column's documented name
events = events.select(events.account_id, events.ts, events.n, events.feature, offset=offset)
accounts = events.groupby(events.account_id).reduce(
    events.account_id, state=fold_rows(events.offset, events.account_id, events.ts, events.n, events.feature)
)
accounts = accounts.select(accounts.account_id, state=pw.declare_type(pw.Json, accounts.state))
raised = accounts.select(accounts.account_id, scores=accounts.state["alerts"])
raised = raised.flatten(raised.scores)
raised = raised.select(raised.account_id, score=raised.scores.as_float(unwrap=True))
pw.io.kafka.write(raised, {"bootstrap.servers": BOOTSTRAP}, topic_name=ALERTS, format="json")

threading.Thread(target=end_when_done, daemon=True).start()
mark(0)
pw.run(
    monitoring_level=pw.MonitoringLevel.NONE,
    persistence_config=pw.persistence.Config(
        pw.persistence.Backend.filesystem(f"{FOLDER}/persisted"), snapshot_interval_ms=10_000
    ),
)
