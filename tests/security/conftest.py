"""One broker with TLS, logins and ACLs for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from service.adapters.topic_admin import ensure_topics
from service.topic_catalogue import TopicNames
from tests.security.kit import SecuredKafka


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Run it with topics and ACLs in place until the last test is done."""
    kafka = SecuredKafka(tmp_path_factory.mktemp("secured"), TopicNames(app_id="eu-health", prefix="eu-"))
    try:
        kafka.start()
        asyncio.run(ensure_topics(kafka.plain, kafka.names))
        kafka.apply_acls()
        yield kafka
    finally:
        kafka.stop()
