"""The inputs of a partition as the consumer sees them: what is still to come of each, and when to fetch no more."""

from __future__ import annotations

from collections.abc import Callable

from faust.types import TP

from agents.runtime.transport import BatchConsumer, ReadingState
from service.topic_catalogue import TopicNames


class Inputs:
    """All input topics by source index."""

    def __init__(self, topics: TopicNames, consumer: Callable[[], BatchConsumer]) -> None:
        self.names = topics.sources
        self._consumer = consumer

    def reading_state(self, source: int, partition: int) -> ReadingState:
        """Return how far an input of a partition is read."""
        return self._consumer().reading_state(TP(self.names[source], partition))

    def are_read(self, partition: int) -> bool:
        """Return whether every input of a partition is read and applied to its end."""
        return all(self.reading_state(source, partition) == "read" for source in range(len(self.names)))

    def hold(self, source: int, partition: int) -> None:
        """Fetch no more of an input for now."""
        self._consumer().hold(TP(self.names[source], partition))

    def release(self, source: int, partition: int) -> None:
        """Fetch an input again."""
        self._consumer().release(TP(self.names[source], partition))
