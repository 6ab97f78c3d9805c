"""The command `r1rl probe` on a run that was really trained, with its own checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1rl import cli, train
from r1rl.aha import checkpoints, counterfactual_store

TINY = Path(__file__).resolve().parent.parent.parent / "recipes" / "tiny" / "countdown.yaml"


@pytest.fixture
def run_dir(small_run: list[str]) -> Path:
    words = ["--config", str(TINY), *small_run, "--name", "run", "--max_steps", "2", "--save_steps", "1"]
    assert train.main(words) == 0
    return Path(small_run[small_run.index("--runs_dir") + 1]) / "run"


def test_a_probe_of_both_ends_of_a_run(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(checkpoints.kept(run_dir)) == [0, 2]
    words = ["probe", str(run_dir), "--points", "4", "--samples", "1", "--lexicon", "simplerl", "--json"]
    capsys.readouterr()
    assert cli.main(words) in (0, 2)  # a base without skills may have written neither marker nor claim
    first = capsys.readouterr()
    assert "Traceback" not in first.err
    found = [json.loads(line) for line in first.out.splitlines()]
    assert all(one["run"] == "run" for one in found)
    assert [one["step"] for one in found] == [0, 2][: len(found)]
    if found:
        # A second time nothing is sampled.
        monkeypatch.setattr(counterfactual_store, "load", None)
        assert cli.main(["probe", str(run_dir), *words[2:], "--steps", "0"]) == 0
        assert json.loads(capsys.readouterr().out) == found[0]


def test_errors_are_one_line_and_code_2(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--steps", "1"], "steps=1: no kept policy with probe rollouts; this run has 0, 2"),
        (["--points", "0"], "points=0: need >= 1"),
        (["--lexicon", "mine"], "lexicon='mine'"),
    ):
        capsys.readouterr()
        assert cli.main(["probe", str(run_dir), *words]) == 2
        assert message in capsys.readouterr().err
