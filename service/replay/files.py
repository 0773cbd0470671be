"""A replay of files in this process, and the folder that it writes.

It holds `scores.ndjson`, `alerts.ndjson`, `actions.ndjson` and `summary.json`. They are complete or absent: they are
written beside their names and then moved there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import orjson

from service.errors import InputError
from service.ingest import Decoder
from service.input_files import InputFile, Part, RefusedLine
from service.outputs import score_message
from service.replay.core import Replay, merge_events
from service.replay.spool import Spools, opened_spools
from service.replay.summary import ReplaySummary
from service.scoring.events import Event
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState

PROGRESS_EVENTS: Final = 4_096
SCORES_NAME: Final = "scores.ndjson"
ALERTS_NAME: Final = "alerts.ndjson"
ACTIONS_NAME: Final = "actions.ndjson"
SUMMARY_NAME: Final = "summary.json"

Refuse: TypeAlias = Callable[[RefusedLine], None]
Progress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Up to when (None: the latest event), how late events may come to be put in order, and where results go."""

    until_ms: int | None = None
    lateness_ms: int = 0
    out: Path | None = None


def replay_files(
    files: Sequence[InputFile],
    decoder: Decoder,
    model: Model,
    options: ReplayOptions,
    *,
    refuse: Refuse = lambda _: None,
    progress: Progress = lambda _: None,
) -> ReplaySummary:
    """Replay files and write the results, if asked.

    `refuse` is told every line without an event, `progress` the number of events so far. Raises InputError when a
    file cannot be read or the folder cannot be written.
    """
    with opened_spools() as spools:
        replay = new_replay(model, options, spools)
        feed(replay, files, decoder, refuse=refuse, progress=progress)
        until_ms = replay.latest_ms if options.until_ms is None else options.until_ms
        with opened_results(options.out) as results:
            write_scores(replay, model, until_ms, None if results is None else results.scores)
            if results is not None:
                spools.alerts.write_sorted(results.alerts)
                spools.actions.write_sorted(results.actions)
                results.summary.write(summary_bytes(replay.summary))
    return replay.summary


def new_replay(model: Model, options: ReplayOptions, spools: Spools) -> Replay:
    """Make the replay that these options ask for; without a folder it keeps nothing that it tells."""
    keeps = options.out is not None
    return Replay(
        model,
        until_ms=options.until_ms,
        lateness_ms=options.lateness_ms,
        take_alert=spools.alerts.add_alert if keeps else lambda _: None,
        take_action=spools.actions.add_action if keeps else lambda _: None,
    )


def feed(
    replay: Replay,
    files: Sequence[InputFile],
    decoder: Decoder,
    *,
    refuse: Refuse,
    progress: Progress = lambda _: None,
    part: Part | None = None,
) -> None:
    """Read the files to their ends and apply every event, of a part of the accounts if only they are asked for."""

    def note(line: RefusedLine) -> None:
        replay.summary.refused[line.reason] += 1
        refuse(line)

    apply = replay.apply
    for count, event in enumerate(read_events(files, decoder, note, part)):
        apply(event)
        if not count % PROGRESS_EVENTS:
            progress(count)
    replay.drain()


def read_events(
    files: Sequence[InputFile], decoder: Decoder, refuse: Refuse, part: Part | None = None
) -> Iterator[Event]:
    """Yield the events of all files, merged by time; of a part of the accounts only theirs, in the same order."""
    if part is None or len(files) == 1:
        return merge_events([file.core_events(decoder, refuse, part) for file in files])
    # How files out of order merge depends on all of their events, so a part is taken from the whole.
    tell = refuse if part.is_first else lambda _: None
    return (
        event
        for event in merge_events([file.core_events(decoder, tell) for file in files])
        if part.owns(event.account.encode())
    )


def write_scores(replay: Replay, model: Model, until_ms: int | None, out: BinaryIO | None) -> None:
    """Let every account come to its end, and write its score as a line."""
    for state in replay.finish(until_ms):
        if out is not None:
            out.write(score_line(state, model) + b"\n")


def score_line(state: AccountState, model: Model) -> bytes:
    """Write an account's score message with every signal beside it, null for those with nothing to judge yet."""
    event = orjson.loads(score_message(score_view(state, model)))
    event["data"]["signals"] = {name: signal.read(state) for name, signal in SIGNALS.items()}
    return orjson.dumps(event)


def summary_bytes(summary: ReplaySummary) -> bytes:
    """Write the summary as it is stored."""
    return orjson.dumps(summary.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The files of a folder, open for writing."""

    scores: BinaryIO
    alerts: BinaryIO
    actions: BinaryIO
    summary: BinaryIO


@contextmanager
def opened_results(out: Path | None) -> Iterator[ResultFiles | None]:
    """Open the files of a folder (None: nothing is written) and move them to their names when all went well.

    Raises InputError when the folder cannot be written.
    """
    if out is None:
        yield None
        return
    names = [out / name for name in (SCORES_NAME, ALERTS_NAME, ACTIONS_NAME, SUMMARY_NAME)]
    parts = [name.with_name(name.name + ".part") for name in names]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            yield ResultFiles(*(stack.enter_context(part.open("wb")) for part in parts))
        for part, name in zip(parts, names, strict=True):
            part.replace(name)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}; name another folder") from None
    finally:
        for part in parts:
            try:
                part.unlink(missing_ok=True)
            except OSError:
                pass  # the folder could not be made, which is being told
