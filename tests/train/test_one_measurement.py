"""What a run logs of held-out reflection, what `r1rl aha` and `r1rl inspect` say of it: one number each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl.run import folder as run_folder
from r1rl.train import main as train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "countdown.yaml"


def train_tiny(small_run: list[str], *more: str) -> Path:
    assert train.main(["--config", str(TINY), *small_run, "--name", "run", *more]) == 0
    return Path(small_run[small_run.index("--runs_dir") + 1]) / "run"


@pytest.fixture
def own_problems(tmp_path: Path) -> list[str]:
    """Options of a run on a file of problems that the verifier `countdown` judges."""
    lines = [
        {"question": f"Use 1, 2, {n} to make {n + 3}.", "answer": str(n + 3), "meta": {"numbers": [1, 2, n]}}
        for n in range(3, 80)
    ]
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    options = {"path": str(file), "meta_column": "meta", "verifier": "countdown"}
    return ["--task", "file", "--task_options", json.dumps(options)]


def metric_lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run_folder.RunFolder(run).metrics.read_text().splitlines()]


def test_attempts_of_held_out_rollouts_are_found_by_the_verifier_whatever_the_task_is_called(
    small_run: list[str], own_problems: list[str]
) -> None:
    lines = metric_lines(train_tiny(small_run, *own_problems))
    trained = next(line for line in lines if "reward" in line)
    heldout = next(line for line in lines if any(name.startswith("heldout/") for name in line))
    assert {"aha/retry_after_miss", "aha/wrong_to_right"} <= set(trained)
    assert {"heldout/aha/retry_after_miss", "heldout/aha/wrong_to_right"} <= set(heldout)
