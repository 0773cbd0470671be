"""Which topics there are: their names, what each carries, and how each is laid out.

Names are made here and nowhere else. The layouts are data (`topics.yaml` beside this module); talking to a broker about
them is `service.adapters.topic_admin`'s work.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.catalogue import INPUT_KINDS, InputKind
from service.errors import ConfigError
from service.settings import Settings

TopicKind: TypeAlias = InputKind
TOPIC_KINDS = INPUT_KINDS
"""The kinds of input topics; their order here settles which of two events of one instant comes first."""

INPUT_NAMES: dict[TopicKind, str] = {
    "usage": "product-usage",
    "payment": "payments",
    "ticket": "tickets",
    "survey": "surveys",
    "account": "accounts",
    "action": "account-actions",
}
SOURCE_KINDS: tuple[TopicKind | None, ...] = ("usage", "payment", "ticket", "survey", "account", None, "action")
"""What each source of stored state is, None: the re-keyed topic, whose records are of any kind. Append only."""
REKEYED_SOURCE = SOURCE_KINDS.index(None)
CHANGELOG_SUFFIX = "-state-changelog"


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Every topic name of one deployment."""

    app_id: str = "vitals"
    prefix: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> TopicNames:
        """Take the app id and the topic prefix from the settings."""
        return cls(app_id=settings.app_id, prefix=settings.topic_prefix)

    def input(self, kind: TopicKind) -> str:
        """Name the input topic of a kind."""
        return self.prefix + INPUT_NAMES[kind]

    @property
    def inputs(self) -> dict[str, TopicKind]:
        """The input topics with their kinds; without the re-keyed topic."""
        return {self.input(kind): kind for kind in TOPIC_KINDS}

    @property
    def sources(self) -> list[str]:
        """All topics that a worker reads, in the order of their source index."""
        return [self.rekeyed if kind is None else self.input(kind) for kind in SOURCE_KINDS]

    @property
    def rekeyed(self) -> str:
        """The topic of records that stood on a partition that their key does not hash to."""
        return self.prefix + "vitals-rekeyed"

    @property
    def scores(self) -> str:
        """The compacted topic of the last score of every account."""
        return self.prefix + "health-scores"

    @property
    def alerts(self) -> str:
        """The topic of alerts."""
        return self.prefix + "health-alerts"

    @property
    def audit(self) -> str:
        """The topic that tells what became of every action."""
        return self.prefix + "account-audit"

    @property
    def changelog(self) -> str:
        """The compacted topic that is the truth about every account's state."""
        return f"{self.prefix}{self.app_id}{CHANGELOG_SUFFIX}"

    def other_app_id(self, topic: str) -> str | None:
        """Return the app id whose changelog a topic would be under this prefix; None when it is none, or ours."""
        if not topic.startswith(self.prefix) or not topic.endswith(CHANGELOG_SUFFIX) or topic == self.changelog:
            return None
        return topic[len(self.prefix) : -len(CHANGELOG_SUFFIX)] or None

    @property
    def clock(self) -> str:
        """The topic that `vitals doctor` writes to, to learn the brokers' clocks; nobody reads it."""
        return f"{self.prefix}{self.app_id}-clock"

    @property
    def projector_group(self) -> str:
        """The consumer group of projectors; that of workers is the app id."""
        return f"{self.prefix}{self.app_id}-projector"

    def dead_letters(self, kind: TopicKind) -> str:
        """Name the dead-letter topic of a kind of input."""
        return self.input(kind) + ".dlq"

    def worker_topics(self) -> list[str]:
        """Name every topic that a worker reads or writes, all with one partition count."""
        dead_letters = [self.dead_letters(kind) for kind in TOPIC_KINDS]
        return [*self.inputs, self.rekeyed, *dead_letters, self.scores, self.alerts, self.audit, self.changelog]

    def source_of(self, topic: str) -> int:
        """Return the source index of an input topic or of the re-keyed topic; KeyError for any other."""
        if topic == self.rekeyed:
            return REKEYED_SOURCE
        return SOURCE_KINDS.index(self.inputs[topic])


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic is laid out; `config` has Kafka's names and units."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


class _TopicFile(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    partitions: Annotated[int, Field(ge=1)]
    replication_factor: Annotated[int, Field(ge=1)]
    classes: dict[str, dict[str, str]]
    topics: dict[str, str]


@functools.cache
def _topic_file() -> _TopicFile:
    text = resources.files("service").joinpath("topics.yaml").read_text(encoding="utf-8")
    try:
        return _TopicFile.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"service/topics.yaml: {error}") from None


def topic_specs(names: TopicNames) -> list[TopicSpec]:
    """List the layout of every topic of a deployment, as `topics.yaml` says."""
    layout = _topic_file()
    return [
        TopicSpec(
            name=names.prefix + pattern.format(app_id=names.app_id),
            partitions=layout.partitions,
            replication_factor=layout.replication_factor,
            config=dict(layout.classes[class_name]),
        )
        for pattern, class_name in layout.topics.items()
    ]
