"""The command `r1rl aha` on a run that is really there, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from r1rl import cli
from r1rl.store import store
from tests.aha.annotated_runs import rollout

RETRIED = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
FIRST = "<think> 1 + 2 = 3 , 3 - 3 = 0 no </think> <answer> 1 + 2 - 3 </answer>"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "it's a run"
    for step, share in ((0, 0.0), (10, 0.75), (20, 0.75)):
        rows = [
            rollout(f"p{prompt}", sample, completion=RETRIED if sample < 4 * share else FIRST)
            for prompt in range(20)
            for sample in range(4)
        ]
        store.write_shard(run, rows, kind="eval", step=step, rank=0)
    return run


def test_the_table_and_the_conclusion(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aha", str(run_dir), "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    for text in ("step 0", "step 20", "retried after a miss", "detector P / R", "Self-correction emerged: 0 % → 75 %"):
        assert text in shown


def test_every_figure_comes_from_the_sql_it_prints(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aha", str(run_dir), "--json", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["emerged"] is True
    assert cli.main(["aha", str(run_dir), "--sql", "--workers", "1"]) == 0
    statements = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("--")]
    with duckdb.connect() as database:
        checked = 0
        for line in statements:
            answer = database.execute(line)
            if line.startswith("SELECT"):
                assert answer.description is not None
                key = answer.description[1][0]
                values = [value for _, value in answer.fetchall()]
                assert told["figures"][key]["series"] == pytest.approx(values, nan_ok=True), key
                checked += 1
    assert checked == len(told["figures"]) > 40


def test_one_figure(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aha", str(run_dir), "--figure", "retried", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "retried" in shown
    assert "markers" not in shown
    assert cli.main(["aha", str(run_dir), "--figure", "retried", "--sql", "--workers", "1"]) == 0
    assert sum(line.startswith("SELECT") for line in capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "match"),
    [
        pytest.param(["--figure", "retrid"], "figure='retrid'.*did you mean 'retried'", id="unknown figure"),
        pytest.param(["--lexicon", "mine"], "lexicon='mine': need one of strict", id="unknown lexicon"),
        pytest.param(["--kind", "train"], "no annotated train rollouts", id="nothing of that kind"),
        pytest.param(["--greedy"], "no held-out rollouts, greedy; leave --greedy out", id="none greedy"),
        pytest.param(["--greedy", "--kind", "train"], "leave one of the two out", id="greedy training"),
        pytest.param(["--workers", "0"], "workers=0: need at least 1", id="no workers"),
    ],
)
def test_errors_are_one_line_and_code_2(
    run_dir: Path, words: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert cli.main(["aha", str(run_dir), *words]) == 2
    captured = capsys.readouterr()
    assert re.search(match, captured.err)
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
