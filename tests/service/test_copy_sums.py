"""The portfolio's sums are those of the accounts, also when only one part of an account changes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.copy_kit import Copy, score, with_copy


@pytest.mark.parametrize(
    ("part", "changes", "sum_before", "sum_after"),
    [
        ("mrr", {"mrr_minor": 900}, b"700", b"900"),
        ("coverage", {"coverage": 0.75}, b"5000", b"7500"),
        ("accounts", {"score": 41.0}, b"1", b"1"),
    ],
)
def test_what_changes_alone_is_counted(
    redis_url: str, part: str, changes: dict[str, Any], sum_before: bytes, sum_after: bytes
) -> None:
    """Of an account that stays in its band, tier and currency only what changed moves the sums."""
    facts: dict[str, Any] = {
        "band": "at_risk",
        "tier": "low_touch",
        "currency": "EUR",
        "mrr_minor": 700,
        "coverage": 0.5,
    }

    async def job(copy: Copy) -> None:
        field = f"at_risk|low_touch|EUR|{part}"
        await copy.scores(score("acme", 1, **facts))
        assert await copy.client.hget(copy.key("portfolio"), field) == sum_before
        await copy.scores(score("acme", 2, **{**facts, **changes}))
        assert await copy.client.hget(copy.key("portfolio"), field) == sum_after

    with_copy(redis_url, job)
