"""Which files of a folder are read, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1rl.store.importers.detection import NoRolloutsError, files_of, guess

FILES = Path(__file__).parent / "files"
LOG = '{"version": 2, "status": "success", "eval": {}, "plan": {}, "samples": []}'


@pytest.mark.parametrize(
    ("there", "read"),
    [
        pytest.param(["2.jsonl", "10.jsonl", "1.jsonl"], ["1.jsonl", "2.jsonl", "10.jsonl"], id="in order of numbers"),
        pytest.param(["a.jsonl", "metrics.jsonl", "notes.txt", "config.json"], ["a.jsonl"], id="others beside"),
        pytest.param(["completions/completions_00001.parquet", "x.jsonl"], ["completions/completions_00001.parquet"],
                     id="TRL's output folder"),
        pytest.param(["step_1/train/all/traces.jsonl", "step_1/train/effective/traces.jsonl",
                      "step_1/eval/effective/traces.jsonl"],
                     ["step_1/eval/effective/traces.jsonl", "step_1/train/all/traces.jsonl"], id="every rollout once"),
        pytest.param(["results.jsonl", "metadata.json"], ["results.jsonl"], id="verifiers"),
        pytest.param(["log.json", "package.json"], ["log.json"], id="a log among other JSON"),
        pytest.param(["a.table.json"], ["a.table.json"], id="a table"),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, there: list[str], read: list[str]) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(LOG if name == "log.json" else "{}")
    assert [str(path.relative_to(tmp_path)) for path in files_of(tmp_path)] == read


@pytest.mark.parametrize("there", [[], ["package.json"], ["notes.txt"], ["deep/er/a.jsonl"]])
def test_nothing_there(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(NoRolloutsError, match="holds no"):
        files_of(tmp_path)


@pytest.mark.parametrize(
    ("line", "name", "format"),
    [
        pytest.param('{"input": "", "output": "", "score": 1}', "120.jsonl", "verl", id="the step in the name alone"),
        pytest.param('{"input": "", "output": "", "score": 1}', "a.jsonl", "jsonl", id="no step"),
        pytest.param('{"input": "", "output": ""}', "a.jsonl", "openrlhf", id="nothing but a pair"),
        pytest.param('{"input": "", "output": "", "id": 1}', "a.jsonl", "jsonl", id="one column more"),
        pytest.param('{"prompt": "", "completion": "", "reward": 1}', "a.jsonl", "jsonl", id="plain"),
        pytest.param("", "a.jsonl", "jsonl", id="empty"),
    ],
)
def test_formats(tmp_path: Path, line: str, name: str, format: str) -> None:
    (tmp_path / name).write_text(line)
    assert guess([tmp_path / name]) == format
