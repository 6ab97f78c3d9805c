"""Two runs side by side: recipes, figures, and accuracy problem by problem."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from r1rl import cli
from r1rl.inspect import compare
from r1rl.store.store import read


@pytest.fixture
def other(run_dir: Path) -> Path:
    """The same run without its last evaluation, under another learning rate."""
    folder = run_dir.parent / "other"
    shutil.copytree(run_dir, folder)
    with (folder / "recipe.yaml").open("a") as recipe:
        recipe.write("learning_rate: 1.0e-05\ntask_options: {size: 3}\n")
    steps = sorted({row["step"] for row in read(folder).to_pylist() if row["kind"] == "eval"})
    for shard in (folder / "rollouts").glob(f"eval-{steps[-1]:06d}-*"):
        shard.unlink()
    left = {row["step"] for row in read(folder).to_pylist() if row["kind"] == "eval"}
    assert left == set(steps[:-1])
    return folder


def accuracies(run: Path) -> dict[str, float]:
    """The share of right answers by problem at the last evaluation, by loops."""
    rows = [row for row in read(run).to_pylist() if row["kind"] == "eval" and row["temperature"] > 0]
    last = max(row["step"] for row in rows)
    found = defaultdict(list)
    for row in rows:
        if row["step"] == last:
            found[row["prompt_id"]].append(row["verdict"] == "correct")
    return {name: sum(right) / len(right) for name, right in found.items()}


def test_recipes_figures_and_the_paired_difference(run_dir: Path, other: Path) -> None:
    found = compare.compare(other, run_dir)
    assert found.names == ("other", "toy")
    assert found.recipes == {"learning_rate": (1e-5, None), "task_options.size": (3, None)}
    before, after = accuracies(other), accuracies(run_dir)
    assert found.problems == len(before)
    assert found.difference is not None
    mean, low, high = found.difference
    assert mean == pytest.approx(np.mean([after[name] - before[name] for name in before]))
    assert low <= mean <= high
    assert low < high
    labels = {label: (first, second) for label, _, first, second in found.figures}
    assert labels["updates"] == (20, 20)


def test_a_run_is_no_better_than_itself(run_dir: Path) -> None:
    assert compare.compare(run_dir, run_dir).difference == (0.0, 0.0, 0.0)


def test_few_problems_have_no_interval() -> None:
    assert compare._difference(np.ones((compare.LEAST_PROMPTS - 1, 2))) is None


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    chance = np.random.default_rng(1)
    pairs = chance.random((200, 2))
    found = compare._difference(pairs)
    differences = pairs[:, 1] - pairs[:, 0]
    error = 1.96 * differences.std() / np.sqrt(200)
    assert found == pytest.approx(
        (differences.mean(), differences.mean() - error, differences.mean() + error), abs=0.01
    )


def test_the_command(run_dir: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(other), str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert "learning_rate" in out
    assert "points" in out
    assert cli.main(["compare", str(other), str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["names"] == ["other", "toy"]
    assert cli.main(["compare", str(other), str(run_dir / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err
