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
