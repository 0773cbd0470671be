"""Which versions of Faust's parts this layer was tested with; any other is refused at start.

The layer overrides private hooks. A release that moved one of them could lose records without an error, so a version
is added here only after the integration tests ran green on it.
"""

from __future__ import annotations

from importlib.metadata import version

from service.errors import ConfigError

TESTED_VERSIONS = {
    "faust-streaming": ("0.15.3",),
    "aiokafka": ("0.14.0",),
    "mode-streaming": ("0.7.1",),
}


def check_versions(installed: dict[str, str] | None = None) -> None:
    """Raise ConfigError when a part is not one of the tested versions."""
    found = installed or {name: version(name) for name in TESTED_VERSIONS}
    for name, tested in TESTED_VERSIONS.items():
        if found[name] not in tested:
            raise ConfigError(
                f"{name} {found[name]} is installed, but the runtime layer knows only {', '.join(tested)}; "
                "install the pinned dependencies (requirements/run.txt)"
            )
