"""Saved results of verifiers before its traces: `verifiers_results` is by 0.1.14's own functions.

`states_to_outputs`, `save_outputs` and `save_metadata` of four made-up states of two questions, one with a tool.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1rl.store import store
from r1rl.store.importers import Settings, guess, load

FILES = Path(__file__).parents[1] / "files" / "verifiers_results"


def test_results_of_the_tool(tmp_path: Path) -> None:
    assert guess([FILES / "results.jsonl"]) == "verifiers"
    load(FILES, tmp_path / "run", settings=Settings(correct="correct_answer"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert {(row["kind"], row["step"], row["temperature"], row["cap"], row["n_tokens"]) for row in rows} == {
        ("eval", 0, 0.7, 64, 9)
    }
    assert [row["verdict"] for row in rows] == ["correct", "wrong"] * 2
    assert [row["finish_reason"] for row in rows] == ["stop", "length"] * 2
    assert [row["sample_idx"] for row in rows] == [0, 1] * 2
    assert rows[0]["reward"] == pytest.approx(1.2)
    assert (rows[0]["gold"], rows[0]["reward_format"], json.loads(rows[0]["meta"])) == ("42", 1, {"level": 0})
    assert rows[2]["completion"].startswith("I ask.\n<tool_call>")
    assert rows[2]["completion"].endswith("</tool_call>\n\nSo \\boxed{5}")


def test_its_first_versions(tmp_path: Path) -> None:
    """Columns as `vf-eval` of 0.1.3 made them, read at commit 39f0675 (`verifiers/scripts/eval.py`)."""
    row = {
        "id": 0, "prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}],
        "task": "default", "generation_ms": 12.5, "scoring_ms": 0.5, "total_ms": 13.0, "answer": "a", "reward": 0.5,
        "exact": 1.0,
    }  # fmt: skip
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    load(tmp_path / "results.jsonl", tmp_path / "run")
    table = store.read(tmp_path / "run")
    assert [name for name in table.column_names if name.startswith("reward_")] == ["reward_exact"]
    (row,) = table.to_pylist()
    assert (row["completion"], row["task"], row["reward"], row["finish_reason"]) == ("a", "default", 0.5, None)


@pytest.mark.parametrize("inside", ["", "rollouts"])
def test_prime_rl_while_it_trains(tmp_path: Path, inside: str) -> None:
    """Lines of the tool with what prime-rl 0.6 adds to them, read at its tag (`FinishedRollout.to_dict`)."""
    lines = [json.loads(line) for line in (FILES / "results.jsonl").read_text().splitlines()]
    for step, name in ((0, "train_rollouts"), (0, "eval_rollouts_sums"), (20, "eval_rollouts_sums")):
        folder = tmp_path / "theirs" / "rollouts" / f"step_{step}"
        folder.mkdir(parents=True, exist_ok=True)
        more = {"env_name": "sums", "group_id": "0b0e", "policy_version": step, "off_policy_steps": 1, "advantage": 0.5}
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line | more) + "\n" for line in lines))
    (tmp_path / "theirs" / "metrics.jsonl").write_text("{}\n")
    load(tmp_path / "theirs" / inside, tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert {(row["kind"], row["step"]) for row in rows} == {("train", 0), ("eval", 0), ("eval", 20)}
    assert {(row["task"], row["advantage"], row["step"] - row["policy_step"]) for row in rows} == {("sums", 0.5, 0)}
    assert len({row["group_id"] for row in rows}) == 3
