"""What a study says of runs whose annotations are drawn: what is planted is found, every figure can be recomputed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.aha.figures import suite
from r1rl.aha.figures.conclusion import conclude
from r1rl.eval.study import measured, report
from r1rl.eval.study.arms import Study
from r1rl.ground.errors import RecipeError
from r1rl.models import base
from tests.eval.study.made_up_study import STEPS, finish, load

RESAMPLES = 4000  # fewer, and no p-value survives the correction


def grows(step: int) -> float:
    return 0.7 * (step >= 20)


def stays(step: int) -> float:
    return 0.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, measured.Measured]:
    study = load(tmp_path_factory.mktemp("study"), seeds=3)
    for seed in study.seeds:
        finish(study, "paid", seed, grows)
        if seed < 2:
            finish(study, "coin", seed, stays)
    return study, measured.measure(study, resamples=RESAMPLES)


def test_what_is_planted_is_found(finished: tuple[Study, measured.Measured]) -> None:
    _, found = finished
    paid, coin = found.arms
    assert found.emerged == ("paid",)
    assert found.words() == [
        "Self-correction emerged or grew in: paid. Not in: coin.",
        "Runs that are not finished are left out: coin (1 of 3).",
    ]
    assert not paid.differences, "the reference is compared with nothing"
    assert (paid.alone, coin.alone) == ({0: True, 1: True, 2: True}, {0: False, 1: False})
    assert coin.differences is not None
    difference = coin.differences["wrong_to_right"]
    assert difference.clear
    assert difference.seeds == (0, 1), "paired by seed: the third has no partner"
    assert difference.estimate.value == pytest.approx(-0.8 * 0.7 * 0.8, abs=0.06)
    assert not coin.differences["first_accuracy"].clear


def test_an_arm_is_told_as_aha_tells_it(finished: tuple[Study, measured.Measured]) -> None:
    study, found = finished
    runs = [study.folder(study.arms[0], seed).path for seed in study.seeds]
    assert found.arms[0].conclusion == conclude(suite.measure(runs, resamples=RESAMPLES)[-1])


def test_every_figure_is_recomputed_from_the_counts_beside_it(finished: tuple[Study, measured.Measured]) -> None:
    _, found = finished
    told = json.loads(json.dumps(report.content(found)))
    checked = 0
    for arm in told["arms"].values():
        for key, figure in arm["figures"].items():
            assert "SELECT step" in told["questions"][key]["sql"]
            for number, step in enumerate(arm["steps"]):
                cells = [counts[number] for counts in figure["counts"].values()]
                assert {cell["step"] for cell in cells} == {step}
                if all(cell["denominator"] for cell in cells):
                    mean = sum(cell["numerator"] / cell["denominator"] for cell in cells) / len(cells)
                    assert figure["series"][number]["value"] == pytest.approx(mean, abs=1e-9)
                    checked += 1
            if figure["difference"] is not None and figure["difference"]["value"] is not None:
                paid = told["arms"]["paid"]["figures"][key]["counts"]
                pairs = [(figure["counts"][str(s)][-1], paid[str(s)][-1]) for s in figure["difference"]["seeds"]]
                apart = [a["numerator"] / a["denominator"] - b["numerator"] / b["denominator"] for a, b in pairs]
                assert figure["difference"]["value"] == pytest.approx(sum(apart) / len(apart), abs=1e-9)
    assert checked > 30


def test_the_report_is_whole_and_says_the_same_everywhere(
    finished: tuple[Study, measured.Measured], tmp_path: Path
) -> None:
    _, found = finished
    names = [path.name for path in report.write(found, tmp_path)]
    assert names == ["report.json", "report.md", "report.html", "curves.svg"]
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    row = found.arms[0].row("wrong_to_right")
    for shown in ("Not in: coin.", f"{100 * (row.last.value or 0):.1f} %", "r1rl aha", "a coin"[2:]):
        assert shown in page
        assert shown in text
    assert not re.search(r"(src|href)=\"(?!data:)", page), "it works without a network"
    svg = (tmp_path / "curves.svg").read_text()
    assert svg.startswith("<?xml")
    assert svg.count("PolyCollection") + svg.count("FillBetween") >= 6, "bands"
    assert report.write(found, tmp_path)[0].read_text() == (tmp_path / "report.json").read_text()


def test_one_seed_has_intervals_over_problems_alone(tmp_path: Path) -> None:
    study = load(tmp_path, seeds=1)
    finish(study, "paid", 0, grows)
    finish(study, "coin", 0, stays)
    found = measured.measure(study, resamples=RESAMPLES)
    assert found.emerged == ("paid",)
    assert found.arms[1].differences is not None
    assert found.arms[1].differences["retried"].clear


def test_nothing_finished_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load(tmp_path)
    with pytest.raises(RecipeError, match=r"no run in .* is finished"):
        measured.measure(study)
    assert cli.main(["study", str(study.source), "--out", str(study.out), "--report"]) == 2
    assert "nothing to measure" in capsys.readouterr().err


def test_doses_are_drawn_against_what_came_out(tmp_path: Path) -> None:
    bases = {"none": {"corpus.retries": 0}, "plain": {}, "blind": {"corpus.goal_test": 0.5}}
    study = load(
        tmp_path, seeds=1, dose="corpus.retries", reference="plain", base={"steps": 9},
        arms={name: {"base": options} for name, options in bases.items()},
    )  # fmt: skip
    for arm in study.arms:
        finish(study, arm.name, 0, grows if arm.name == "plain" else stays)
        assert arm.built is not None
        arm.built.mkdir(parents=True)
        (arm.built / base.MANIFEST).write_text((base.shipped("countdown") / base.MANIFEST).read_text())
    found = measured.measure(study, resamples=RESAMPLES)
    doses = {one.arm.name: measured.dose_of(one, "corpus.retries") for one in found.arms}
    assert doses == {"none": 0.0, "plain": 0.15, "blind": None}, "a base that differs in something else has no dose"
    assert "dose.svg" in [path.name for path in report.write(found, tmp_path / "report")]
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    onsets = told["arms"]["plain"]["figures"]["wrong_to_right"]["onsets"]
    assert onsets["0"]["step"] == STEPS[2]
    assert "equations right" in (tmp_path / "report" / "report.md").read_text()
