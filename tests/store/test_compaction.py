"""Compaction: the same rows from fewer files, older versions brought up, and what must not be merged."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl import cli
from r1rl.store import compaction, schema, shard_files, shards, store
from r1rl.store.shards import Shard

row = runpy.run_path(str(Path(__file__).with_name("crashing.py")))["row"]


def fill(run: Path, steps: range, *, kind: str = "train", ranks: int = 2, rows: int = 3, attempt: int = 0) -> None:
    for step in steps:
        for rank in range(ranks):
            made = [row(step, rank, attempt, i) for i in range(rows)]
            store.write_shard(run, made, kind=kind, step=step, rank=rank)


def finish(run: Path) -> None:
    (run / "result.json").write_text(json.dumps({"finished": True}))


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "rollouts").iterdir()}


def old_version(path: Path, *, rewards: dict[str, float] | None = None) -> None:
    """Make a shard one of schema version 1, which had neither `verifier` nor `kept`."""
    table = pq.read_table(path).drop_columns(["verifier", "kept"])
    for name, value in (rewards or {}).items():
        table = table.append_column(name, pa.array([value] * len(table)))
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"1"}), path)


def test_the_same_rows_from_fewer_files(tmp_path: Path) -> None:
    fill(tmp_path, range(6))
    fill(tmp_path, range(0, 6, 2), kind="eval", ranks=1)
    before, answer = store.read(tmp_path), store.query(tmp_path, "FROM rollouts").to_pylist()
    finish(tmp_path)
    done = compaction.compact(tmp_path)
    assert (done.before, done.after, done.skipped) == (15, 2, 0)
    assert names(tmp_path) == {"train-000000-to-000005-1.parquet", "eval-000000-to-000004-1.parquet"}
    assert store.read(tmp_path).to_pylist() == before.to_pylist()
    assert store.read(tmp_path, steps=[3], kind="train").to_pylist() == [
        r for r in before.to_pylist() if r["step"] == 3 and r["kind"] == "train"
    ]
    found = store.query(tmp_path, "FROM rollouts").to_pylist()
    assert sorted(map(str, found)) == sorted(map(str, answer))
    assert compaction.compact(tmp_path) == compaction.Compacted(2, 2, 0), "nothing is left to do"


def test_an_unfinished_step_stays(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    compaction.compact(tmp_path)
    assert names(tmp_path) == {
        "train-000000-to-000002-1.parquet",
        "train-000003-0000.parquet",
        "train-000003-0001.parquet",
    }
    fill(tmp_path, range(4, 6))
    compaction.compact(tmp_path)
    assert "train-000000-to-000004-1.parquet" in names(tmp_path)
    assert len(store.read(tmp_path)) == 36


def test_rows_of_a_merged_step_written_again_replace_the_old_ones(tmp_path: Path) -> None:
    fill(tmp_path, range(5))
    finish(tmp_path)
    compaction.compact(tmp_path)
    path = store.write_shard(tmp_path, [row(2, 1, 9, 0)], kind="train", step=2, rank=1)
    assert names(tmp_path) == {path.name} == {"train-000000-to-000004-2.parquet"}
    found = store.read(tmp_path, columns=["step", "rank", "policy_step"]).to_pylist()
    assert [tuple(r.values()) for r in found if r["step"] == 2] == [(2, 0, 0)] * 3 + [(2, 1, 9)]
    assert len(found) == 28
    assert found == sorted(found, key=lambda r: (r["step"], r["rank"]))


def test_a_merge_beside_a_rewrite_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(4), ranks=1)
    write = shard_files.write

    def and_meanwhile(*arguments: object, **options: object) -> None:
        write(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(shard_files, "write", write)
        fill(tmp_path, range(1, 2), ranks=1, attempt=7)

    monkeypatch.setattr(shard_files, "write", and_meanwhile)
    assert compaction.compact(tmp_path).skipped == 1
    found = store.read(tmp_path, columns=["step", "policy_step"]).to_pylist()
    assert {(r["step"], r["policy_step"]) for r in found} == {(0, 0), (1, 7), (2, 0), (3, 0)}
    assert len(found) == 12
    assert compaction.compact(tmp_path).skipped == 0
    assert store.read(tmp_path, columns=["step", "policy_step"]).to_pylist() == found


def test_an_old_run_is_read_as_it_is_and_migrated(tmp_path: Path) -> None:
    fill(tmp_path, range(3), ranks=1)
    new = [row(3, 0, 0, i) | {"verifier": "exact"} for i in range(3)]
    store.write_shard(tmp_path, new, kind="train", step=3, rank=0)
    for step in range(3):
        old_version(tmp_path / "rollouts" / f"train-{step:06d}-0000.parquet", rewards={"reward_old": 0.5})
    expected = store.read(tmp_path).to_pylist()
    assert [r["verifier"] for r in expected] == ["countdown"] * 9 + ["exact"] * 3
    assert [r["reward_old"] for r in expected] == [0.5] * 9 + [None] * 3
    assert [r["kept"] for r in expected] == [None] * 12
    query = "SELECT verifier, kept, count(*) AS n FROM rollouts GROUP BY ALL ORDER BY ALL"
    assert store.query(tmp_path, query).to_pylist() == [
        {"verifier": "countdown", "kept": None, "n": 9},
        {"verifier": "exact", "kept": None, "n": 3},
    ]
    compaction.compact(tmp_path)
    versions = {schema.version(pq.read_schema(path)) for path in (tmp_path / "rollouts").iterdir()}
    assert versions == {schema.SCHEMA_VERSION}
    assert store.read(tmp_path).to_pylist() == expected


def test_a_lone_old_shard_is_migrated_too(tmp_path: Path) -> None:
    fill(tmp_path, range(1), ranks=1)
    old_version(tmp_path / "rollouts" / "train-000000-0000.parquet")
    expected = store.read(tmp_path).to_pylist()
    compaction.compact(tmp_path)
    assert shard_files.footer(tmp_path / "rollouts" / "train-000000-0000.parquet").version == schema.SCHEMA_VERSION
    assert store.read(tmp_path).to_pylist() == expected


@pytest.mark.parametrize("last", [0, 3, 7, 8, 11, 20])
def test_rewinding_into_a_merged_range(tmp_path: Path, last: int) -> None:
    fill(tmp_path, range(12), ranks=1)
    fill(tmp_path, range(0, 12, 4), kind="eval", ranks=1)
    finish(tmp_path)
    compaction.compact(tmp_path, target_bytes=20_000)
    expected = [
        r
        for r in store.read(tmp_path).to_pylist()
        # The rollouts of step k are sampled after k updates; held-out ones stay, but where all begins again.
        if r["step"] < last or (r["step"] == last > 0 and r["kind"] != "train")
    ]
    store.rewind(tmp_path, last)
    assert store.read(tmp_path).to_pylist() == expected
    fill(tmp_path, range(last, 12), ranks=1)
    assert len(store.read(tmp_path, kind="train")) == 36 if last <= 12 else True


SHARDS = st.lists(
    st.tuples(st.sampled_from(["train", "eval"]), st.integers(0, 8), st.integers(0, 4), st.integers(0, 2)),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(SHARDS, st.integers(0, 5))
def test_every_file_counts_or_is_litter_of_one_that_counts(made: list[tuple[str, int, int, int]], seed: int) -> None:
    folder = Path("run")
    found = []
    for kind, first, more, generation in made:
        path = (
            shards.merged_path(folder, kind, first, first + more, generation)
            if generation
            else shards.loose_path(folder, kind, first, more)
        )
        shard = shards.parse(path)
        assert shard is not None
        found.append(shard)
    # Ranges that merges make never overlap without one holding the other.
    ranges = [s for s in found if s.merged]
    for a in ranges:
        for b in ranges:
            crossing = a.kind == b.kind and a.step < b.step <= a.last_step < b.last_step
            if crossing:
                return
    random.Random(seed).shuffle(found)
    counting, litter = shards._sort_out(found)
    assert sorted(counting + litter) == sorted(found)

    def replaced(shard: Shard) -> bool:
        return any(other.replaces(shard) for other in found)

    assert sorted(litter) == sorted(s for s in found if replaced(s))
    assert counting == sorted(counting)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, range(5), ranks=1)
    assert cli.main(["compact", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "5 shards became 2\n"
    assert cli.main(["compact", str(tmp_path / "nowhere")]) == 2
    assert "no such run folder" in capsys.readouterr().err
    assert cli.main(["compact", str(tmp_path), "--megabytes", "0"]) == 2
