"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from service.api.keys import KeyRing, add_key
from tests.service.api_kit import serving
from tests.service.copy_kit import Copy, alert, score

REQUESTS = 20  # of each route and way of drawing
ENDLESS = "/v1/stream"
ANSWER_SECONDS = 60  # of a machine that does other things


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """Serve a copy that has something of everything; give the document and a key."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    token = add_key(path, "fuzz", "read", int(time.time()) + 3600)

    async def fill(copy: Copy) -> None:
        await copy.scores(*(score(account, 1, name=account) for account in ("acme", "0", "null", "a/b")))
        await copy.alerts(alert("acme", 1))
        await copy.live()

    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:", keys=KeyRing(path)) as served:
        served.change(fill)
        document = schemathesis.openapi.from_dict(served.api.openapi())
        document.config.update(base_url=served.url)
        yield document, token


def test_every_answer_is_one_of_the_document(api: tuple[Any, str]) -> None:
    """Status, media type and body of each answer are those that the document tells; keys are asked for."""
    document, token = api
    headers = {"Authorization": f"Bearer {token}"}
    asked = set()
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        asked.add(operation.path)
        _ask(operation, GenerationMode.POSITIVE, headers)
        if {"parameters", "requestBody"} & operation.definition.raw.keys():  # otherwise nothing can be wrong
            _ask(operation, GenerationMode.NEGATIVE, headers)
    assert len(asked) >= 10


def _ask(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    @settings(max_examples=REQUESTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        # A page token is a text, but only one that was given before is taken; what is no text in a query is one on the
        # way, and a key that was drawn is replaced by a good one.
        case.call_and_validate(
            headers=headers, timeout=ANSWER_SECONDS, excluded_checks=[positive_data_acceptance, negative_data_rejection]
        )

    check()
