"""The command `r1rl counterfactual` on a run that was really trained, with its own checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.aha.counterfactual import checkpoints, policies
from r1rl.aha.counterfactual import store as counterfactual_store
from r1rl.train import main as train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "countdown.yaml"


@pytest.fixture
def run_dir(small_run: list[str]) -> Path:
    words = ["--config", str(TINY), *small_run, "--name", "run", "--max_steps", "2", "--save_steps", "1"]
    assert train.main(words) == 0
    return Path(small_run[small_run.index("--runs_dir") + 1]) / "run"


def test_both_ends_of_a_run(run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(checkpoints.kept(run_dir)) == [0, 2]
    words = ["counterfactual", str(run_dir), "--points", "4", "--samples", "1", "--lexicon", "simplerl", "--json"]
    capsys.readouterr()
    assert cli.main(words) in (0, 2)  # a base without skills may have written neither marker nor claim
    first = capsys.readouterr()
    assert "Traceback" not in first.err
    found = [json.loads(line) for line in first.out.splitlines()]
    assert all(one["runs"] == ["run"] for one in found)
    assert [one["step"] for one in found] == [0, 2][: len(found)]
    if found:
        # A second time nothing is sampled.
        monkeypatch.setattr(policies, "writer", None)
        assert cli.main(["counterfactual", str(run_dir), *words[2:], "--steps", "0"]) == 0
        assert json.loads(capsys.readouterr().out) == found[0]


def test_errors_are_one_line_and_code_2(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--steps", "1"], "steps=1: no kept policy with held-out rollouts; this run has 0, 2"),
        (["--points", "0"], "points=0: need >= 1"),
        (["--lexicon", "mine"], "lexicon='mine'"),
    ):
        capsys.readouterr()
        assert cli.main(["counterfactual", str(run_dir), *words]) == 2
        assert message in capsys.readouterr().err


def claims_at(monkeypatch: pytest.MonkeyPatch, steps: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Runs that are not there, with made-up continuations at these steps; returns what was asked for."""
    asked: list[tuple[str, int]] = []

    def compute(run: Path, step: int, *_: object, **__: object) -> list[dict[str, object]]:
        asked.append((run.name, step))
        rates = {"free": 60 + 10 * int(run.name[-1]), "banned": 30}
        return [
            {"arm": arm, "point": i, "prompt_id": f"p{i % 20}", "marked": False, "n_tokens": 10, "stretch_tokens": 5,
             "verdict": "correct" if i * 37 % 100 < rate else "wrong"}
            for arm, rate in rates.items()
            for i in range(100)
        ]  # fmt: skip

    monkeypatch.setattr(counterfactual_store, "check", lambda run, *_: steps[run.name])
    monkeypatch.setattr(counterfactual_store, "compute", compute)
    return asked


def test_several_runs_are_shown_and_put_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = claims_at(monkeypatch, {"seed0": [0, 40], "seed1": [0, 60], "seed2": [0, 40]})
    runs = [str(tmp_path / f"seed{i}") for i in range(3)]
    assert cli.main(["counterfactual", *runs, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert asked == [("seed0", 0), ("seed0", 40), ("seed1", 0), ("seed1", 60), ("seed2", 0), ("seed2", 40)]
    assert [(len(one["runs"]), one["step"]) for one in found] == [(1, 0), (1, 40), (1, 0), (1, 60), (1, 0), (1, 40),
                                                                  (3, 0)]  # fmt: skip
    assert found[-1]["runs"] == ["seed0", "seed1", "seed2"]
    gains = [one["gains"]["freedom"]["change"]["value"] for one in found]
    assert gains[-1] == pytest.approx((gains[0] + gains[2] + gains[4]) / 3)
    assert cli.main(["counterfactual", *runs[:2]]) == 0
    shown = capsys.readouterr().out
    assert "runs seed0, seed1  step 0" in shown
    assert "2 runs: intervals are for new seeds and new problems (20 seen)." in shown


def test_runs_without_a_step_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = claims_at(monkeypatch, {"seed0": [0, 40], "seed1": [20]})
    assert cli.main(["counterfactual", str(tmp_path / "seed0"), str(tmp_path / "seed1")]) == 2
    assert "no step in common to put together (seed0 0, 40; seed1 20)" in capsys.readouterr().err
    assert cli.main(["counterfactual", str(tmp_path / "seed0"), str(tmp_path / "seed0")]) == 2
    assert "runs: one is given twice" in capsys.readouterr().err
    assert asked == []
