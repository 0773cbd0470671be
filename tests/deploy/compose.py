"""The compose file read as data, so that tests run its command lines as plain processes: there is no Docker engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
OWN_IMAGE: Final = "vitals:0.1.0"


def services() -> dict[str, dict[str, Any]]:
    """Return every service by its name, anchors resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
        "services"
    ]
    return found


def own() -> dict[str, dict[str, Any]]:
    """Return the services that run the project's own image."""
    return {name: service for name, service in services().items() if service["image"] == OWN_IMAGE}


def start_order() -> list[str]:
    """Name the services so that each comes after what it depends on."""
    left, order = dict(services()), []
    while left:
        ready = [name for name, service in left.items() if not set(service.get("depends_on", {})) & left.keys()]
        assert ready, f"services wait for one another: {sorted(left)}"
        order += ready
        left = {name: service for name, service in left.items() if name not in ready}
    return order
