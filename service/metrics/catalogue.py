"""Every metric there is: name, unit, labels with all their values, meaning, who looks at it. Nothing else is exposed.

Names follow Prometheus: one prefix, base units, `_total` for counters. A label's values are a closed set, or bounded by
what the operator writes (the model, the currencies); no label ever holds an account. What a process exposes about
itself (`process_...`) is the client library's own and follows its conventions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from schemas.outputs import Band, DeadLetterReason
from service.metrics.buckets import LATENCY_BOUNDS, SHORT_BOUNDS
from service.topic_catalogue import SOURCE_KINDS

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Role: TypeAlias = Literal["worker", "projector", "api"]
EVERY_ROLE: Final[tuple[Role, ...]] = get_args(Role)

TOPICS: Final = tuple(kind or "rekeyed" for kind in SOURCE_KINDS)
"""The kinds of inputs by source index, as labels."""
OUTCOMES: Final = ("applied", "already_applied", "duplicate", "late", "erased")


@dataclass(frozen=True, slots=True)
class Label:
    """A label and what it may be: one of `values`, or else what matches `pattern`, for the reason told in `bound`."""

    name: str
    values: tuple[str, ...] = ()
    pattern: str = ""
    bound: str = ""

    def allows(self, value: str) -> bool:
        """Tell whether the label may have this value."""
        return value in self.values or bool(self.pattern and re.fullmatch(self.pattern, value))


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `read_by` is who looks at it and what for."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    read_by: str
    labels: tuple[Label, ...] = ()
    roles: tuple[Role, ...] = ("worker",)
    bounds: tuple[float, ...] = ()


_TOPIC: Final = Label("topic", TOPICS)
_BAND: Final = Label("band", get_args(Band))
_COPIED: Final = Label("kind", ("scores", "alerts", "states", "actions"))
_ROUTE: Final = Label("route", ("none",), r"/[a-z0-9_/{}.:]{0,99}", "the routes of the API")

EVENTS: Final = Metric(
    "vitals_events_total",
    "counter",
    "events",
    "Events that were read and could be scored, by what came of them",
    "on call: does it work; the divisor of the share of dead letters",
    (_TOPIC, Label("outcome", OUTCOMES)),
)
REKEYED: Final = Metric(
    "vitals_rekeyed_records_total",
    "counter",
    "records",
    "Records that stood on a wrong partition and were copied to the right one",
    "publishers: a partitioner that is another costs time",
)
DEAD_LETTERS: Final = Metric(
    "vitals_dead_letters_total",
    "counter",
    "records",
    "Records that were set aside, by reason",
    "publishers, on call: who sends what cannot be scored",
    (Label("reason", get_args(DeadLetterReason)),),
)
EVENT_AGE: Final = Metric(
    "vitals_event_age_seconds",
    "histogram",
    "seconds",
    "From the timestamp of an event's record to its score; all of a batch count as old as its first; wall clock only",
    "the objective from event to score",
    bounds=LATENCY_BOUNDS,
)
ALERT_LATENCY: Final = Metric(
    "vitals_alert_latency_seconds",
    "histogram",
    "seconds",
    "From the timestamp of the record that decided an alert, or the instant at which silence did, to the brokers' "
    "acknowledgement; after a restart from the alert's own time; wall clock only",
    "the objective from event to alert",
    bounds=LATENCY_BOUNDS,
)
ALERTS: Final = Metric(
    "vitals_alerts_total",
    "counter",
    "alerts",
    "Alerts that the brokers acknowledged, by kind",
    "customer success, on call: a wave of them is a mistake in a model or in data more often than churn",
    (Label("kind", pattern=r"[a-z][a-z0-9_]{0,39}", bound="three kinds of bands and the rules of the model"),),
)
BAND_CHANGES: Final = Metric(
    "vitals_band_changes_total",
    "counter",
    "changes",
    "Moves of an account to another band, by the new one; several in one event or tick count once",
    "customer success: how the portfolio moves, also where cool-downs and snoozes keep alerts back",
    (Label("to", get_args(Band)),),
)
SCORES: Final = Metric(
    "vitals_scores_total", "counter", "scores", "Scores that the brokers acknowledged", "on call: does it publish"
)
SCORES_WAITING: Final = Metric(
    "vitals_scores_waiting",
    "gauge",
    "accounts",
    "Accounts whose last score is not published yet",
    "on call: stale scores",
)
LAG_RECORDS: Final = Metric(
    "vitals_lag_records",
    "gauge",
    "records",
    "Records of the owned partitions that are not applied yet",
    "on call, autoscaling",
    (_TOPIC,),
)
LAG_SECONDS: Final = Metric(
    "vitals_lag_seconds",
    "gauge",
    "seconds",
    "Age of the oldest record that is not applied yet, at most; 0 when all are",
    "on call: how far behind in time",
    (_TOPIC,),
)
OLDEST_UNAPPLIED: Final = Metric(
    "vitals_oldest_unapplied_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    "Timestamp of the oldest record that is not applied yet, at least; absent when all are",
    "on call: which event it hangs at",
    (_TOPIC,),
)
COMMITS: Final = Metric("vitals_commits_total", "counter", "commits", "Whole commits", "on call: does it go on")
COMMIT_DURATION: Final = Metric(
    "vitals_commit_duration_seconds",
    "histogram",
    "seconds",
    "How long a commit took: flush, outputs, offsets",
    "on call: slow brokers",
    bounds=SHORT_BOUNDS,
)
FLUSHES: Final = Metric(
    "vitals_flushes_total", "counter", "flushes", "Flushes of state, urgent ones too", "maintainers"
)
FLUSH_DURATION: Final = Metric(
    "vitals_flush_duration_seconds_total", "counter", "seconds", "Time spent in flushes", "maintainers"
)
STATE_RECORDS: Final = Metric(
    "vitals_state_records_total",
    "counter",
    "records",
    "Records written to the changelog",
    "capacity: how much the changelog grows by",
)
STATE_BYTES: Final = Metric(
    "vitals_state_bytes_total",
    "counter",
    "bytes",
    "Keys and values written to the changelog, before compression and what Kafka adds",
    "capacity: disk and network of the brokers, mean size of a state",
)
PARTITIONS: Final = Metric(
    "vitals_partitions_owned", "gauge", "partitions", "Partitions that this worker owns", "on call: how work is shared"
)
STATE_KEYS: Final = Metric(
    "vitals_state_keys",
    "gauge",
    "accounts",
    "Accounts in the owned partitions, and digests of erased ones",
    "capacity: what memory is for",
)
STALE_ACCOUNTS: Final = Metric(
    "vitals_stale_accounts",
    "gauge",
    "accounts",
    "Accounts that the model in force has still to score anew, at most",
    "whoever changes the model: is it through",
)
RECOVERING: Final = Metric(
    "vitals_recovering", "gauge", "", "1 while state is read back from the changelog", "on call: recovery too long"
)
RECOVERY_REMAINING: Final = Metric(
    "vitals_recovery_remaining_records",
    "gauge",
    "records",
    "Offsets of the changelog still to be read back",
    "on call: does recovery go on",
)
RECOVERY_DURATION: Final = Metric(
    "vitals_recovery_duration_seconds",
    "gauge",
    "seconds",
    "How long the last recovery took; 0 before the first has ended",
    "capacity: how long a restart takes",
)
REBALANCES: Final = Metric(
    "vitals_rebalances_total", "counter", "rebalances", "Rebalances of the group", "on call: workers come and go"
)
TICKS: Final = Metric(
    "vitals_ticks_total",
    "counter",
    "ticks",
    "Accounts that were woken by the passing of time",
    "maintainers: the cost of midnight",
)
TICK_DELAY: Final = Metric(
    "vitals_tick_delay_seconds",
    "gauge",
    "seconds",
    "By how much the account that is due longest is late; wall clock only",
    "on call: silence that is judged late",
)
LOOP_LAG: Final = Metric(
    "vitals_event_loop_lag_seconds",
    "histogram",
    "seconds",
    "By how much the event loop woke late, asked twice a second",
    "maintainers: something blocks",
    roles=EVERY_ROLE,
    bounds=SHORT_BOUNDS,
)
BUILD: Final = Metric(
    "vitals_build_info",
    "gauge",
    "",
    "1, with the version of the release",
    "everybody: what runs where",
    (Label("version", pattern=r"[0-9A-Za-z.+-]{1,64}", bound="one of each process"), Label("role", EVERY_ROLE)),
    EVERY_ROLE,
)
MODEL: Final = Metric(
    "vitals_model_info",
    "gauge",
    "",
    "1, with the version of the model in force",
    "whoever changes the model: which worker has which",
    (Label("version", pattern=r"[A-Za-z0-9._+-]{1,64}", bound="one of each process"),),
)
COPIED: Final = Metric(
    "vitals_copied_records_total",
    "counter",
    "records",
    "Records that were applied to the copy in Redis",
    "on call: does the copy go on",
    (_COPIED,),
    ("projector",),
)
COPY_LAG: Final = Metric(
    "vitals_copy_lag_records",
    "gauge",
    "records",
    "Records that this projector has still to apply to the copy",
    "on call: copy behind",
    (_COPIED,),
    ("projector",),
)
COPY_UNREADABLE: Final = Metric(
    "vitals_copy_unreadable_records_total",
    "counter",
    "records",
    "Records that are no message of ours and were left out of the copy",
    "on call: somebody else writes to an output topic",
    roles=("projector",),
)
REDIS_FAILURES: Final = Metric(
    "vitals_redis_failures_total",
    "counter",
    "failures",
    "Failures of Redis that the projector waited out",
    "on call: Redis is away or slow",
    roles=("projector",),
)
COPY_CURRENT: Final = Metric(
    "vitals_copy_current_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    "Up to when the copy is complete; 0 while it is not whole, or Redis does not answer",
    "on call: copy behind",
    roles=("projector", "api"),
)
ACCOUNTS: Final = Metric(
    "vitals_accounts",
    "gauge",
    "accounts",
    "Accounts by band, as the copy has them; every projector and API tells of the same",
    "customer success: the portfolio",
    (_BAND,),
    ("projector", "api"),
)
MRR: Final = Metric(
    "vitals_mrr_minor_units",
    "gauge",
    "minor units",
    "Monthly revenue by band and currency, in cents or the like; sums over currencies mean nothing",
    "customer success: the portfolio",
    (_BAND, Label("currency", pattern=r"[A-Z]{3}", bound="the currencies of the accounts")),
    ("projector", "api"),
)
REQUESTS: Final = Metric(
    "vitals_http_requests_total",
    "counter",
    "requests",
    "Requests that were answered, by route, method and status; `none` is no route: refused at the gate, or unknown",
    "on call: errors of the API",
    (
        _ROUTE,
        Label("method", ("GET", "HEAD", "POST", "OTHER")),
        Label("status", pattern=r"[1-5][0-9]{2}", bound="statuses of HTTP"),
    ),
    ("api",),
)
REQUEST_DURATION: Final = Metric(
    "vitals_http_request_duration_seconds",
    "histogram",
    "seconds",
    "From a request to the begin of its answer, by route",
    "on call: a slow API",
    (_ROUTE,),
    ("api",),
    SHORT_BOUNDS,
)

CATALOGUE: Final[tuple[Metric, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
