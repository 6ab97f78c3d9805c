"""Export: the rows a condition holds for, flat, in order, whole or not there; nothing else can be read or written."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from r1rl import cli
from r1rl.store import schema, store
from r1rl.store.export import export

row = runpy.run_path(str(Path(__file__).with_name("crashing.py")))["row"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for step in range(4):
        rows = [
            row(step, 0, 0, i)
            | {"verdict": "correct" if i % 3 == 0 else "wrong", "completion": f"é{step}.{i}\n", "reward": i / 2}
            for i in range(6)
        ]
        rows[1]["logprobs"] = [-0.5, float("-inf"), -1.0]
        store.write_shard(folder, rows, kind="train", step=step, rank=0)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_same_rows_as_a_slow_reading(run: Path, tmp_path: Path, suffix: str) -> None:
    expected = [r for r in store.read(run).to_pylist() if r["verdict"] == "correct" and r["step"] > 0]
    target = tmp_path / f"sft{suffix}"
    assert export(run, target, where="verdict = 'correct' AND step > 0") == len(expected) == 6
    found = lines(target) if suffix == ".jsonl" else pq.read_table(target).to_pylist()
    lists = ("token_ids", "logprobs")
    assert found == [{name: value for name, value in r.items() if name not in lists} for r in expected]
    assert list(found[0]) == [name for name in schema.with_rewards(["reward_even"]).names if name not in lists]


def test_columns_in_the_order_named_and_a_limit(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "few.jsonl"
    assert export(run, target, columns=["completion", "step", "logprobs"], limit=2) == 2
    assert [list(r.items()) for r in lines(target)] == [
        [("completion", "é0.0\n"), ("step", 0), ("logprobs", [-0.5] * 3)],
        [("completion", "é0.1\n"), ("step", 0), ("logprobs", [-0.5, None, -1.0])],
    ]


def test_nothing_matches_and_the_file_is_there(run: Path, tmp_path: Path) -> None:
    for name in ("none.jsonl", "none.parquet"):
        assert export(run, tmp_path / name, where="step > 99") == 0
    assert (tmp_path / "none.jsonl").read_text() == ""
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


SECRET = "(SELECT count(*) FROM read_text('{secret}')) > 0"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param("colour = 1", "colour", id="unknown column"),
        pytest.param("step =", "syntax error", id="syntax"),
        pytest.param("", "need an SQL condition", id="empty"),
        pytest.param("true)); DROP VIEW rollouts; SELECT ((1", "need one query", id="second statement"),
        pytest.param("true)); COPY rollouts TO '{secret}'; SELECT ((1", "need one query", id="writes a file"),
        pytest.param(SECRET, "file system operations are disabled", id="reads a file"),
        pytest.param("run IN (FROM '{secret}')", "file system operations are disabled", id="a file as a table"),
        pytest.param("run IN (SELECT path FROM frame)", "does not exist", id="a variable of Python's"),
        pytest.param("step = 'many'", "many", id="not a number"),
    ],
)
def test_a_bad_condition_is_said_and_nothing_is_written(
    run: Path, tmp_path: Path, where: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("path\nkilled\n")
    before = sorted(os.listdir(tmp_path))
    arguments = ["export", str(run), "--to", str(tmp_path / "out.jsonl"), "--where", where.format(secret=secret)]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert sorted(os.listdir(tmp_path)) == before
    assert secret.read_text() == "path\nkilled\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--to", "{0}/out.csv"], "need a name that ends in .jsonl or .parquet", id="suffix"),
        pytest.param(["--to", "{0}/no/out.jsonl"], "no folder", id="folder"),
        pytest.param(["--to", "{0}/there.jsonl"], "--overwrite", id="taken"),
        pytest.param(["--to", "{0}/out.jsonl", "--columns", "step,colour"], "column=colour: not in this run", id="col"),
        pytest.param(["--to", "{0}/out.jsonl", "--limit", "0"], "limit=0: need >= 1", id="limit"),
    ],
)
def test_user_errors(
    run: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.jsonl").write_text("old\n")
    assert cli.main(["export", str(run), *(text.format(tmp_path) for text in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "there.jsonl").read_text() == "old\n"


def test_the_command_says_how_many(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "there.jsonl"
    target.write_text("old\n")
    arguments = ["--columns", "prompt, completion", "--where", "step = 1 -- only that", "--overwrite"]
    assert cli.main(["export", str(run), "--to", str(target), *arguments]) == 0
    assert capsys.readouterr().out == f"6 rollouts in {target}\n"
    assert [r["completion"] for r in lines(target)] == [f"é1.{i}\n" for i in range(6)]


def test_a_failed_export_leaves_no_litter(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    before = sorted(os.listdir(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            export(run, tmp_path / "out.parquet")
    assert sorted(os.listdir(tmp_path)) == before
