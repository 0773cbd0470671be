"""The image: its file is clean, and what its instructions build works as a user of no rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from tests.deploy.compose import OWN_IMAGE, ROOT, services
from tests.deploy.image import DOCKERFILE, build, in_brackets, told

NOBODY = 10001
PROFILES = sorted({profile for service in services().values() for profile in service.get("profiles", [])})


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    """Hadolint, with all of its rules."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one() -> None:
    """Compose itself reads it, with every profile."""
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("no docker-compose here: tests/deploy/tools.sh installs Debian's")
    profiles = [word for profile in PROFILES for word in ("--profile", profile)]
    done = subprocess.run([compose, *profiles, "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_image_runs_as_nobody_and_starts_no_shell() -> None:
    """Entry point and health check are lists of words; the user has a number, which Kubernetes can check."""
    assert told("USER") == f"{NOBODY}:{NOBODY}"
    assert in_brackets("ENTRYPOINT") == ["vitals"]
    assert in_brackets("CMD") == ["worker"]
    assert in_brackets("HEALTHCHECK") == ["vitals", "health", "--live"]
    assert OWN_IMAGE in DOCKERFILE.read_text(encoding="utf-8")


def may_start(interpreter: Path) -> bool:
    """Return whether the image's user may start an interpreter, and we may start it as that user."""
    try:
        subprocess.run([interpreter, "-c", "import ssl"], cwd="/", user=NOBODY, group=NOBODY, check=True)
    except PermissionError:
        return False
    return True


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that other users may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="vitals-image-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(
    "BUILD_IMAGE" not in os.environ, reason="takes minutes: `make deploy-check` builds what the image holds"
)
def test_what_the_image_holds_scores_as_a_user_of_no_rights(broker: EmbeddedKafka, open_folder: Path) -> None:
    """Built by the very instructions, it runs the compiled core, writes nowhere, becomes ready and stops with 0."""
    bin_folder = build(open_folder) / "bin"
    where = subprocess.run(
        [bin_folder / "python", "-c", "import service.scoring.engine as engine; print(engine.__file__)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "/venv/lib/" in where
    assert where.strip().endswith(".so")
    prefix = f"t{uuid.uuid4().hex[:8]}"
    environment = {
        "PATH": str(bin_folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "VITALS_BROKER": broker.bootstrap,
        "VITALS_APP_ID": f"{prefix}-app",
        "VITALS_TOPIC_PREFIX": f"{prefix}-",
        "VITALS_METRICS": f"127.0.0.1:{free_ports(1)[0]}",
    }
    nobody = {"user": NOBODY, "group": NOBODY} if may_start(bin_folder / "python") else {}
    entry, health = [bin_folder / "vitals"], [bin_folder / "vitals", "health"]
    with subprocess.Popen([*entry, *in_brackets("CMD")], cwd="/", env=environment, **nobody) as worker:  # type: ignore[call-overload]  # a user's number
        try:
            deadline = time.monotonic() + 90
            while subprocess.run(health, env=environment, cwd="/", check=False, **nobody).returncode:  # type: ignore[call-overload]
                assert worker.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.5)
            worker.terminate()
            assert worker.wait(30) == 0
        finally:
            worker.kill()
