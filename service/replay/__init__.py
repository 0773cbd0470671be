"""The scoring core without Kafka: a log of events in, scores and alerts out, the same as a worker would give.

`core` puts each account's events in order and applies them, `files` reads and writes, `processes` splits the accounts.
"""

from __future__ import annotations

from service.replay.core import Replay, merge_events
from service.replay.files import Progress, Refuse, ReplayOptions, replay_files
from service.replay.processes import replay_in_processes
from service.replay.summary import ReplaySummary

__all__ = [
    "Progress",
    "Refuse",
    "Replay",
    "ReplayOptions",
    "ReplaySummary",
    "merge_events",
    "replay_files",
    "replay_in_processes",
]
