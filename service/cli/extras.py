"""Commands of the extra `vitals[api]` say so when it is not installed, instead of ending in a traceback."""

from __future__ import annotations

import importlib.util

from service.errors import ConfigError

NEEDED = ("redis", "fastapi", "uvicorn", "jinja2")


def require_api_extra() -> None:
    """Raise ConfigError when a package of the extra is missing."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"this needs the extra `vitals[api]`, of which {', '.join(missing)} is not installed")
