"""The command `r1rl counterfactual` on a run that was really trained, with its own checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.aha.counterfactual import checkpoints, policies
from r1rl.aha.counterfactual import store as counterfactual_store
from r1rl.models.resolve import resolve
from r1rl.train import main as train
from tests.aha.counterfactual.completions_server import serving
from tests.aha.judge.played_endpoint import playing

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


MEASURES = ("entropy", "thinking", "errors", "verification")
LIMITS = ["--points", "4", "--samples", "1", "--max-rollouts", "40"]


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rollouts as another tool writes them: text, gold answers, no verdicts, no tokens."""
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    right = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
    wrong = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait </think> <answer> 1 + 2 - 3 </answer>"
    gold = {"target": 6, "numbers": [1, 2, 3]}
    path = tmp_path / "theirs.jsonl"
    lines = [
        {"prompt": f"Use 1, 2, 3 to make 6{'.' * (i + 1)}", "completion": text, "gold": gold, "step": 3}
        for i in range(3)
        for text in (right, wrong)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def asked(
    words: list[str], capsys: pytest.CaptureFixture[str], measures: tuple[str, ...] = MEASURES
) -> dict[str, dict[str, Any]]:
    """What each measure says."""
    capsys.readouterr()
    assert cli.main(["counterfactual", *words, *LIMITS, "--json", "--measure", *measures]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["measure"], one["step"]) for one in found] == [(measure, 3) for measure in measures]
    return {one["measure"]: one["figures"] for one in found}


def test_another_model_goes_on_from_another_tools_rollouts(
    theirs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny base in memory, and behind a completions endpoint, which says the same wherever nothing is drawn."""
    near = [str(theirs), "--model", "base:countdown"]
    here = asked(near, capsys)
    assert here["entropy"]["before_markers"]["of"] == 4
    assert here["thinking"]["sure"]["of"] == 4
    assert here["errors"]["intact"]["of"] == 2
    assert here["verification"]["generation"]["estimate"]["value"] == 0.5
    # A second time nothing is asked.
    with monkeypatch.context() as patch:
        patch.setattr(policies, "writer", None)
        assert asked(near, capsys) == here
    model, tokenizer, _ = checkpoints.opened(resolve("base:countdown"), on_cpu=True)
    with playing(serving(model, tokenizer)) as server:
        far = [str(theirs), "--model", f"{server.url}#tiny", "--parallel", "2"]
        there = asked(far, capsys, ("thinking", "errors"))
    for name in ("reflection_score", "other_score", "sure"):
        here_and_there = [one["thinking"][name]["estimate"]["value"] for one in (here, there)]
        assert here_and_there[0] == pytest.approx(here_and_there[1], abs=1e-3)
    assert there["errors"]["foreign_error"]["of"] == 2, "an endpoint's vocabulary is not known"


def test_what_cannot_be_asked(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = tmp_path / "without.jsonl"
    without.write_text(json.dumps({"prompt": "a", "completion": "<think> wait , 1 + 1 = 2 </think>", "step": 0}) + "\n")
    silent = tmp_path / "silent.jsonl"
    silent.write_text(json.dumps({"prompt": "a", "completion": "hello", "gold": "2", "step": 0}) + "\n")
    for words, message in (
        ([str(theirs)], "name who is to go on: --model"),
        ([str(theirs), "--model", "http://127.0.0.1:1/v1"], "say which model"),
        ([str(theirs), "--model", "base:countdown", "--steps", "9"], "steps=9: no sampled rollouts; this run has 3"),
        ([str(theirs), "--model", "base:countdown", "--extraction", "mine"], "extraction='mine'"),
        ([str(without), "--model", "base:countdown"], "they have no gold answers"),
        ([str(silent), "--model", "base:countdown", "--measure", "thinking"], "nothing that thinking could ask about"),
    ):
        capsys.readouterr()
        assert cli.main(["counterfactual", *words]) == 2
        assert message in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_a_failure_in_one_line(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(theirs), "--model", "http://127.0.0.1:9/v1#m", "--retries", "0", "--measure", "verification"]
    assert cli.main(["counterfactual", *words]) == 1
    assert "http://127.0.0.1:9/v1#m: connection failed" in capsys.readouterr().err


@pytest.mark.parametrize("measure", MEASURES)
def test_tables(theirs: Path, capsys: pytest.CaptureFixture[str], measure: str) -> None:
    assert cli.main(["counterfactual", str(theirs), "--model", "base:countdown", *LIMITS, "--measure", measure]) == 0
    shown = capsys.readouterr().out
    assert f"run theirs  step 3  {measure}, rollouts of 3 prompts" in shown
    assert " ".join(counterfactual_store.module(measure).ABOUT.split()) in " ".join(shown.split())
