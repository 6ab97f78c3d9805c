"""Rollout store: whole shards only, replaced on rewrite, one table over shards of different columns."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1rl.store import schema, store


def row(**changes: Any) -> dict[str, Any]:
    return {
        "run": "zero",
        "policy_step": 0,
        "prompt_id": "countdown-7",
        "group_id": "0-0",
        "sample_idx": 0,
        "task": "countdown",
        "template": "r1-zero",
        "prompt": "User: make 22 from 3 5 7",
        "prefill": "",
        "completion": "<think> 3 * 5 = 15 </think>",
        "token_ids": [1, 2, 3],
        "logprobs": [-0.5, -0.25, float("-inf")],
        "n_tokens": 3,
        "finish_reason": "stop",
        "gold": "22",
        "meta": '{"numbers": [3, 5, 7]}',
        "verifier": "countdown",
        "verdict": "wrong",
        "verdict_reason": "value 15 is not 22",
        "reward": 0.5,
        "advantage": None,
        "kept": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "cap": 64,
        "wall_time": 1.5,
        **changes,
    }


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    written = [row(sample_idx=i, completion=f"Ünï {i}\x00\n", reward_format=0.1 * i) for i in range(3)]
    path = store.write_shard(tmp_path, written, kind="train", step=7, rank=2)

    assert path == tmp_path / "rollouts" / "train-000007-0002.parquet"
    table = store.read(tmp_path)
    assert table.column_names == [*schema.SCHEMA.names, "reward_format"]
    assert table.to_pylist() == [{**r, "kind": "train", "step": 7, "rank": 2} for r in written]
    for name in schema.SCHEMA.names:
        assert table.schema.field(name).type == schema.SCHEMA.field(name).type
    assert schema.version(pq.read_schema(path)) == schema.SCHEMA_VERSION


def test_schema_has_the_contract_columns() -> None:
    assert " ".join(schema.SCHEMA.names) == (
        "run kind step policy_step rank prompt_id group_id sample_idx task template prompt prefill completion "
        "token_ids logprobs n_tokens finish_reason gold meta verifier verdict verdict_reason reward advantage kept "
        "temperature top_p cap wall_time"
    )


def test_same_key_replaces_and_others_stay(tmp_path: Path) -> None:
    for rank in (0, 1):
        store.write_shard(tmp_path, [row(run="old")] * 3, kind="train", step=1, rank=rank)
    store.write_shard(tmp_path, [row(run="new")] * 2, kind="train", step=1, rank=0)

    assert store.read(tmp_path, columns=["rank", "run"]).to_pylist() == [
        *[{"rank": 0, "run": "new"}] * 2,
        *[{"rank": 1, "run": "old"}] * 3,
    ]


def test_read_selects_and_orders(tmp_path: Path) -> None:
    for kind, step in [("train", 10), ("train", 2), ("train", 0), ("train", 1_000_000), ("eval", 0), ("eval", 10)]:
        store.write_shard(tmp_path, [row()], kind=kind, step=step, rank=0)

    def keys(**selection: Any) -> list[tuple[Any, ...]]:
        table = store.read(tmp_path, columns=["kind", "step"], **selection)
        return [tuple(r.values()) for r in table.to_pylist()]

    assert keys() == [("eval", 0), ("train", 0), ("train", 2), ("eval", 10), ("train", 10), ("train", 1_000_000)]
    assert keys(kind="eval") == [("eval", 0), ("eval", 10)]
    assert keys(steps={10, 3}) == [("eval", 10), ("train", 10)]
    assert keys(kind="eval", steps=[1]) == []
    assert store.read(tmp_path, kind="eval", steps=[1]).column_names == schema.SCHEMA.names


def test_columns_are_the_union_over_shards(tmp_path: Path) -> None:
    store.write_shard(tmp_path, [row(reward_format=1.0)], kind="train", step=0, rank=0)
    store.write_shard(tmp_path, [row(reward_accuracy=0.0)], kind="train", step=1, rank=0)
    store.write_shard(tmp_path, [row()], kind="eval", step=1, rank=0)

    extra = store.read(tmp_path, columns=["step", "kind", "reward_accuracy", "reward_format"]).to_pylist()
    assert [tuple(r.values()) for r in extra] == [
        (0, "train", None, 1.0),
        (1, "eval", None, None),
        (1, "train", 0.0, None),
    ]
    assert "reward_format" in store.read(tmp_path, kind="eval").column_names
    assert store.query(tmp_path, "SELECT count(reward_format) AS n FROM rollouts").to_pylist() == [{"n": 1}]


def test_a_column_missing_from_an_old_shard_is_null(tmp_path: Path) -> None:
    path = store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    pq.write_table(pq.read_table(path).drop_columns(["cap"]), path)
    assert store.read(tmp_path, columns=["cap", "run"]).to_pylist() == [{"cap": None, "run": "zero"}]


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    store.write_shard(tmp_path, [], kind="train", step=0, rank=0)
    assert store.read(tmp_path).num_rows == 0
    assert store.query(tmp_path, "SELECT * FROM rollouts").column_names == schema.SCHEMA.names


def test_nan_rewards_become_null_and_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    nan = float("nan")
    bad = row(reward=nan, reward_format=nan, advantage=nan, completion="a\ud800b", verdict_reason=None)
    good = row(reward_format=1, verdict_reason="\udfff")
    store.write_shard(tmp_path, [bad, good], kind="train", step=0, rank=0)
    columns = ["reward", "reward_format", "advantage", "completion", "verdict_reason"]
    first, second = store.read(tmp_path, columns=columns).to_pylist()
    assert tuple(first.values()) == (None, None, None, "a?b", None)
    assert tuple(second.values()) == (0.5, 1.0, None, "<think> 3 * 5 = 15 </think>", "?")


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        pytest.param({"colour": 1}, {}, "column=colour", id="unknown column"),
        pytest.param({"reward_": 1.0}, {}, "column=reward_", id="reward without a name"),
        pytest.param({"gold": None}, {}, "gold=None: row 1", id="missing value"),
        pytest.param({"gold": 22}, {}, "column=gold", id="number for text"),
        pytest.param({"n_tokens": 2**40}, {}, "column=n_tokens", id="does not fit 32 bits"),
        pytest.param({"finish_reason": "tired"}, {}, "finish_reason='tired': need one of eos", id="finish reason"),
        pytest.param({"step": 4}, {}, "step=4: a row of another shard", id="row of another step"),
        pytest.param({}, {"kind": "test"}, "kind='test': need one of train", id="unknown kind"),
        pytest.param({}, {"step": -1}, "step=-1", id="negative step"),
    ],
)
def test_a_bad_shard_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], key: dict[str, Any], message: str
) -> None:
    store.write_shard(tmp_path, [row()], kind="train", step=3, rank=0)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        store.write_shard(tmp_path, [row(), row(**changes)], **{"kind": "train", "step": 3, "rank": 0, **key})
    assert os.listdir(tmp_path / "rollouts") == ["train-000003-0000.parquet"]
    assert store.read(tmp_path).num_rows == 1


@pytest.mark.parametrize(
    "answer", [store.read, lambda run: store.query(run, "SELECT 1"), store.shards], ids=["read", "query", "shards"]
)
def test_no_run_is_an_error_that_names_it(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(ValueError, match=r"nowhere'?: no such run folder"):
        answer(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no rollouts/ folder"):
        answer(tmp_path)


def test_read_names_an_unknown_kind_or_column(tmp_path: Path) -> None:
    store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    with pytest.raises(ValueError, match=r"kind='test': need one of"):
        store.read(tmp_path, kind="test")
    with pytest.raises(ValueError, match="column=colour: not in this run; it has run, kind"):
        store.read(tmp_path, columns=["run", "colour"])


@pytest.mark.parametrize(
    "metadata", [{schema.VERSION_KEY: b"99"}, {}], ids=["written by a newer version", "not a shard of ours"]
)
def test_an_unknown_schema_version_is_refused(tmp_path: Path, metadata: dict[bytes, bytes]) -> None:
    path = store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(ValueError, match="schema_version="):
        store.read(tmp_path)


def test_query_sees_the_view_and_nothing_else(tmp_path: Path) -> None:
    store.write_shard(tmp_path, [row(sample_idx=i, reward=float(i)) for i in range(4)], kind="train", step=0, rank=0)
    store.write_shard(tmp_path, [row()], kind="eval", step=0, rank=0)
    table = store.query(tmp_path, "SELECT kind, sum(reward) AS total FROM rollouts GROUP BY kind ORDER BY kind")
    assert table.to_pylist() == [{"kind": "eval", "total": 0.5}, {"kind": "train", "total": 6.0}]
    assert store.query(tmp_path, "SELECT list_sum(token_ids) AS s FROM rollouts LIMIT 1").to_pylist() == [{"s": 6}]

    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (f"SELECT * FROM '{secret}'", "SELECT * FROM table", "SELEKT 1", "-- nothing"):
        with pytest.raises(ValueError, match=r"^sql="):
            store.query(tmp_path, sql)


def test_unfinished_and_foreign_files_are_not_read(tmp_path: Path) -> None:
    path = store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    for name in (f".{path.name}.abc.tmp", "train-000001-0000.parquet.tmp", "notes.txt", "test-000001-0000.parquet"):
        (path.parent / name).write_bytes(path.read_bytes()[:100])
    assert store.read(tmp_path).num_rows == 1


def test_the_data_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def logged_replace(source: Any, target: Any) -> None:
        order.append("rename")
        replace(source, target)

    (tmp_path / "rollouts").mkdir()
    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    store.write_shard(tmp_path, [row()], kind="train", step=0, rank=0)
    assert order == ["file", "rename", "folder"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_shard_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    store.write_shard(tmp_path, [row(run="old")], kind="train", step=0, rank=0)

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        with pytest.raises(OSError, match="no space"):
            store.write_shard(tmp_path, [row(run="new")], kind="train", step=0, rank=0)
    assert store.read(tmp_path, columns=["run"]).to_pylist() == [{"run": "old"}]
    assert os.listdir(tmp_path / "rollouts") == ["train-000000-0000.parquet"]


def test_reading_needs_no_torch() -> None:
    code = "import sys, r1rl.store.store, r1rl.aha.figures.figures; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=300).returncode == 0


def test_table_types_match_the_schema() -> None:
    table = schema.table([row(kind="train", step=0, rank=0)])
    assert isinstance(table, pa.Table)
    assert table.schema.equals(schema.SCHEMA, check_metadata=True)


def old_version(path: Path, rewards: dict[str, float]) -> None:
    """Make a shard one of schema version 1, which had neither `verifier` nor `kept`."""
    table = pq.read_table(path).drop_columns(["verifier", "kept"])
    for name, value in rewards.items():
        table = table.append_column(name, pa.array([value] * len(table)))
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"1"}), path)


def test_an_old_run_is_read_in_the_current_schema(tmp_path: Path) -> None:
    for step in range(4):
        made = [row(sample_idx=i, verifier="exact" if step == 3 else "countdown") for i in range(3)]
        path = store.write_shard(tmp_path, made, kind="train", step=step, rank=0)
        if step < 3:
            old_version(path, {"reward_old": 0.5})
    expected = store.read(tmp_path).to_pylist()
    assert [r["verifier"] for r in expected] == ["countdown"] * 9 + ["exact"] * 3
    assert [r["reward_old"] for r in expected] == [0.5] * 9 + [None] * 3
    assert [r["kept"] for r in expected] == [None] * 12
    query = "SELECT verifier, kept, count(*) AS n FROM rollouts GROUP BY ALL ORDER BY ALL"
    assert store.query(tmp_path, query).to_pylist() == [
        {"verifier": "countdown", "kept": None, "n": 9},
        {"verifier": "exact", "kept": None, "n": 3},
    ]


def test_a_replaced_shard_is_seen_with_its_new_columns(tmp_path: Path) -> None:
    store.write_shard(tmp_path, [row()], kind="train", step=1, rank=0)
    assert "reward_new" not in store.read(tmp_path).column_names
    store.write_shard(tmp_path, [row(reward_new=2.0)], kind="train", step=1, rank=0)
    assert store.read(tmp_path, columns=["reward_new"]).column("reward_new").to_pylist() == [2.0]
    assert store.query(tmp_path, "SELECT reward_new FROM rollouts").to_pylist() == [{"reward_new": 2.0}]


@pytest.mark.parametrize("last", [-1, 0, 3, 4, 7, 20])
def test_rewinding_keeps_what_the_policy_after_so_many_updates_answered(tmp_path: Path, last: int) -> None:
    for kind, steps in (("train", range(8)), (schema.KINDS[1], range(0, 8, 4))):
        for step in steps:
            store.write_shard(tmp_path, [row()], kind=kind, step=step, rank=0)
    expected = [
        r for r in store.read(tmp_path).to_pylist() if r["step"] < last or (r["step"] == last and r["kind"] != "train")
    ]
    store.rewind(tmp_path, last)
    assert store.read(tmp_path).to_pylist() == expected
