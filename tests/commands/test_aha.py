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

RIGHT = {"completion": RETRIED, "verdict": "correct"}
WRONG = {"completion": FIRST, "verdict": "wrong"}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "it's a run"
    for step, share in ((0, 0.0), (10, 0.75), (20, 0.75)):
        rows = [
            rollout(f"p{prompt}", sample, **(RIGHT if sample < 4 * share else WRONG))
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
                known = told["figures"].get(key) or told["decomposition"]["factors"][key]
                assert known["series"] == pytest.approx(values, nan_ok=True), key
                checked += 1
    assert checked == len(told["figures"]) + len(told["decomposition"]["factors"]) > 40


def test_where_the_gain_comes_from_adds_up(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aha", str(run_dir), "--json", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)["decomposition"]
    assert told["steps"] == [0, 10, 20]
    for i, total in enumerate(told["total"]):
        assert sum(part["series"][i]["value"] for part in told["parts"].values()) == pytest.approx(total["value"])
    assert told["total"][-1]["value"] == pytest.approx(told["parts"]["decision"]["series"][-1]["value"]) == 0.75


def test_the_main_measures_are_shown_and_all_on_demand(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in ([], ["--measures"], ["--figure", "distinct_answers"]):
        assert cli.main(["aha", str(run_dir), "--workers", "1", *words]) == 0
        shown.append(capsys.readouterr().out)
    for text, where in (
        ("misses are retried", (True, True, False)),
        ("reasoning after first candidate", (True, True, False)),
        ("rechecks: harmful", (False, True, False)),
        ("distinct answers", (False, True, True)),
        ("arithmetic slips", (True, True, False)),
    ):
        assert tuple(text in one for one in shown) == where, text


def test_rollouts_that_nobody_judged_have_measures_of_text_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        rollout(f"p{prompt}", sample, completion=RETRIED, verdict=None) for prompt in range(12) for sample in range(2)
    ]
    for step in (0, 10):
        store.write_shard(tmp_path / "run", rows, kind="eval", step=step, rank=0)
    assert cli.main(["aha", str(tmp_path / "run"), "--json", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["decomposition"] is None
    measures = {key: one["last"]["value"] for m in told["measures"].values() for key, one in m["figures"].items()}
    assert {key for key, value in measures.items() if value is None} == {
        "surprise_before", "surprise_elsewhere", "surprise_of_marker", "effective_in_doubt", "effective_otherwise",
        "support_kept", "support_kept_by_chance", "support_new", "support_new_by_chance", "support_change",
        "token_surprise", "rethink_effective", "rethink_confirmatory", "rethink_harmful", "rethink_idle",
    }  # fmt: skip
    assert measures["rechecks"] == 2


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


FOREIGN = Path(__file__).parents[1] / "store" / "importers" / "files"


def test_what_another_trainer_wrote_goes_through_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """verl's own dump of training rollouts: one of its two problems is Countdown, of which half the samples retry."""
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "theirs"
    assert cli.main(["aha", str(FOREIGN / "verl" / "train"), "--out", str(run), "--json", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["decomposition"] is None  # training rollouts: the problems change with the step
    figures = {key: one for measure in told["measures"].values() for key, one in measure["figures"].items()}
    assert figures["rechecks"]["last"]["value"] == 0.5  # "not 22" and "too high", of four rollouts
    assert figures["recheck_effective"]["last"]["value"] == 0.5
    assert figures["distinct_answers"]["last"]["value"] == 2
    assert figures["surprise_before"]["last"]["value"] is None
    assert cli.main(["inspect", str(run)]) == 0
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "<!doctype html>" in report
    assert "wrong → right" in report
