"""`python -m benchmarks`: its options, the plan, what is kept of an interrupted run, and the page."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command_line
from benchmarks import plan
from benchmarks.rows import row


def _parsed(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    places = {"output": "B.md", "rows": "rows"}
    return parser.parse_args([*(w for k, v in places.items() for w in (f"--{k}", str(folder / v))), *words])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Parts that measure nothing; returns the commands that were run."""
    calls: list[list[str]] = []
    numbers = itertools.count(1)

    def measure(words: list[str]) -> list[dict[str, Any]]:
        calls.append(list(words))
        return [row(f"{words[0]}: time", [float(next(numbers))], [2.0], "s", "here")]

    monkeypatch.setattr(plan, "_measured", measure)
    monkeypatch.setattr(plan, "has_bf16_kernels", lambda: True)
    return calls


def test_every_command_of_the_plan_is_understood(tmp_path: Path) -> None:
    parsed = _parsed(tmp_path, "--data", "problems", "--seed", "3", "--repeats", "2", "--threads", "1")
    for part in plan.PLAN:
        words = part.command(parsed)
        parser = argparse.ArgumentParser()
        plan.MODULES[words[0]].add_arguments(parser)
        read = parser.parse_args(words[1:])
        assert read.seed == 3, words
        assert getattr(read, "repeats", 2) == 2
        assert getattr(read, "threads", 1) == 1
        if part.data:
            assert read.data == Path("problems")
    names = [part.name for part in plan.PLAN]
    assert len(set(names)) == len(names)
    assert {part.words[0] for part in plan.PLAN} == set(plan.MODULES) - {"reader"}  # that one needs a run
    assert all(part.name.startswith(part.words[0]) for part in plan.PLAN)


@pytest.mark.parametrize("part", ["", "all", *plan.MODULES])
def test_every_part_has_its_help(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        command_line.main([*filter(None, [part]), "--help"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m benchmarks {part}".rstrip())


def test_a_mistake_is_one_line_and_rows_are_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["graders", "--data", str(tmp_path)]) == 2
    assert "no math500_*.jsonl there" in capsys.readouterr().err
    for words in (["all", "--only", "ah"], ["train", "--preset", "tinny"]):
        with pytest.raises(SystemExit, match="2"):
            command_line.main(words)
        assert f"invalid choice: '{words[-1]}' (choose from" in capsys.readouterr().err
    made = [row("a", [1.0], [2.0], "s", "here")]
    monkeypatch.setattr(plan.aha, "measure", lambda parsed: made)
    assert command_line.main(["aha", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_the_page_holds_every_part(measured: list[list[str]], tmp_path: Path) -> None:
    rows = plan.measure(_parsed(tmp_path, "--data", "/private/problems"))
    text = (tmp_path / "B.md").read_text()
    assert len(measured) == len(plan.PLAN) == len(rows)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [p.title for p in plan.PLAN]
    assert "`python -m benchmarks graders --seed 0 --data DATA`" in text
    assert "private" not in text
    assert "torch 2." in text


def test_parts_that_need_data_are_left_out_without(measured: list[list[str]], tmp_path: Path) -> None:
    plan.measure(_parsed(tmp_path))
    assert "graders" not in {words[0] for words in measured}
    assert not any("fewshot" in word for words in measured for word in words)
    assert "Graders" not in (tmp_path / "B.md").read_text()


def test_bf16_parts_are_left_out_where_the_processor_has_no_instructions_for_them(
    measured: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "has_bf16_kernels", lambda: False)
    plan.measure(_parsed(tmp_path, "--data", "problems"))
    assert not any("bf16" in words for words in measured)
    assert any("smollm2-fewshot-nostop" in words for words in measured)
    assert "train-signal-bf16: left out, this processor has no bf16 instructions" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_and_a_whole_one_begins_anew(
    measured: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = plan._measured

    def stop(words: Any) -> list[dict[str, Any]]:
        if len(measured) == 2:
            raise KeyboardInterrupt
        return whole(words)

    monkeypatch.setattr(plan, "_measured", stop)
    with pytest.raises(KeyboardInterrupt):
        plan.measure(_parsed(tmp_path))
    assert (tmp_path / "B.md").read_text().count("\n## ") == 2
    first = [list(words) for words in measured]
    monkeypatch.setattr(plan, "_measured", whole)
    measured.clear()
    plan.measure(_parsed(tmp_path))
    assert "2 of" in capsys.readouterr().err
    assert not [words for words in measured if words in first]
    rest, count = len(measured), (tmp_path / "B.md").read_text().count("\n## ")
    assert count == rest + 2
    measured.clear()
    plan.measure(_parsed(tmp_path))
    assert len(measured) == count


def test_another_seed_is_measured_and_not_taken_from_before(measured: list[list[str]], tmp_path: Path) -> None:
    plan.measure(_parsed(tmp_path, "--only", "aha"))
    plan.measure(_parsed(tmp_path, "--seed", "1"))
    assert [words for words in measured if words[0] == "aha"] == [["aha", "--seed", s] for s in "01"]


def test_only_measures_a_part_again_and_keeps_the_others_in_the_page(measured: list[list[str]], tmp_path: Path) -> None:
    plan.measure(_parsed(tmp_path, "--only", "train-tiny", "aha"))
    measured.clear()
    rows = plan.measure(_parsed(tmp_path, "--only", "aha"))
    assert [words[0] for words in measured] == ["aha"]
    assert [r["ours"] for r in rows] == [3.0]
    text = (tmp_path / "B.md").read_text()
    assert "## The tiny recipe's step" in text
    assert "| time | 3 | 2 |" in text
    assert "| time | 2 | 2 |" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--only", "graders"], "data=None: graders reads problems; give", id="no data"),
        pytest.param(["--only", "train-tiny", "--repeats", "0"], "repeats=0: need at least 1", id="no repeats"),
    ],
)
def test_bad_options(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plan.measure(_parsed(tmp_path, *words))


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "aha.json").write_text("{")
    with pytest.raises(ValueError, match=r"aha\.json is no part of a benchmark; delete it"):
        plan.measure(_parsed(tmp_path, "--only", "aha"))


def test_what_is_kept_comes_back(measured: list[list[str]], tmp_path: Path) -> None:
    rows = plan.measure(_parsed(tmp_path, "--only", "aha"))
    kept = plan.read(tmp_path / "rows" / "aha.json")
    assert kept is not None
    assert (kept.rows, kept.words) == (rows, ["aha", "--seed", "0"])
    assert plan.read(tmp_path / "rows" / "graders.json") is None
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["aha.json"]  # no temporary file is left
