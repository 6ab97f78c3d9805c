"""Stores that older versions wrote: read as if they had been written today, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import importers, schema, store
from tests.store.old_runs import write_old_shard
from tests.store.test_store import row


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for step in (0, 20):
        write_old_shard(run, [row(sample_idx=i, run=f"sampled {step}") for i in (0, 1)], kind="probe", step=step)
        write_old_shard(run, [row(temperature=0.0, run=f"greedy {step}")], kind="eval", step=step)
        store.write_shard(run, [row()], kind="train", step=step, rank=0)
    return run


def kinds(run: Path, **selected: Any) -> list[tuple[Any, ...]]:
    table = store.read(run, columns=["step", "kind", "temperature"], **selected)
    return sorted(tuple(found.values()) for found in table.to_pylist())


def test_sampled_and_greedy_held_out_rollouts_are_one_kind(old_run: Path) -> None:
    heldout = [(step, "eval", temperature) for step in (0, 20) for temperature in (0.0, 1.0, 1.0)]
    assert kinds(old_run, kind="eval") == heldout
    assert kinds(old_run, kind="eval", steps=[20]) == heldout[3:]
    assert len(kinds(old_run, kind="train")) == 2
    found = store.query(old_run, "SELECT step, kind, temperature FROM rollouts WHERE kind = 'eval' ORDER BY ALL")
    assert [tuple(r.values()) for r in found.to_pylist()] == heldout
    sampled = store.find(old_run, f"kind = 'eval' AND step = 20 AND {schema.SAMPLED_SQL}")
    assert [(r["run"], r["kind"]) for r in sampled.to_pylist()] == [("sampled 20", "eval")] * 2


def test_a_resumed_run_goes_on_with_the_new_kinds(old_run: Path) -> None:
    store.rewind(old_run, 20)
    assert kinds(old_run, steps=[20]) == [(20, "eval", 0.0), (20, "eval", 1.0), (20, "eval", 1.0)]
    store.write_shard(old_run, [row(), row(temperature=0.0)], kind="eval", step=40, rank=0)
    assert kinds(old_run, steps=[40]) == [(40, "eval", 0.0), (40, "eval", 1.0)]


def test_a_run_that_begins_again_has_no_evaluation_twice(old_run: Path) -> None:
    store.rewind(old_run, -1)
    assert kinds(old_run) == []
    store.write_shard(old_run, [row(), row(temperature=0.0)], kind="eval", step=0, rank=0)
    assert kinds(old_run) == [(0, "eval", 0.0), (0, "eval", 1.0)]


def test_what_an_older_version_exported_is_imported_with_the_new_kinds(tmp_path: Path) -> None:
    rows = [
        {"completion": f"c{i}", "prompt": "p", "step": 0, "kind": kind, "temperature": temperature}
        for i, (kind, temperature) in enumerate([("probe", 1.0), ("probe", 1.0), ("eval", 0.0), ("train", 1.0)])
    ]
    source = tmp_path / "rollouts.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    importers.load(source, tmp_path / "run")
    found = store.read(tmp_path / "run", kind="eval").to_pylist()
    assert [(r["temperature"], r["sample_idx"]) for r in found] == [(1.0, 0), (1.0, 1), (0.0, 0)]
    assert len({r["group_id"] for r in found}) == 2, "a greedy completion is no sample of the group"


def test_the_temperature_of_imported_rollouts_can_be_told(tmp_path: Path) -> None:
    source = tmp_path / "rollouts.jsonl"
    source.write_text(json.dumps({"completion": "c", "prompt": "p"}) + "\n")
    importers.load(source, tmp_path / "run", settings=importers.Settings(kind="eval", temperature=0.0))
    assert kinds(tmp_path / "run") == [(0, "eval", 0.0)]


def test_a_file_of_many_shards_is_refused_and_not_left_out(old_run: Path) -> None:
    place = old_run / "rollouts"
    next(place.glob("train-000020-*")).rename(place / "train-000000-to-000020-1.parquet")
    with pytest.raises(ValueError, match="many shards in one file"):
        store.read(old_run)
