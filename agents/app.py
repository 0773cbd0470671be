"""The composition root of the worker: makes the app, its state and its agents; importing it opens nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import cast

from prometheus_client import CollectorRegistry

from agents.breaker import Breaker
from agents.dead_letters import APP_VERSION
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.model_reload import ModelReload
from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.commit import FaultPoint, no_fault
from agents.runtime.producer import OutRecord, send_records
from agents.runtime.transport import BatchConsumer
from agents.scorer import Scorer, wall_clock_ms
from agents.worker_metrics import WorkerMetrics
from service.adapters.topic_admin import describe_partitions, ensure_topics, other_app_ids
from service.errors import ConfigError, TopicError
from service.ingest import Decoder
from service.metrics.exposition import Exposition
from service.metrics.loop_lag import LoopLag
from service.metrics.probes import Health
from service.scoring.model import Model
from service.settings import Settings
from service.topic_catalogue import TopicNames


@dataclass(frozen=True, slots=True)
class Deps:
    """What the worker is given from outside; `reload_asked` is set to have the settings' model file read anew.

    `metrics` and `health` get what the worker tells of itself.
    """

    bootstrap: str
    partitions: int
    model: Model
    now_ms: Callable[[], int] = wall_clock_ms
    fault_point: FaultPoint = no_fault
    reload_asked: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    health: Health = field(default_factory=Health)


async def check_topics_again(bootstrap: str, topics: TopicNames, partitions: int) -> None:
    """Raise an error when a topic of a running worker is gone or has another partition count."""
    counts = await describe_partitions(bootstrap, topics.worker_topics())
    gone = sorted(name for name, count in counts.items() if not count)
    if gone:
        raise TopicError(
            f"{', '.join(gone)}: deleted while the worker ran; what to do before the next start is in "
            'docs/failure-modes.md under "Topic deleted"'
        )
    if common_partitions(counts) != partitions:
        raise ConfigError(f"the topics had {partitions} partitions at the start; start over, see docs/failure-modes.md")


async def check_topics(bootstrap: str, topics: TopicNames) -> int:
    """Create the topics that are missing, check that all have one partition count, and return it.

    Raises ConfigError when another app id scores these inputs, and naming the topics that differ: an account's state,
    inputs and outputs share one partition number.
    """
    if others := await other_app_ids(bootstrap, topics):
        raise ConfigError(
            f"app id {others[0]} scores the inputs with the prefix {topics.prefix!r} already: set "
            f"VITALS_APP_ID={others[0]} to join it, or another VITALS_TOPIC_PREFIX; see docs/failure-modes.md (Another "
            "app id on the same topics)"
        )
    await ensure_topics(bootstrap, topics)
    return common_partitions(await describe_partitions(bootstrap, topics.worker_topics()))


def common_partitions(counts: Mapping[str, int | None]) -> int:
    """Return the partition count that all topics share; raises ConfigError when they do not."""
    missing = sorted(name for name, count in counts.items() if not count)
    if missing:
        raise ConfigError(f"missing topics: {', '.join(missing)}; run `vitals topics apply`")
    by_count: dict[int, list[str]] = {}
    for name, count in counts.items():
        by_count.setdefault(count or 0, []).append(name)
    if len(by_count) > 1:
        listed = "; ".join(
            f"{count} partitions: {', '.join(sorted(names))}" for count, names in sorted(by_count.items())
        )
        raise ConfigError(
            f"the topics are not co-partitioned ({listed}); an account's events, state and alerts must share a "
            "partition number: start over with a new VITALS_TOPIC_PREFIX and VITALS_APP_ID, see docs/failure-modes.md"
        )
    return next(iter(by_count))


def build_app(settings: Settings, deps: Deps) -> RuntimeApp:
    """Build the worker's app: one input agent for each topic kind, the scorer, and its loops."""
    topics = TopicNames.from_settings(settings)
    scorer = Scorer(deps.model, topics, settings.clock, deps.now_ms)
    app = RuntimeApp(
        RuntimeOptions(
            app_id=settings.app_id,
            bootstrap=deps.bootstrap,
            changelog_topic=topics.changelog,
            commit_interval_seconds=settings.commit_interval_seconds,
            batch_max_records=settings.batch_max_records,
            session_timeout_seconds=settings.session_timeout_seconds,
            fault_point=deps.fault_point,
            check_topics=partial(check_topics_again, deps.bootstrap, topics, deps.partitions),
        ),
        scorer,
    )

    async def send(records: list[OutRecord]) -> None:
        await send_records(app.producer.client, records)  # type: ignore[attr-defined]  # our DurableProducer

    inputs = Inputs(topics, lambda: cast("BatchConsumer", app.consumer))
    decoder = Decoder(deps.now_ms)
    ingest = Ingest(
        scorer=scorer,
        topics=topics,
        decoder=decoder,
        breaker=Breaker(settings.dead_letter_ratio_max, settings.dead_letter_run_max),
        partitions=deps.partitions,
        send=send,
        inputs=inputs,
    )
    for source, name in enumerate(inputs.names):
        app.add_batch_agent(name, f"ingest-{name}", ingest.handler(source))

    async def bring_out_alerts() -> None:
        await scorer.publish_urgent(app.committer)

    async def let_time_pass() -> None:
        await scorer.tick_forever(inputs)

    async def report() -> None:
        await scorer.report_forever(decoder.unknown_fields)

    async def watch_model() -> None:
        await reload.watch_forever()

    async def rescore() -> None:
        await reload.rescore_forever()

    reload = ModelReload(scorer, settings.model, deps.reload_asked, app.committer.flush_urgent)
    for loop in (bring_out_alerts, let_time_pass, report, watch_model, rescore):
        app.task(loop)
    if settings.clock == "event":
        app.task(ingest.merge_forever)
    _add_metrics(app, scorer, inputs, deps)
    return app


def _add_metrics(app: RuntimeApp, scorer: Scorer, inputs: Inputs, deps: Deps) -> None:
    metrics, lag = WorkerMetrics(app, scorer, inputs.names, APP_VERSION), LoopLag()
    deps.health.unready = metrics.unready

    async def watch_loop() -> None:
        await lag.watch_forever()

    app.task(watch_loop)
    deps.metrics.register(Exposition(lambda: chain(metrics.samples(), lag.samples()), app.loop))
