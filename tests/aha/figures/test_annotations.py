"""Annotations on disk: whole, of the shards as they are, once each, and the same however they were computed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1rl.aha.detect.annotation import SCHEMA, annotate
from r1rl.aha.figures import annotations, figures
from r1rl.aha.figures.figures import FIGURES, Selection
from r1rl.store import store
from tests.aha.annotated_runs import rollout
from tests.store.old_runs import write_old_shard

SHARDS = 4


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for step in range(SHARDS):
        rows = [rollout(f"p{prompt}", 0, n_tokens=20 + step) for prompt in range(7)]
        store.write_shard(tmp_path, rows, kind="train", step=step, rank=0)
    store.write_shard(tmp_path, [rollout("p0", 0)], kind="eval", step=0, rank=0)
    return tmp_path


def found(run_dir: Path, **selected: Any) -> list[dict[str, Any]]:
    with annotations.connection(run_dir, **selected) as database:
        rows: list[dict[str, Any]] = database.sql("FROM annotations").to_arrow_table().to_pylist()
        return rows


def expected(run_dir: Path, **selected: Any) -> list[dict[str, Any]]:
    return [annotate(row) for row in store.read(run_dir, **selected).to_pylist()]


def key(row: dict[str, Any]) -> str:
    return repr((row["kind"], row["step"], row["prompt_id"]))


@pytest.mark.parametrize(
    ("workers", "part_rows"),
    [
        pytest.param(1, 3, id="in parts"),
        pytest.param(1, 5000, id="whole shards"),
        pytest.param(2, 5000, id="two processes"),  # which have a module of their own, so no smaller parts
    ],
)
def test_every_rollout_once(run_dir: Path, workers: int, part_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotations, "PART_ROWS", part_rows)
    monkeypatch.setattr(annotations, "_FEW_ROWS", 1)
    assert annotations.compute(run_dir, workers=workers) == 7 * SHARDS + 1
    assert sorted(found(run_dir), key=key) == sorted(expected(run_dir), key=key)
    assert annotations.compute(run_dir, workers=workers) == 0


def test_only_what_is_asked_for(run_dir: Path) -> None:
    assert annotations.compute(run_dir, kind="eval") == 1
    assert {row["kind"] for row in found(run_dir)} == {"eval"}
    assert len(annotations.missing(run_dir)) == SHARDS
    annotations.compute(run_dir)
    assert {row["step"] for row in found(run_dir, kind="train", steps=[1, 3])} == {1, 3}


def test_goes_on_where_it_was_cut_off(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def interrupted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return [annotate(row) for row in rows]

    with monkeypatch.context() as patch:
        patch.setattr(annotations, "annotate_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            annotations.compute(run_dir, kind="train")
    assert len(annotations.missing(run_dir, kind="train")) == SHARDS - 1
    assert not list(annotations.folder(run_dir).glob("*.tmp")) + list(annotations.folder(run_dir).glob(".*"))
    assert annotations.compute(run_dir, kind="train") == 7 * (SHARDS - 1)
    assert len(found(run_dir)) == 7 * SHARDS


def test_a_shard_that_was_sampled_again_is_annotated_again(run_dir: Path) -> None:
    annotations.compute(run_dir)
    store.write_shard(run_dir, [rollout("other", 0, n_tokens=99)], kind="train", step=2, rank=0)
    assert [part.shard.name for part in annotations.missing(run_dir)] == [
        shard.path.name for shard in store.shards(run_dir, kind="train", steps=[2])
    ]
    assert {row["step"] for row in found(run_dir, kind="train")} == {0, 1, 3}  # what is there is never of older rows
    assert annotations.compute(run_dir) == 1
    assert [row["prompt_id"] for row in found(run_dir, steps=[2])] == ["other"]
    assert len(list(annotations.folder(run_dir).iterdir())) == SHARDS + 1, "the old file is gone"


def test_steps_that_a_resumed_run_forgets_are_forgotten(run_dir: Path) -> None:
    annotations.compute(run_dir)
    store.rewind(run_dir, 2)
    assert sorted({row["step"] for row in found(run_dir, kind="train")}) == [0, 1]
    annotations.compute(run_dir)
    assert len(list(annotations.folder(run_dir).iterdir())) == len(store.shards(run_dir))


def test_a_shard_that_goes_while_it_is_read_is_left_out(run_dir: Path) -> None:
    parts = annotations.missing(run_dir, kind="train")
    parts[0].shard.unlink()
    assert annotations.annotate_part(parts[0]) == 0
    parts[1].shard.touch()
    assert annotations.annotate_part(parts[1]) == 0
    assert not annotations.files(run_dir)


def test_other_versions_are_left_alone(run_dir: Path) -> None:
    other = run_dir / annotations.FOLDER / "v0"
    other.mkdir(parents=True)
    (other / "train-000000-0000.parquet").write_bytes(b"")
    annotations.compute(run_dir)
    assert len(list(other.iterdir())) == 1
    assert len(found(run_dir)) == 7 * SHARDS + 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda run: annotations.compute(run, workers=0), "workers=0: need at least 1", id="no workers"),
        pytest.param(lambda run: found(run, kind="eval"), "no annotated eval rollouts", id="nothing of that kind"),
        pytest.param(lambda run: annotations.compute(run / "other"), "other", id="no run"),
    ],
)
def test_errors(run_dir: Path, make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make(run_dir)


def test_two_connections_at_a_time_see_what_each_was_opened_for(run_dir: Path) -> None:
    annotations.compute(run_dir)
    with annotations.connection(run_dir, kind="train", steps=[0]) as first:
        with annotations.connection(run_dir, kind="eval") as second:
            assert first.sql("SELECT DISTINCT kind FROM annotations").fetchall() == [("train",)]
            assert second.sql("SELECT DISTINCT kind FROM annotations").fetchall() == [("eval",)]
        assert first.sql("SELECT count(*) FROM annotations").fetchall() == [(7,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_by_itself_and_leaves_its_parent_reading(run_dir: Path) -> None:
    annotations.compute(run_dir, kind="eval")
    assert len(found(run_dir, kind="eval", threads=1)) == 1
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            signal.alarm(30)
            code = int(len(found(run_dir, kind="eval", threads=1)) != 1)
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(found(run_dir, kind="eval", threads=1)) == 1


def test_a_run_of_an_older_version_keeps_its_annotations(tmp_path: Path) -> None:
    """Its held-out rollouts were of the kinds `probe` and `eval`, in its shards and in its annotation files."""
    for step in (0, 10):
        sampled = [rollout(f"p{i}", 0, n_tokens=20 + step) for i in range(3)]
        write_old_shard(tmp_path, sampled, kind="probe", step=step)
        write_old_shard(tmp_path, [rollout("p0", 0, temperature=0.0, n_tokens=90)], kind="eval", step=step)
    parts = annotations.missing(tmp_path, kind="eval")
    assert len(parts) == 4
    assert annotations.compute(tmp_path, kind="eval") == 8
    for part in parts:
        kind = part.path.name.partition("-")[0]
        table = pq.read_table(part.path)
        pq.write_table(table.set_column(1, "kind", pa.array([kind] * len(table))), part.path)
        assert SCHEMA.names[1] == "kind"
    assert annotations.compute(tmp_path) == 0, "nothing is annotated again"
    tokens = [FIGURES["tokens"]]
    for selection, values in ((Selection(), [20.0, 30.0]), (Selection(greedy=True), [90.0, 90.0])):
        found = figures.counts(tmp_path, selection, tokens)
        assert (found.steps, found.left_out) == ([0, 10], [])
        assert [value["tokens"] for value in figures.by_step(tmp_path, selection, tokens).values()] == values
        with duckdb.connect() as outside:
            outside.execute(annotations.views(tmp_path))
            assert [value for _, value in outside.execute(figures.sql(tokens[0], selection)).fetchall()] == values
            assert outside.execute("SELECT DISTINCT kind FROM rollouts").fetchall() == [("eval",)]
