"""`r1rl bench all`: the plan, what is kept of an interrupted run, the page and its curves."""

from __future__ import annotations

import argparse
import itertools
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, plot, report
from benchmarks.paired import Stopped, row
from r1rl.commands import bench


def _parsed(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    places = {"output": "B.md", "plot": "docs/growth.svg", "rows": "rows"}
    return parser.parse_args([*(w for k, v in places.items() for w in (f"--{k}", str(folder / v))), *words])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Parts that measure nothing; returns the commands that were run."""
    calls: list[list[str]] = []
    numbers = itertools.count(1)

    def measure(words: list[str]) -> list[dict[str, Any]]:
        calls.append(list(words))
        made = [row(f"{words[0]}: time", [float(next(numbers))], [2.0], "s", "here")]
        if words[0] == "growth":
            over = words[words.index("--over") + 1]
            made += [
                row(f"growth, {over}: {figure} at {size}", [1.0 * size], [2.0 * size], "s", "here")
                for figure in ("time of the step", "peak memory")
                for size in (4, 8)
            ]
        return made

    monkeypatch.setattr(report, "_measured", measure)
    monkeypatch.setattr(report, "has_bf16_kernels", lambda: True)
    return calls


def test_every_command_of_the_plan_is_understood(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    parsed = _parsed(tmp_path, "--data", "problems", "--seed", "3", "--repeats", "2", "--threads", "1")
    for part in report.PLAN:
        words = part.command(parsed)
        read = parser.parse_args(words)
        assert read.seed == 3, words
        assert words.count("--repeats") == part.repeated
        assert getattr(read, "repeats", 2) == 2
        if part.data:
            assert read.data == Path("problems")
    names = [part.name for part in report.PLAN]
    assert len(set(names)) == len(names)
    assert {part.words[0] for part in report.PLAN} == set(bench.PARTS) - {"all"}


def test_the_page_holds_every_part_and_the_curves(measured: list[list[str]], tmp_path: Path) -> None:
    rows = report.measure(_parsed(tmp_path, "--data", "/private/problems"))
    text = (tmp_path / "B.md").read_text()
    assert len(measured) == len(report.PLAN)
    assert sum(r["unit"] == "s" for r in rows) == len(rows)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [p.title for p in report.PLAN]
    assert "`r1rl bench graders DATA --seed 0`" in text
    assert "--data DATA" in text
    assert "private" not in text
    assert "![time and memory of a step against the group and the cap](docs/growth.svg)" in text
    assert text.index("## Graders") > text.index("growth.svg") > text.index("## How a step grows with processes")
    assert "torch 2." in text
    ET.parse(tmp_path / "docs" / "growth.svg")


def test_parts_that_need_data_are_left_out_without(measured: list[list[str]], tmp_path: Path) -> None:
    report.measure(_parsed(tmp_path))
    assert "graders" not in {words[0] for words in measured}
    assert not any("fewshot" in word for words in measured for word in words)
    assert "Graders" not in (tmp_path / "B.md").read_text()


def test_bf16_parts_are_left_out_where_the_processor_has_no_instructions_for_them(
    measured: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "has_bf16_kernels", lambda: False)
    report.measure(_parsed(tmp_path, "--data", "problems"))
    assert not any("bf16" in words for words in measured)
    assert any("smollm2-fewshot" in words for words in measured)
    assert "train-short-bf16: left out, this processor has no bf16 instructions" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_and_a_whole_one_begins_anew(
    measured: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = report._measured
    partly = [row("half", [1.0], [1.0], "s", "here")]

    def stop(words: Any) -> list[dict[str, Any]]:
        if len(measured) == 2:
            raise Stopped(partly)
        return whole(words)

    monkeypatch.setattr(report, "_measured", stop)
    with pytest.raises(Stopped) as stopped:
        report.measure(_parsed(tmp_path))
    assert stopped.value.rows == partly
    assert (tmp_path / "B.md").read_text().count("\n## ") == 2
    first = [list(words) for words in measured]
    monkeypatch.setattr(report, "_measured", whole)
    measured.clear()
    report.measure(_parsed(tmp_path))
    assert "2 of" in capsys.readouterr().err
    assert not [words for words in measured if words in first]
    rest, count = len(measured), (tmp_path / "B.md").read_text().count("\n## ")
    assert count == rest + 2
    measured.clear()
    report.measure(_parsed(tmp_path))
    assert len(measured) == count


def test_another_seed_is_measured_and_not_taken_from_before(measured: list[list[str]], tmp_path: Path) -> None:
    report.measure(_parsed(tmp_path, "--only", "store"))
    report.measure(_parsed(tmp_path, "--seed", "1"))
    assert [words for words in measured if words[0] == "store"] == [["store", "--seed", s] for s in "01"]


def test_only_measures_a_part_again_and_keeps_the_others_in_the_page(measured: list[list[str]], tmp_path: Path) -> None:
    report.measure(_parsed(tmp_path, "--only", "train-tiny", "store"))
    measured.clear()
    rows = report.measure(_parsed(tmp_path, "--only", "store"))
    assert [words[0] for words in measured] == ["store"]
    assert [r["ours"] for r in rows] == [3.0]
    text = (tmp_path / "B.md").read_text()
    assert "## The tiny recipe's step" in text
    assert "| time | 3 | 2 |" in text
    assert "| time | 2 | 2 |" not in text
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--only", "stor"], "only='stor': known are .*did you mean", id="unknown part"),
        pytest.param(["--only", "graders"], "data=None: graders reads problems; give", id="no data"),
        pytest.param(["--repeats", "0"], "repeats=0: need at least 1", id="no repeats"),
    ],
)
def test_bad_options(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        report.measure(_parsed(tmp_path, *words))


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "store.json").write_text("{")
    with pytest.raises(ValueError, match=r"store\.json is no part of a benchmark; delete it"):
        report.measure(_parsed(tmp_path, "--only", "store"))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept = page.keep(tmp_path, "x", ["store"], 61.23, [row("a", [1.0], [2.0], "s", "here")])
    assert page.read(tmp_path, ["x", "y"]) == {"x": kept}
    assert kept.seconds == 61.2
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]  # no temporary file is left
    json.loads((tmp_path / "x.json").read_text())


def test_curves_are_drawn_where_they_belong() -> None:
    drawn = ET.fromstring(
        plot.panels([("a < b", "x", "y", {"one": [(1, 1), (10, 10), (100, 100)], "two": [(1, 10), (100, 10)]})])
    )
    space = "{http://www.w3.org/2000/svg}"
    lines = [line.attrib["points"].split() for line in drawn.iter(f"{space}polyline")]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in lines[0])
    # A power law is a straight line that rises: y grows downwards in SVG.
    assert (x1 - x0, y0 - y1) == pytest.approx((x2 - x1, y1 - y2), abs=0.11)
    assert x0 < x2
    assert y0 > y2
    assert len({point.split(",")[1] for point in lines[1]}) == 1
    texts = {text.text for text in drawn.iter(f"{space}text")}
    assert {"a < b", "x", "y", "one", "two", "1", "10", "100"} <= texts


@pytest.mark.parametrize(
    ("charts", "message"),
    [
        pytest.param([], "nothing to draw", id="no charts"),
        pytest.param([("a", "x", "y", {"one": [(0, 1)]})], "above zero", id="zero"),
    ],
)
def test_what_cannot_be_drawn(charts: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot.panels(charts)
