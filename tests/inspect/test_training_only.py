"""An imported run without held-out prompts: its training rollouts are shown, and nothing is claimed of a change."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl.aha.figures import suite
from r1rl.aha.validate import validation
from r1rl.aha.validate.validation import figure
from r1rl.inspect.curves import charts
from r1rl.inspect.report import write_report
from r1rl.inspect.run_data import load
from r1rl.inspect.summary import summarise
from r1rl.inspect.terminal import print_summary
from r1rl.store import importers

NUMBERS, GOLD = [3, 5, 7], 22
RIGHT = "<think> 3 * 5 = 15 no , wait , 3 * 5 + 7 = 22 yes </think> <answer> 3 * 5 + 7 </answer>"
WRONG = "<think> 3 + 5 = 8 , 8 + 7 = 15 no </think> <answer> 3 + 5 + 7 </answer>"
STEPS = 5
GROUP = 4


def theirs(step: int, text: str = "") -> list[dict[str, Any]]:
    """verl's dump of training step `step`, from 1: `step - 1` of its GROUP rollouts are right."""
    return [
        {
            "input": f"user\nUse 3, 5, 7 to make 22. Problem {step}.{text}\nassistant\n",
            "output": (RIGHT if i < step - 1 else WRONG) + text,
            "score": float(i < step - 1),
            "gts": {"target": GOLD, "numbers": NUMBERS},
            "step": step,
        }
        for i in range(GROUP)
    ]


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Path]:
    def make(*, verifier: str | None = "countdown", text: str = "") -> Path:
        folder = tmp_path / "dumps"
        folder.mkdir()
        for step in range(1, STEPS + 1):
            lines = [json.dumps(row) + "\n" for row in theirs(step, text)]
            (folder / f"{step}.jsonl").write_text("".join(lines))
        importers.load(folder, tmp_path / "theirs", settings=importers.Settings(verifier=verifier))
        return tmp_path / "theirs"

    return make


def test_the_figures_are_of_training_rollouts_and_have_no_interval(imported: Callable[..., Path]) -> None:
    summary = summarise(imported())
    nothing = dict.fromkeys(("value", "low", "high"))
    for key in ("accuracy", "wrong_to_right"):
        figure = summary["figures"][key]
        assert (figure["first"]["value"], figure["last"]["value"]) == (0.0, 1.0)
        assert figure["change"] == nothing
    assert (summary["kind"], summary["emerged"]) == ("train", None)
    assert (summary["heldout_prompts"], summary["rollouts"], summary["steps"]) == (0, STEPS * GROUP, STEPS)
    assert (summary["first_step"], summary["last_step"]) == (0, STEPS - 1)
    assert summary["reward"] == {"first": 0.0, "last": 1.0}
    assert "the prompts change with the step" in summary["conclusion"][1]


def test_attempts_in_free_text_are_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corrected = "<think> 7 + 5 = 11. Wait, 7 + 5 = 12. </think> <answer> 12 </answer>"
    missed = "<think> 7 + 4 = 11. </think> <answer> 11 </answer>"
    source = tmp_path / "dumps"
    source.mkdir()
    for step, text in ((1, missed), (2, corrected)):
        row = {"input": f"How many? {step}", "output": text, "score": float(step - 1), "gts": "12", "step": step}
        (source / f"{step}.jsonl").write_text((json.dumps(row) + "\n") * 2)
    run = tmp_path / "theirs"
    importers.load(source, run, settings=importers.Settings(verifier="math"))
    summary = summarise(run)
    for key in ("wrong_to_right", "retry_after_miss"):
        assert summary["figures"][key]["series"] == [0.0, 1.0]
    out = io.StringIO()
    print_summary(run, Console(file=out, width=200))
    told = " ".join(out.getvalue().split())
    assert "7 + 5 = 11 ✗. Wait, 7 + 5 = 12 ✓" in told
    assert f"on short maths {figure('attempts', 'smollm2')}" in told
    html = write_report(run).read_text(encoding="utf-8")
    assert "attempt 2 of 2, right; 7 + 5 = 12; claimed 12" in html
    assert "true value" not in html.split('<script type="application/json"')[0].split("How it was measured")[0].replace(
        "by their true value", ""
    ), "a free-text attempt has none besides what it claims"
    monkeypatch.setattr(validation, "stored", lambda: {"detector_version": None, "scores": []})
    assert "precision and recall not measured" in write_report(run).read_text(encoding="utf-8")


def test_the_rates_of_every_step(imported: Callable[..., Path]) -> None:
    data = load(imported())
    assert [line["step"] for line in data.metrics] == [1, 2, 3, 4, 5]
    assert [line["reward"] for line in data.metrics] == [0.0, 0.25, 0.5, 0.75, 1.0]
    shown = {chart.key: chart for chart in charts(data)}
    assert shown["accuracy"].data[0]["y"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert shown["wrong_to_right"].data[0]["x"] == [0, 1, 2, 3, 4]


def test_rollouts_that_nobody_judged_count_neither_way(tmp_path: Path) -> None:
    source = tmp_path / "rollouts.jsonl"
    source.write_text("".join(json.dumps({"completion": RIGHT, "prompt": "p", "step": step}) + "\n" for step in (0, 1)))
    run = tmp_path / "theirs"
    importers.load(source, run)
    summary = summarise(run)
    assert summary["figures"]["accuracy"]["last"]["value"] is None
    assert summary["outcomes"] == {"first": {}, "last": {}}
    assert "not judged" in write_report(run).read_text(encoding="utf-8")
    out = io.StringIO()
    print_summary(run, Console(file=out, width=200))
    assert "any rollout of the training step" in out.getvalue()
    assert "3 * 5 + 7 = 22 yes" in out.getvalue(), "rollouts are shown all the same"


def test_every_step_is_measured_and_some_have_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "dumps"
    source.mkdir()
    for step in range(1, STEPS + 1):
        rows = [row | {"input": f"{row['input']} {copy}"} for row in theirs(step) for copy in range(12)]
        (source / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    importers.load(source, tmp_path / "theirs", settings=importers.Settings(verifier="countdown"))
    monkeypatch.setattr(suite, "TRAINING_INTERVALS", 3)
    measured = load(tmp_path / "theirs").measured
    series = measured.rows["wrong_to_right"].series
    assert measured.steps == (0, 1, 2, 3, 4)
    assert [estimate.value for estimate in series] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [estimate.low is not None for estimate in series] == [True, False, True, False, True]


def test_it_is_shown_and_hostile_text_is_not_obeyed(
    imported: Callable[..., Path], hostile_texts: dict[str, str]
) -> None:
    run = imported(text=" ".join(hostile_texts.values()))
    out = io.StringIO()
    print_summary(run, Console(file=out, width=200, force_terminal=False))
    told = out.getvalue()
    assert "training rollouts at step 4" in told
    assert "right answers" in told
    assert "held-out prompts," not in told
    assert "\x1b" not in told
    html = write_report(run).read_text(encoding="utf-8")
    assert "Rollouts of the last training step (step 4)" in html
    assert "same held-out prompts" not in html
    assert "None tokens" not in html
    assert hostile_texts["script"] not in html


def test_one_step_is_enough(tmp_path: Path) -> None:
    source = tmp_path / "1.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in theirs(1)))
    importers.load(source, tmp_path / "theirs", settings=importers.Settings(verifier="countdown"))
    assert load(tmp_path / "theirs").steps == (0,)
    assert write_report(tmp_path / "theirs").is_file()
