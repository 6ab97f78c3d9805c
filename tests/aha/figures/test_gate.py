"""A figure is shown only of kinds of text on which its detector was measured."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl.aha.figures import figures, gate, suite, terminal
from r1rl.aha.figures.annotations import compute
from r1rl.aha.validate import validation
from r1rl.store import importers

FIGURES = {key: figures.FIGURES[key] for key in ("accuracy", "attempts", "marker_strict_rate")}
CORPUS = "long prose, untouched"


def scored(monkeypatch: pytest.MonkeyPatch, **of: dict[str, int]) -> None:
    """Only these detectors are measured, on long prose: hits and texts."""
    rows = [
        {"detector": name.replace("_", ": "), "corpus": CORPUS, "fp": 0, "fn": 0, **counts}
        for name, counts in of.items()
    ]
    stored = {"detector_version": validation.DETECTOR_VERSION, "scores": rows}
    monkeypatch.setattr(validation, "stored", lambda: stored)


@pytest.mark.parametrize(
    ("kinds", "strict", "shown"),
    [
        pytest.param({"long prose": 9}, {"tp": 10, "texts": 3}, True, id="ten labels"),
        pytest.param({"long prose": 9}, {"tp": 0, "texts": 10}, True, id="ten texts without any"),
        pytest.param({"long prose": 9}, {"tp": 9, "texts": 9}, False, id="too few of both"),
        pytest.param({"short prose": 9}, {"tp": 10, "texts": 30}, False, id="another kind"),
        pytest.param({"long prose": 9, "code": 1}, {"tp": 10, "texts": 3}, True, id="a tenth of another kind"),
        pytest.param({"long prose": 8, "code": 2}, {"tp": 10, "texts": 3}, False, id="a fifth of another kind"),
        pytest.param({"countdown": 9}, {"tp": 0, "texts": 0}, True, id="Countdown is exact"),
        pytest.param({}, {"tp": 0, "texts": 0}, True, id="nothing is annotated"),
    ],
)
def test_the_border(
    monkeypatch: pytest.MonkeyPatch, kinds: dict[str, int], strict: dict[str, int], shown: bool
) -> None:
    scored(monkeypatch, markers_strict=strict)
    found, said = gate.measured([FIGURES["accuracy"], FIGURES["marker_strict_rate"]], kinds)
    assert [figure.key for figure in found] == ["accuracy", *(["marker_strict_rate"] if shown else [])]
    assert bool(said) is not shown


def test_what_is_said_names_the_kind_its_share_and_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch)
    _, (said,) = gate.measured(FIGURES.values(), {"long prose": 3, "code": 1})
    for part in ("long prose (75 % of the rollouts)", "code (25 % of the rollouts)", FIGURES["attempts"].label):
        assert part in said


def imported(folder: Path, verifier: str) -> Path:
    source = folder / "dumps"
    source.mkdir()
    for step in (1, 2):
        row: dict[str, Any] = {
            "input": f"How many? {step}",
            "output": "<think> 7 + 5 = 12. </think> <answer>12</answer>",
        }
        row |= {"score": 1.0, "gts": "12", "step": step}
        (source / f"{step}.jsonl").write_text((json.dumps(row) + "\n") * 2, encoding="utf-8")
    importers.load(source, folder / "theirs", settings=importers.Settings(verifier=verifier))
    compute(folder / "theirs", kind="train", workers=1)
    return folder / "theirs"


@pytest.mark.parametrize(
    ("verifier", "value", "line"),
    [
        pytest.param("math", 1.0, "attempts on short maths: precision", id="measured, with its intervals"),
        pytest.param("exact", None, "not measured on short puzzle (100 % of the rollouts)", id="not measured"),
    ],
)
def test_a_run_shows_a_figure_or_says_why_not(tmp_path: Path, verifier: str, value: float | None, line: str) -> None:
    run = imported(tmp_path, verifier)
    (result,) = suite.measure([run], figures.Selection("train"))
    assert result.rows["attempts"].last.value == value
    assert result.rows["accuracy"].last.value == 1.0
    out = io.StringIO()
    terminal.print_result(result, Console(file=out, width=400))
    assert line in out.getvalue()
    logged = figures.of_step(run, "train", result.steps[-1], ["attempts", "accuracy"])
    assert ("attempts" in logged) == (value is not None)
    assert terminal.as_json(result)["not_measured"] == list(result.hidden)
