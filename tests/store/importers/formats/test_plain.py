"""Plain JSON: conversations, several rollouts in a record, steps in file names, numbers in quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import store
from r1rl.store.importers import load

USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param({"messages": [USER, SAID]}, [{"prompt": "q", "completion": "a"}], id="a whole conversation"),
        pytest.param(
            {"prompt": "q", "completions": ["a", "b"], "reward": [1.0, 0.0], "gold": "g"},
            [{"completion": "a", "reward": 1, "gold": "g"}, {"completion": "b", "reward": 0, "gold": "g"}],
            id="several completions, a reward for each",
        ),
        pytest.param(
            {"prompt": [USER], "responses": [[SAID], "b"]},
            [{"prompt": "q", "completion": "a"}, {"prompt": "q", "completion": "b"}],
            id="several, one as messages",
        ),
        pytest.param(
            {"completion": "a", "reward": "0.5", "step": "12", "n_tokens": "3"},
            [{"reward": 0.5, "step": 12, "n_tokens": 3}],
            id="numbers in quotes",
        ),
        pytest.param({"completion": "a", "reward": float("nan")}, [{"reward": None}], id="no number"),
        pytest.param({"completion": "a", "reward": 1e999}, [{"reward": None}], id="infinite"),
        pytest.param({"completion": "a", "verdict": True}, [{"verdict": "correct"}], id="a truth value"),
        pytest.param(
            {"completion": "a", 'x"; \x1b[1m' + "y" * 99: 1}, [{"reward_x__ __1m" + "y" * 72: 1}], id="an odd reward"
        ),
        pytest.param({"completion": "a", "prompt": "q", "group": 7}, [{"group_id": "train-0-0-0"}], id="a group"),
        pytest.param({"completion": "a", "pred": "22"}, [{"reward": None}], id="a text is no reward"),
        pytest.param({"completion": "", "prompt": 3}, [{"prompt": "3", "completion": ""}], id="an empty one counts"),
        pytest.param({"completion": "\ud800\x00 \x1b[2J"}, [{"completion": "?\x00 \x1b[2J"}], id="odd characters"),
        pytest.param(
            {"completion": "a", "token_ids": [1, 2], "logprobs": [-1, -2]}, [{"logprobs": [-1, -2]}], id="tokens"
        ),
    ],
)
def test_records(tmp_path: Path, record: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    load(tmp_path / "a.jsonl", tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert [{name: row[name] for name in told} for row, told in zip(rows, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("record", "message"),
    [
        pytest.param({"completion": "a", "reward": "high"}, r"line 1: reward='high': need a number", id="words"),
        pytest.param({"completion": "a", "step": 10**400}, r"need a whole number", id="a step beyond all"),
        pytest.param({"completion": "a", "step": 2**70}, r"step: values do not fit", id="a step beyond 64 bits"),
        pytest.param({"completion": "a", "token_ids": [1], "logprobs": []}, r"0 logprobs for 1 token_ids", id="uneven"),
        pytest.param({"completion": "a", "kind": ["train"]}, r"kind=.*need one of train, eval", id="no kind"),
        pytest.param(
            {"completion": "a", "verdict": "yes"}, r"verdict='yes': need true, false or correct", id="no verdict"
        ),
        pytest.param({"completion": "a", "token_ids": "x"}, r"token_ids: values do not fit", id="no tokens"),
    ],
)
def test_refused(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.jsonl", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        pytest.param("120.jsonl", 120, id="a number"),
        pytest.param("step_5.jsonl", 5, id="a word and a number"),
        pytest.param("eval-step10.rank0.jsonl", 10, id="and more"),
        pytest.param("gsm8k.jsonl", 0, id="a number that is none"),
        pytest.param("misstep7.jsonl", 0, id="another word"),
    ],
)
def test_steps_of_file_names(tmp_path: Path, name: str, step: int) -> None:
    (tmp_path / name).write_text('{"completion": "a"}\n{"completion": "b", "step": 3}\n')
    load(tmp_path / name, tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert {row["completion"]: row["step"] for row in rows} == {"a": step, "b": 3}


def test_few_rewards_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"completion": "a"} | {f"r{i:04}": i for i in range(1000)}))
    assert len(load(tmp_path / "a.jsonl", tmp_path / "run").left_out) == 900
    assert sum(name.startswith("reward_") for name in store.read(tmp_path / "run").column_names) == 100


def test_groups_of_ones_own(tmp_path: Path) -> None:
    rows = [{"completion": "a", "prompt": f"{i}", "group": i // 2} for i in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    load(tmp_path / "a.jsonl", tmp_path / "run")
    groups = [row["group_id"] for row in store.read(tmp_path / "run").to_pylist()]
    assert groups == ["train-0-0-0"] * 2 + ["train-0-0-1"] * 2
