"""A `faust.App` made of the pieces of this layer.

It fixes the Faust settings that the promises depend on; an application chooses names, sizes and intervals only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.types import TP
from faust.types.auth import CredentialsT
from faust.types.transports import TransportT
from mode.supervisors import CrashingSupervisor

from agents.runtime.batch import BatchSchema, RecordBatch
from agents.runtime.commit import Committer, FaultPoint, no_fault
from agents.runtime.hooks import StateHooks
from agents.runtime.producer import MAX_REQUEST_BYTES
from agents.runtime.recovery import BatchTableManager
from agents.runtime.table import PartitionedTable
from agents.runtime.transport import BatchTransport
from agents.runtime.versions import check_versions
from service.adapters.clients import client_options

# Batches waiting for an agent; when full, the fetcher waits, which is the back-pressure.
AGENT_QUEUE_BATCHES = 4
# One produce batch: below the 1 MiB that brokers accept by default.
PRODUCE_BATCH_BYTES = 512 * 1024
# Of one partition in one fetch. With a quarter of it, two runs of a backlog were at half to three quarters of the rate;
# more waits in memory, and turns between partitions come later.
FETCH_BYTES = 2 * 1024 * 1024
REQUEST_TIMEOUT_SECONDS = 40.0
JOIN_MARGIN_SECONDS = 10.0

# A value that no flush touched for one to two such intervals is kept encoded.
IDLE_SECONDS = 30.0
# Values encoded before others get the loop: a few milliseconds of work.
IDLE_SLICE_VALUES = 300

BatchHandler = Callable[[RecordBatch], Awaitable[None]]


def no_question() -> None:
    """Let every write pass."""


async def no_check() -> None:
    """Find nothing wrong: the topic check of an application that has none."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What an application chooses."""

    app_id: str
    bootstrap: str
    changelog_topic: str
    commit_interval_seconds: float
    batch_max_records: int
    session_timeout_seconds: float
    fault_point: FaultPoint = no_fault
    check_topics: Callable[[], Awaitable[None]] = no_check
    """Asks the brokers for the topics; raises ConfigError or StateError when they are not those of the start."""


def credentials(bootstrap: str) -> CredentialsT | None:
    """Give Faust the way to speak with these brokers that every other client has."""
    options = client_options(bootstrap)
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=options["sasl_mechanism"],
        )
    return SSLCredentials(context) if context else None


class RuntimeApp(faust.App):
    """A Faust app with batch transport, one partitioned table and exact commits."""

    def __init__(self, options: RuntimeOptions, hooks: StateHooks) -> None:
        check_versions()
        self.options = options
        self.batch_max_records = options.batch_max_records
        self._input_topics: list[str] = []
        self.before_write: Callable[[], None] = no_question
        self.failures: list[BaseException] = []
        """Every error that ends the app, in the order they came; those behind the first are often its echoes."""
        self.last_commit_until: float | None = None
        """Up to when, by the loop's clock, the last commit may go on as the app ends for an error; None until then."""
        super().__init__(
            options.app_id,
            broker=[f"kafka://{address}" for address in options.bootstrap.split(",")],
            broker_credentials=credentials(options.bootstrap),
            autodiscover=False,
            store="memory://",
            Table=PartitionedTable,
            TableManager=BatchTableManager,
            agent_supervisor=CrashingSupervisor,
            table_standby_replicas=0,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            stream_wait_empty=True,
            broker_commit_interval=options.commit_interval_seconds,
            broker_session_timeout=options.session_timeout_seconds,
            broker_heartbeat_interval=options.session_timeout_seconds / 4,
            # Joining a group may take as long as its silent members are waited for.
            broker_request_timeout=max(REQUEST_TIMEOUT_SECONDS, options.session_timeout_seconds + JOIN_MARGIN_SECONDS),
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=FETCH_BYTES,
            producer_acks=-1,
            producer_max_batch_size=PRODUCE_BATCH_BYTES,
            producer_max_request_size=MAX_REQUEST_BYTES,
            producer_request_timeout=REQUEST_TIMEOUT_SECONDS,
        )
        self.state_table = self._make_table(options.changelog_topic, hooks)
        self.task(self._encode_idle_values)
        self.committer = Committer(
            self.state_table,
            options.changelog_topic,
            lambda: self.producer.client,  # type: ignore[attr-defined]  # our DurableProducer
            options.fault_point,
        )

    def _make_table(self, changelog_topic: str, hooks: StateHooks) -> PartitionedTable:
        changelog = self.topic(
            changelog_topic, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes
        )
        table = PartitionedTable(
            self, name="state", hooks=hooks, changelog_topic=changelog, key_type=bytes, value_type=bytes
        )
        self.tables.add(table)
        return table

    async def _encode_idle_values(self) -> None:
        """Keep only values in use decoded, for ever."""
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            for partition in list(self.state_table.owned.values()):
                idle = partition.idle_keys()
                for start in range(0, len(idle), IDLE_SLICE_VALUES):
                    partition.encode_idle(idle[start : start + IDLE_SLICE_VALUES])
                    await asyncio.sleep(0)

    def note_failure(self, error: BaseException) -> None:
        """Have the app end, as soon as it can, for an error that must not stop what is under way."""
        self._crash(error)

    def _crash(self, reason: BaseException) -> None:
        """Keep every error once."""
        if not any(reason is known for known in self.failures):
            self.failures.append(reason)
        super()._crash(reason)

    def _create_directories(self) -> None:
        """Make no folder: nothing is kept on disk."""

    def _new_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_producer, self)

    def owned_inputs(self) -> list[TP]:
        """List the inputs of every owned partition."""
        return [TP(topic, number) for number in self.state_table.owned for topic in self._input_topics]

    def add_batch_agent(self, topic_name: str, name: str, handle: BatchHandler) -> None:
        """Register an agent that passes every batch of a topic to `handle`, one at a time.

        An exception of `handle` stops the worker: the batch is not acknowledged and will be read again.
        """
        self._input_topics.append(topic_name)
        topic = self.topic(
            topic_name,
            schema=BatchSchema(key_serializer="raw", value_serializer="raw"),
            acks=False,
            maxsize=AGENT_QUEUE_BATCHES,
        )

        async def agent(stream: Any) -> None:
            async for batch in stream:
                try:
                    await handle(batch)
                except Exception as error:
                    await self.crash(error)
                    raise

        self.agent(topic, name=name)(agent)
