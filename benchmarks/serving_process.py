"""Projector and API under measurement: the real commands in processes of their own, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from benchmarks.deployment import Deployment
from benchmarks.worker_process import BenchmarkError
from tests.integration.kafka_tools import TestedProcess, start_role

WAIT_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 0.02


@contextmanager
def running(deployment: Deployment, role: str, *arguments: str, **variables: str) -> Iterator[TestedProcess]:
    """Run a command of Vitals until the end, which must be a clean one."""
    log = deployment.log.with_suffix(f".{role}.log")
    with start_role(deployment.settings, log, role, *arguments, **variables) as process:
        yield process
        if (code := process.terminate()) != 0:
            raise BenchmarkError(f"vitals {role} ended with {code}:\n{process.output()[-2000:]}")


@contextmanager
def serving(deployment: Deployment, port: int, **variables: str) -> Iterator[TestedProcess]:
    """Run a projector and, when its copy is whole, the API on a port."""
    with running(deployment, "projector", **variables) as projector:
        wait_until(lambda: "whole and live" in projector.output(), projector)
        with running(deployment, "api", "--port", str(port), **variables) as api:
            wait_until(lambda: _is_ready(port), api)
            yield api


def wait_until(holds: Callable[[], bool], process: TestedProcess) -> None:
    """Wait until something holds; raises BenchmarkError when a process ends or time runs out."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if process.process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"it never came so far:\n{process.output()[-2000:]}")
        time.sleep(LOOK_SECONDS)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
