"""The embedded Redis by its commands, and addresses of other ones: passwords are never shown."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.redis_client import hidden
from service.errors import ConfigError
from service.settings import load_settings
from tests.conftest import Vitals


def test_it_is_started_looked_at_and_stopped(vitals: Vitals) -> None:
    """Each command says what it found; the socket's folder is the owner's alone; a killed one is stopped."""
    with tempfile.TemporaryDirectory(prefix="v-") as home:
        assert vitals("redis", "status", VITALS_HOME=home).returncode == 3
        missing = vitals("api", VITALS_HOME=home)
        assert (missing.returncode, "vitals redis up" in missing.stderr) == (1, True)
        server = EmbeddedRedis(Path(home))
        try:
            assert "answers at unix://" in vitals("redis", "up", VITALS_HOME=home).stdout
            assert "already runs" in vitals("redis", "up", VITALS_HOME=home).stdout
            assert vitals("redis", "status", VITALS_HOME=home).returncode == 0
            assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
            server.kill()
            assert vitals("redis", "status", VITALS_HOME=home).returncode == 3
            assert server.start()
        finally:
            assert "is stopped" in vitals("redis", "down", VITALS_HOME=home).stdout
        assert "was not running" in vitals("redis", "down", VITALS_HOME=home).stdout


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    """The system's bound is told before anything is started."""
    with pytest.raises(ConfigError, match="VITALS_REDIS"):
        EmbeddedRedis(tmp_path / ("x" * 90)).start()


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an error of the settings, nor in their text, nor in a message of the client."""
    monkeypatch.setenv("VITALS_REDIS", "http://user:hunter2@redis:6379")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "VITALS_REDIS" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("VITALS_REDIS", "redis://user:hunter2@redis:6379/0")
    assert "hunter2" not in repr(load_settings())
    assert hidden("redis://user:hunter2@redis:6379/0") == "redis://***@redis:6379/0"
