"""OpenRLHF's `batch_inference` files, as its 0.8.11 writes them; later releases write no rollouts to disk.

`scored.jsonl` has the lines of `--eval_task rm` (read in `openrlhf/cli/batch_inference.py`); `pairs.jsonl` are they by
the release's own post-processor `iter_dpo`.
"""

from __future__ import annotations

from pathlib import Path

from r1rl.store import store
from r1rl.store.importers import guess, load

FILES = Path(__file__).parents[1] / "files" / "openrlhf"


def test_scored_answers(tmp_path: Path) -> None:
    assert guess([FILES / "scored.jsonl"]) == "openrlhf"
    done = load(FILES / "scored.jsonl", tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert [(row["completion"], row["reward"]) for row in rows[:2]] == [("41. Wait, no: 42", 0.9), ("41", -0.5)]
    assert [row["sample_idx"] for row in rows] == [0, 1, 0, 1, 2]
    assert {(row["kind"], row["step"], row["verdict"], row["gold"]) for row in rows} == {("eval", 0, None, "")}
    assert "no verdicts, and no gold answers to judge by: not known which rollouts were right" in done.notes


def test_best_and_worst_are_two_rollouts(tmp_path: Path) -> None:
    load(FILES / "pairs.jsonl", tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert [(row["completion"], row["reward"]) for row in rows] == [
        ("41. Wait, no: 42", 0.9), ("41", -0.5), ("5", 0.5), ("4", -2.0),
    ]  # fmt: skip
    assert len({row["group_id"] for row in rows}) == 2


def test_answers_that_nobody_scored(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"input": "q", "output": "a"}\n')
    assert load(tmp_path / "a.jsonl", tmp_path / "run").format == "openrlhf"
    assert store.read(tmp_path / "run").column("reward").to_pylist() == [None]
