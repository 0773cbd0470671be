"""Another model while the worker runs: marked, silent, whole for every account, whatever happens in the middle."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import pytest

from agents.model_reload import RESCORE_SLICE_ACCOUNTS, ModelReload
from agents.runtime.producer import OutRecord
from agents.runtime.table import Partition, ViewBudget
from service.model.loader import load_model
from tests.agents.test_scorer import DAY_MS, START_MS, Bench, alerts_of, busy, login, scores_of
from tests.scoring.models import DEFAULT, RESTLESS

DEFAULT_TEXT = resources.files("service.model").joinpath("default.yaml").read_text(encoding="utf-8")
ACCOUNTS = ("acme", "bolt", "corp")


def living(days: int = 70) -> Bench:
    """Make a partition with three accounts in use, all flushed."""
    bench = Bench(model=DEFAULT)
    for account in ACCOUNTS:
        bench.apply(*busy(range(days), account), account=account)
    assert all(score.model_version == DEFAULT.version for score in scores_of(bench.flush()).values())
    return bench


def stored(bench: Bench) -> list[OutRecord]:
    """Write every account and the marker as the changelog has them, outputs acknowledged."""
    bench.partition.dirty.update(bench.partition.data)
    records, _ = bench.partition.encode_dirty("changelog", *bench.all_dirty())
    bench.partition.published_generation = bench.partition.generation
    return [*records, *bench.partition.encode_dirty("changelog", [], ViewBudget())[0]]


def test_every_account_is_scored_anew_marked_and_without_alerts() -> None:
    """The new model finds all of them endangered: three marked scores in slices, no alert; the next one has no mark."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    assert len(bench.task.rescore(2)) == 2
    first = bench.flush()
    assert len(bench.task.rescore(2)) == 1
    last = bench.flush()
    assert not bench.task.stale
    assert (len(scores_of(first)), len(scores_of(last))) == (2, 1)
    for score in (scores_of(first) | scores_of(last)).values():
        assert (score.model_version, score.model_changed, score.band) == (RESTLESS.version, True, "endangered")
        assert sum(factor.contribution for factor in score.factors) == pytest.approx(score.score)
    assert not alerts_of(first + last)
    bench.apply(login(70))
    assert not scores_of(bench.flush())["acme"].model_changed


def test_what_happens_before_the_new_score_leaves_does_not_take_its_mark() -> None:
    """An event of an account not yet scored anew, and those until the next commit, go out in one marked score."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    bench.apply(login(70), login(71), login(75))
    outputs = bench.flush()
    assert scores_of(outputs)["acme"].model_changed
    assert not [alert for alert in alerts_of(outputs) if alert.as_of_ms < START_MS + 71 * DAY_MS]
    assert set(scores_of(outputs)) == {"acme"}
    bench.apply(login(76))
    assert not scores_of(bench.flush())["acme"].model_changed


def test_an_account_that_the_new_model_has_not_touched_is_published_whole() -> None:
    """A score decided before the change leaves after it with the old version, factors and points."""
    bench = living()
    bench.apply(login(80))
    bench.scorer.use_model(RESTLESS)
    score = scores_of(bench.flush())["acme"]
    assert (score.model_version, score.model_changed) == (DEFAULT.version, False)
    assert {factor.name for factor in score.factors} <= {factor.name for factor in DEFAULT.factors}
    assert sum(factor.contribution for factor in score.factors) == pytest.approx(score.score)


def test_a_due_account_is_scored_anew_before_it_is_ticked() -> None:
    """Time that passes after the change is judged by the new model, and the score keeps the mark of the jump."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    while bench.task.tick_due(START_MS + 120 * DAY_MS, 1000):
        pass
    scores = scores_of(bench.flush())
    assert set(scores) == set(ACCOUNTS)
    assert all(score.model_changed and score.model_version == RESTLESS.version for score in scores.values())


def test_a_crash_in_the_middle_goes_on_with_those_that_are_left() -> None:
    """After the restart only accounts that the old model scored are scored anew, once each."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    bench.task.rescore(1)
    done = set(scores_of(bench.flush()))
    after = Bench(model=RESTLESS)
    after.recover(stored(bench))
    assert {key.decode() for key in after.task.stale} == set(ACCOUNTS) - done
    assert len(after.task.rescore(10)) == 2
    outputs = after.flush()
    assert set(scores_of(outputs)) == set(ACCOUNTS) - done
    assert all(score.model_changed for score in scores_of(outputs).values())
    assert not alerts_of(outputs)
    same = Bench(model=RESTLESS)
    same.recover(stored(after))
    assert not same.task.stale


def test_a_marked_score_that_was_stored_but_not_published_keeps_its_mark() -> None:
    """Killed between state and score, the worker publishes the marked score, also when an event comes before that."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    bench.task.rescore(3)
    records, _ = bench.partition.encode_dirty("changelog", *bench.all_dirty())
    after = Bench(model=RESTLESS)
    after.recover(records)
    after.offset = bench.offset
    after.apply(login(70))
    scores = scores_of(after.flush())
    assert set(scores) == set(ACCOUNTS)
    assert all(score.model_changed for score in scores.values())


def test_unpublished_scores_of_another_model_are_made_whole_by_the_one_in_force() -> None:
    """Killed before its scores left and started with another model, the worker publishes the new model's, marked."""
    bench = living()
    bench.apply(login(80))
    records, _ = bench.partition.encode_dirty("changelog", *bench.all_dirty())
    after = Bench(model=RESTLESS)
    after.recover(records)
    score = scores_of(after.flush())["acme"]
    assert (score.model_version, score.model_changed) == (RESTLESS.version, True)
    assert sum(factor.contribution for factor in score.factors) == pytest.approx(score.score)


def test_going_back_in_the_middle_leaves_untouched_accounts_alone() -> None:
    """Accounts that the other model never scored are as they were; the one it scored is scored anew again."""
    bench = living()
    bench.scorer.use_model(RESTLESS)
    bench.task.rescore(1)
    touched = set(scores_of(bench.flush()))
    bench.scorer.use_model(DEFAULT)
    bench.task.rescore(10)
    outputs = bench.flush()
    assert set(scores_of(outputs)) == touched
    assert not alerts_of(outputs)


def reload(bench: Bench, path: Path) -> None:
    async def flush(_partition: Partition, _keys: Iterable[bytes]) -> None:
        raise AssertionError("nothing is scored anew here")

    asyncio.run(ModelReload(bench.scorer, path, asyncio.Event(), flush).reload(asked=True))


def test_an_invalid_file_is_refused_with_every_fault_and_the_old_model_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both faults are logged with file and line, and nothing is stale; a missing file is refused the same way."""
    bench = living()
    file = tmp_path / "m.yaml"
    file.write_text(re.sub(r"dwell_days: \d+", "dwell_days: ten", re.sub(r"weight: \d+", "weight: -1", DEFAULT_TEXT)))
    for path in (file, tmp_path / "none.yaml"):
        reload(bench, path)
        assert bench.scorer.model is DEFAULT
        assert not bench.task.stale
    told = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    for text in (f"{file}:", "factors.login_trend.weight", "bands.dwell_days", "none.yaml: cannot be read"):
        assert text in told
    assert told.count(f"model {DEFAULT.version} stays in force") == 2


def test_a_valid_file_is_in_force_and_the_same_one_changes_nothing(tmp_path: Path) -> None:
    """Comments make no other model; another weight does."""
    bench = living()
    file = tmp_path / "m.yaml"
    file.write_text("# mine\n" + DEFAULT_TEXT)
    reload(bench, file)
    assert bench.scorer.model is DEFAULT
    file.write_text(re.sub(r"weight: \d+", "weight: 39", DEFAULT_TEXT, count=1))
    reload(bench, file)
    assert bench.scorer.model.version == load_model(file).version != DEFAULT.version
    assert len(bench.task.stale) == len(ACCOUNTS)


def test_each_slice_is_out_before_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """While a flush waits for the brokers no further account is scored anew; in the end all are, and that is logged."""
    bench = Bench(model=DEFAULT)
    for number in range(3 * RESCORE_SLICE_ACCOUNTS):
        bench.apply(login(0, account=f"a{number}"), account=f"a{number}")
    bench.flush()
    bench.scorer.use_model(RESTLESS)
    slices: list[int] = []
    caplog.set_level(logging.INFO)

    async def flush(partition: Partition, keys: Iterable[bytes]) -> None:
        asked = set(keys)
        await asyncio.sleep(0.01)
        assert (partition, partition.dirty, bench.partition.outdated) == (bench.partition, asked, asked)
        slices.append(len(scores_of(bench.flush())))

    async def run() -> None:
        loop = asyncio.ensure_future(ModelReload(bench.scorer, None, asyncio.Event(), flush).rescore_forever())
        while "scored anew" not in caplog.text and not loop.done():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)
        loop.cancel()

    asyncio.run(run())
    assert slices == [RESCORE_SLICE_ACCOUNTS] * 3
    assert f"accounts scored anew with model {RESTLESS.version}: {3 * RESCORE_SLICE_ACCOUNTS}" in caplog.text
