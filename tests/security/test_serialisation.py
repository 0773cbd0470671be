"""No byte from a topic is ever unpickled: every serializer of the worker is raw, and no module can do it."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

from agents.app import Deps, build_app
from service.model.loader import load_model
from service.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
# What makes objects or runs code from bytes or text.
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}


def test_the_worker_knows_raw_bytes_only() -> None:
    """Of its topics, changelog and tables none has another serializer, and Faust's web server is off."""

    async def build() -> None:
        app = build_app(load_settings(), Deps("127.0.0.1:1", 8, load_model()))
        changelog = app.state_table.changelog_topic
        schemas: list[Any] = [agent.channel.schema for agent in app.agents.values()]
        assert len(schemas) > 5
        found = {serializer for schema in schemas for serializer in (schema.key_serializer, schema.value_serializer)}
        assert found == {"raw"}
        assert {changelog.schema.key_serializer, changelog.schema.value_serializer} == {"raw"}
        assert app.conf.web_enabled is False
        names = {app.conf.key_serializer, app.conf.value_serializer}
        assert names <= {"raw", "json"}, names

    asyncio.run(build())


def test_nothing_makes_objects_or_code_of_bytes() -> None:
    """No module of the service imports a pickling library or calls eval, exec or an unsafe YAML loader."""
    found = []
    for path in (path for folder in ("agents", "schemas", "service") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").partition(".")[0]]
            elif isinstance(node, ast.Call):
                names = [ast.unparse(node.func)]
            found += [f"{path}: {name}" for name in names if name in UNSAFE_MODULES | UNSAFE_CALLS]
    assert not found
