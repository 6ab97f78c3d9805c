"""What a run logs of held-out reflection, what `r1rl aha` and `r1rl inspect` say of it: one number each."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.aha.figures.figures import LOGGED
from r1rl.run import folder as run_folder
from r1rl.store import store
from r1rl.train import main as train
from r1rl.train import reflection
from tests.aha.annotated_runs import rollout

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


def generated(folder: Path) -> Path:
    """A run of five evaluations that corrects itself more and more, with the lines that a training logs of them."""
    generator = random.Random(0)
    lines = []
    for step in range(0, 50, 10):
        rows = [
            rollout(f"p{prompt}", sample, **drawn(generator, retry=0.1 + step / 60), temperature=temperature)
            for prompt in range(15)
            for sample, temperature in ((0, 1.0), (1, 1.0), (2, 1.0), (0, 0.0))
        ]
        store.write_shard(folder, rows, kind="eval", step=step, rank=0)
        accuracy = {
            key: sum(row["verdict"] == "correct" for row in mine) / len(mine)
            for key, mine in (
                ("heldout/accuracy", [row for row in rows if row["temperature"]]),
                ("heldout/accuracy_greedy", [row for row in rows if not row["temperature"]]),
            )
        }
        figures = {f"heldout/{key}": value for key, value in reflection.measured(folder, "eval", step).items()}
        lines.append({"step": step, **accuracy, **figures})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def drawn(generator: random.Random, *, retry: float) -> dict[str, Any]:
    tries, right = [], False
    while not right and (not tries or generator.random() < retry):
        right = generator.random() < 0.3
        tries.append("1 + 2 = 3 , 3 + 3 = 6 yes" if right else "1 - 2 = -1 , -1 + 3 = 2 no")
    text = f"<think> {' , wait , '.join(tries)} </think> <answer> 1 {'+' if right else '-'} 2 + 3 </answer>"
    return {"completion": text, "n_tokens": len(text.split()), "verdict": "correct" if right else "wrong"}


def said(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([words[0], str(run), "--json", *words[1:]]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("which", ["a tiny training", "a training on a file", "a generated store"])
def test_every_place_says_the_same_number(
    which: str,
    small_run: list[str],
    own_problems: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if which == "a generated store":
        run = generated(tmp_path / "generated")
    else:
        run = train_tiny(small_run, *(own_problems if which == "a training on a file" else []), "--heldout_size", "12")
    aha, greedy = said(run, capsys, "aha"), said(run, capsys, "aha", "--greedy")
    inspected = said(run, capsys, "inspect")

    shown = dict(inspected["figures"])
    assert shown.pop("accuracy_greedy")["series"] == greedy["figures"]["accuracy"]["series"]
    assert len(shown) >= 10
    assert shown == {key: aha["figures"][key] for key in shown}, "values, intervals, p-values and onsets"
    assert (inspected["conclusion"], inspected["emerged"]) == (aha["conclusion"], aha["emerged"])
    page = (run / "report.html").read_text(encoding="utf-8")
    (embedded,) = re.findall(r'<script type="application/json" id="summary">(.*?)</script>', page, re.DOTALL)
    assert json.loads(embedded) == inspected

    logged = {line["step"]: line for line in metric_lines(run) if "heldout/accuracy" in line}
    assert sorted(logged) == aha["steps"]
    series = {f"heldout/aha/{key}": aha["figures"][key]["series"] for key in LOGGED}
    series["heldout/accuracy"] = aha["figures"]["accuracy"]["series"]
    series["heldout/accuracy_greedy"] = greedy["figures"]["accuracy"]["series"]
    for i, step in enumerate(aha["steps"]):
        for name, values in series.items():
            value = logged[step].get(name)
            if value is None or math.isnan(value):
                assert values[i] is None, (step, name)
            else:
                assert value == pytest.approx(values[i], abs=1e-9), (step, name)
    assert not {name for line in logged.values() for name in line if name.startswith("heldout/")} - set(series)
