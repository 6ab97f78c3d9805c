"""Rollouts of other tools opened directly: imported once, again when they change, never beside the source."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.store import store
from r1rl.store.importers import FORMATS, Settings, load, opened, opening

FILES = Path(__file__).parent / "files"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"prompt": "q", "completion": "a"}\n')
    return path


def test_imported_once_and_again_when_it_changes(source: Path, cache: Path) -> None:
    first = opened(source)
    assert first.run.is_relative_to(cache)
    assert first.run.name == "theirs"
    before = {path: path.stat().st_mtime_ns for path in first.run.rglob("*")}
    assert opened(source) == first
    assert {path: path.stat().st_mtime_ns for path in first.run.rglob("*")} == before
    source.write_text(source.read_text() * 2)
    assert len(store.read(opened(source).run)) == 2
    assert len(store.read(first.run)) == 1, "who still reads it goes on"
    os.utime(first.run.parent, (0, 0))
    source.write_text(source.read_text() * 2)
    assert len(store.read(opened(source).run)) == 4
    assert not first.run.exists()


def test_two_at_once_and_a_broken_one(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one import is at work another one of the same files begins and ends."""
    inner = []

    def load_and_open(*given: Any, **options: Any) -> Any:
        monkeypatch.setattr(opening, "load", load)
        inner.append(opened(source))
        return load(*given, **options)

    monkeypatch.setattr(opening, "load", load_and_open)
    assert opened(source) == inner[0]
    (stored,) = inner[0].run.parent.parent.iterdir()
    assert stored == inner[0].run.parent, "and nothing else stays"
    (inner[0].run / "result.json").unlink()
    assert opened(source) == inner[0]


def test_a_failed_import_leaves_nothing(source: Path, cache: Path) -> None:
    source.write_text("{")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        opened(source)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_out_is_the_run_folder(source: Path, tmp_path: Path, cache: Path) -> None:
    assert opened(source, tmp_path / "run").run == tmp_path / "run"
    assert opened(source, tmp_path / "run").notes
    assert not cache.exists()
    source.write_text(source.read_text() * 2)
    with pytest.raises(ValueError, match="exists; give another"):
        opened(source, tmp_path / "run")


@pytest.mark.parametrize("with_recipe", [True, False], ids=["a run without rollouts", "an import"])
def test_runs_are_themselves(source: Path, tmp_path: Path, cache: Path, with_recipe: bool) -> None:
    if with_recipe:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.yaml").write_text("task: countdown\n")
    else:
        load(source, tmp_path / "run")
    found = opened(tmp_path / "run")
    assert found.run == tmp_path / "run"
    assert bool(found.notes) != with_recipe
    assert not cache.exists()


@pytest.mark.parametrize("name", ["nowhere", "empty/rollouts/.."], ids=["no such path", "a run that has not begun"])
def test_what_is_neither_is_left_to_who_reads_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty" / "rollouts").mkdir(parents=True)
    assert opened(tmp_path / name).run == tmp_path / name


FOLDERS = {
    "verl": "verl/train",
    "traces": "prime_rl",
    "verifiers": "verifiers_results",
    "openrlhf": "openrlhf/scored.jsonl",
    "skyrl": "skyrl",
    "inspect": "inspect/sums.eval",
    "trl": "trl/completions_0_ffc665c9.table.json",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_each_format_through_the_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(FILES / FOLDERS[name])
    assert cli.main(["aha", path, "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert result["rollouts_per_step"] > 0
    assert f"({name})" in told.err
    assert cli.main(["inspect", path, "--json", "--no-html"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["figures"]["retried"]["last"] == result["figures"]["retried"]["last"]
    assert told.err.count("  no ") == len([line for line in told.err.splitlines() if line.startswith("  no ")]) > 0


def test_the_command_knows_every_format() -> None:
    from r1rl.commands import import_

    assert sorted(import_.FORMATS) == sorted(FORMATS)


def test_no_report_and_nothing_else_beside_the_source(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(source)]) == 0
    assert {path.name for path in source.parent.iterdir()} == {"theirs.jsonl", "cache"}
    assert "report.html" in capsys.readouterr().out.replace("\n", "")


def test_kinds_are_asked_for(source: Path, tmp_path: Path) -> None:
    load(source, tmp_path / "run", settings=Settings(kind="eval"))
    assert cli.main(["aha", str(tmp_path / "run"), "--kind", "train"]) == 2


def test_what_is_not_known_is_no_figure(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without finish reasons none was seen to be cut, which is not that none was."""
    source.write_text('{"prompt": "q", "completion": "a", "verifier": "math"}\n')  # whose detectors are measured
    assert cli.main(["aha", str(source), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert [figures[name]["last"]["value"] for name in ("truncated", "accuracy", "tokens")] == [None, None, None]
    assert figures["repetition_loop"]["last"]["value"] == 0


def test_length_is_matched_by_characters_without_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The only rollout with a marker is the longest and right: nothing of its length is without one."""
    texts = {"Wait, " + "so it is long. " * 50: "correct", "it is short": "wrong"}
    rows = [
        {"prompt": "q", "completion": text, "verdict": verdict, "verifier": "math"} for text, verdict in texts.items()
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["aha", str(tmp_path / "a.jsonl"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    gaps = [figures[name]["last"]["value"] for name in ("reflection_gap", "reflection_gap_matched")]
    assert gaps == [1, None]


def test_one_out_is_for_one_path(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aha", str(source), str(FILES / "skyrl"), "--out", str(tmp_path / "run")]) == 2
    assert "--out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main(["aha", str(source), "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["aha", str(source), str(FILES / "verl" / "train")]) == 0
    told = capsys.readouterr().err
    assert told.count("rollouts of another tool") == 3, "each is said"
