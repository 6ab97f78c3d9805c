"""`python -m benchmarks.gpu_check`: its parts, what becomes of one that fails, its tables, a machine without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import PARTS, Row, Setting

ROW = Row("a|b", seconds=1.234, tokens=12345.6, peak=0.5, result="held-out 20.0%")
FAILED = Row("broken", result="failed: RuntimeError: no", failed=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the miniature model is."""
    made = tmp_path_factory.mktemp("gpu")
    assert gpu_check.run_part("model", made, True, 120) == []
    return made


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("part", "checks"),
    [
        pytest.param("tiny recipe", 1, id="the shipped base", marks=pytest.mark.long),
        pytest.param("gradient fp32", 1, id="gradients"),
        pytest.param("sampling", 2, id="both engines", marks=pytest.mark.long),
        pytest.param("embedded, LoRA, checkpointing on", 1, id="adapters under checkpointing", marks=pytest.mark.long),
    ],
)
def test_a_part_runs_in_miniature(folder: Path, part: str, checks: int) -> None:
    rows = gpu_check.run_part(part, folder, True, 120)
    assert [row.failed for row in rows] == [False] * checks, rows
    figures = asdict(rows[0])
    if part.startswith("embedded"):
        assert all(figures[name] > 0 for name in ("seconds", "tokens", "peak", "planned", "gap"))
    if part.startswith("gradient"):
        assert float(figures["result"].split()[2].rstrip(",")) < 1e-5
    if part == "sampling":
        assert all(row.tokens for row in rows)


def test_the_model_has_the_published_shape() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**gpu_check.QWEN))
    assert sum(p.numel() for p in model.parameters()) == 494_032_768  # as its card says, 0.49B


def test_a_part_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(setting: Setting) -> list[Row]:
        raise RuntimeError("no kernel in /some/place/with/names/file.py\nand much more")

    monkeypatch.setitem(PARTS, "sampling", (1, broken))
    gpu_check.answer_part("sampling", Setting(tmp_path, True))
    assert json.loads((tmp_path / "answer.json").read_text()) == [
        asdict(Row("sampling", result="failed: RuntimeError: no kernel in file.py", failed=True))
    ]


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        pytest.param("import time; time.sleep(60)", 0.5, "failed: no result within 0 s", id="too slow"),
        pytest.param("import os; os._exit(9)", 300, "failed: exit code 9", id="killed"),
    ],
)
def test_a_process_that_gives_no_rows_is_a_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, seconds: float, message: str
) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda words, **given: start([sys.executable, "-c", code], **given))
    (tmp_path / "answer.json").write_text(json.dumps([asdict(ROW)]))  # of the part before
    assert gpu_check.run_part("vLLM", tmp_path, True, seconds) == [Row("vLLM", result=message, failed=True)]


def test_one_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_part(part: str, folder: Path, tiny: bool, seconds: float) -> list[Row]:
        return [] if part == "model" else [FAILED if part == "sampling" else replace(ROW, check=part)]

    monkeypatch.setattr(gpu_check, "run_part", run_part)
    rows = list(gpu_check.measure(True, ["sampling", "vLLM"]))
    assert [(row.check, row.failed) for row in rows] == [("broken", True), ("vLLM", False)]
    late = list(gpu_check.measure(True, ["sampling", "vLLM"], seconds=1))
    assert [row.result for row in late] == ["not run: 1 s were over"] * 2


@pytest.mark.parametrize(("rows", "code"), [([ROW], 0), ([ROW, FAILED], 1)], ids=["all well", "one failed"])
def test_the_table_and_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Row], code: int
) -> None:
    monkeypatch.setattr(gpu_check, "measure", lambda tiny, names: iter(rows))
    out = tmp_path / "rows.json"
    assert gpu_check.main(["--tiny", "--out", str(out)]) == code
    shown = capsys.readouterr().out
    assert all(text in shown for row in rows for text in (row.check, row.result))
    kept = json.loads(out.read_text())
    assert kept["dry_run"]
    assert set(kept) == {"device", "dry_run", "versions", "rows"}  # no dates
    assert gpu_check.main(["--markdown", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Dry run" in lines[0]
    assert f"torch {torch.__version__}" in lines[0]
    assert lines[2:5] == [
        f"| {' | '.join(gpu_check.HEADS)} |",
        "|---|--:|--:|--:|--:|--:|---|",
        r"| a\|b | 1.23 | 12,346 | 0.5 |  |  | held-out 20.0% |",
    ]
    assert len(lines) == 4 + len(rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "error: no GPU is visible to torch; --tiny runs", id="no GPU"),
        pytest.param(["--markdown", "nowhere.json"], "error: markdown='nowhere.json': not what --out", id="no file"),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.setattr(gpu_check.machine, "visible_gpus", lambda: 0)
    assert gpu_check.main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1


def test_differences_are_relative_and_leave_tiny_gradients_out() -> None:
    theirs = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1e-6])}
    whole, largest = gpu_check.differences({"a": torch.tensor([3.0, 4.5]), "b": torch.tensor([-1e-6])}, theirs)
    assert (whole, largest) == (pytest.approx(0.1), pytest.approx(0.1))
    with pytest.raises(ValueError, match="other parameters have gradients"):
        gpu_check.differences({"a": theirs["a"]}, theirs)
    with pytest.raises(ValueError, match="no gradient"):
        gpu_check.differences({"a": torch.zeros(1)}, {"a": torch.zeros(1)})
