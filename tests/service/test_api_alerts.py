"""Lists of alerts tell what people did about each, and are filtered by it."""

from __future__ import annotations

import uuid
from typing import Any

from tests.service.api_kit import serving
from tests.service.copy_kit import NOON_MS, Copy, alert, score, taken
from tests.service.test_api_reading import all_pages


def test_alerts_tell_what_people_did_and_are_filtered_by_it(redis_url: str) -> None:
    """By state, by the tier of the account now, by both; also of one account, and on the account itself."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:

        async def fill(copy: Copy) -> None:
            await copy.live()
            tiers = {"acme": "high_touch", "bolt": "low_touch", "core": None}
            await copy.scores(*(score(account, 1, tier=tier) for account, tier in tiers.items()))
            await copy.alerts(*(alert(account, seq, time_ms=NOON_MS + seq) for account in tiers for seq in (1, 2)))
            await copy.actions(
                taken("acme", 1, "resolve", alert_seq=1, alert_state="resolved"),
                taken("bolt", 1, "acknowledge", alert_seq=2, alert_state="acknowledged"),
            )

        served.change(fill)

        def asked(**parameters: Any) -> set[tuple[str, int, str]]:
            found = all_pages(client, "/v1/alerts", "alerts", page_size=2, **parameters)
            return {(told["account"], told["seq"], told["state"]) for told in found}

        acted = {("acme", 1, "resolved"), ("bolt", 2, "acknowledged")}
        others = {("acme", 2, "new"), ("bolt", 1, "new"), ("core", 1, "new"), ("core", 2, "new")}
        assert asked() == acted | others
        assert asked(state="new") == others
        assert asked(state=["acknowledged", "resolved"]) == acted
        assert asked(state="snoozed") == set()
        assert asked(tier="none") == {("core", 1, "new"), ("core", 2, "new")}
        assert asked(tier=["none", "low_touch"], state="acknowledged") == {("bolt", 2, "acknowledged")}
        assert asked(account="acme", state="new") == {("acme", 2, "new")}
        assert asked(account="acme", tier="low_touch") == set()
        assert asked(account="acme", tier="high_touch") == {("acme", 1, "resolved"), ("acme", 2, "new")}
        assert client.get("/v1/alerts", params={"state": "old"}).status_code == 422
        view = client.get("/v1/accounts/acme").json()
        assert [(told["seq"], told["state"]) for told in view["alerts"]] == [(2, "new"), (1, "resolved")]
        token = client.get("/v1/alerts", params={"page_size": 1, "state": "new"}).json()["next_page_token"]
        assert client.get("/v1/alerts", params={"page_token": token, "state": "resolved"}).status_code == 400
