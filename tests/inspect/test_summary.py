from __future__ import annotations

import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl import inspect
from r1rl.aha.validate import validation
from r1rl.inspect.run_data import load
from r1rl.inspect.summary import SHOWN, summarise
from r1rl.store.store import write_shard

KEYS = [
    "run", "task", "model", "seed", "steps", "rollouts", "wall_seconds", "first_step", "last_step",
    "heldout_prompts", "kind", "greedy", "reward", "figures", "emerged", "conclusion", "warnings",
    "outcomes", "detectors", "not_measured",
]  # fmt: skip


def figure_of(run: Path, key: str) -> dict[str, Any]:
    """A figure of the run's summary."""
    found: dict[str, Any] = summarise(run)["figures"][key]
    return found


def last(run: Path, key: str) -> float | None:
    """Its value at the last step."""
    value: float | None = figure_of(run, key)["last"]["value"]
    return value


def test_the_keys_are_stable(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert list(summary) == KEYS
    assert list(summary["figures"]) == ["accuracy_greedy", *SHOWN]
    for figure in summary["figures"].values():
        assert {"label", "definition", "unit", "first", "last", "change", "p_adjusted", "series"} <= set(figure)
    assert list(summary["reward"]) == ["first", "last"]
    for end in ("first", "last"):
        shares = summary["outcomes"][end]
        assert sum(shares.values()) == pytest.approx(1)
        judged = 1 - shares["bad_gold"]
        assert shares["correct"] / judged == pytest.approx(summary["figures"]["accuracy"][end]["value"])


@pytest.mark.parametrize(
    ("held_out", "training", "told"),
    [
        pytest.param(
            3, 0.0, ["12 % of held-out rollouts at step 20 (0 % at step 0)", "0 % of training"], id="held out"
        ),
        pytest.param(0, 0.05, ["0 % of held-out rollouts", "5.0 % of training rollouts at step 20"], id="training"),
        pytest.param(1, 0.0499, [], id="below 5 % in both"),
        pytest.param(2, None, ["8.3 % of held-out rollouts at step 20 (0 % at step 0). "], id="training not logged"),
    ],
)
def test_many_rollouts_that_were_cut_are_told_in_words(
    run_dir: Path,
    make_sampled: Callable[[int], list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    held_out: int,
    training: float | None,
    told: list[str],
) -> None:
    rows = make_sampled(20)
    for row in rows[:held_out]:
        row["finish_reason"] = "length"
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    (run_dir / "metrics.jsonl").write_text(json.dumps({"step": 20, "completions/clipped_ratio": training}))
    sentence = " ".join(summarise(run_dir)["warnings"])
    assert bool(sentence) == bool(told)
    assert [part for part in told if part not in sentence] == []
    inspect.run(run_dir, console=Console(width=400))
    page = html.unescape((run_dir / "report.html").read_text())
    for shown in (capsys.readouterr().out, page):
        assert sentence in shown
        assert ("Cut at the length cap of 160 tokens: " in shown.split('id="summary"')[0]) == bool(told)


def test_the_detectors_that_figures_rest_on_are_scored(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = summarise(run_dir)["detectors"]
    assert list(scored) == ["attempts", "transitions", "markers: strict"]
    for detector, score in scored.items():
        assert score == validation.shipped_score(detector)
        assert score["precision_ci"][0] <= score["precision"] <= score["precision_ci"][1]
    monkeypatch.setattr(validation, "stored", lambda: {"detector_version": None, "scores": []})
    assert set(summarise(run_dir)["detectors"].values()) == {None}, "figures of other detectors are none of these"


def test_facts(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert {key: summary[key] for key in KEYS[: KEYS.index("reward")]} == {
        "run": "toy", "task": "countdown", "model": "r1rl/tiny", "seed": 3, "steps": 20, "rollouts": 80,
        "wall_seconds": 61.5, "first_step": 0, "last_step": 20, "heldout_prompts": 12,
        "kind": "eval", "greedy": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        # Counted by hand in conftest's PATHS: W R, W W, W WW, R WR before; WR R, WR W, WR R, R WWR after.
        ("accuracy", 3 / 8, 7 / 8),
        ("accuracy_greedy", 1 / 4, 3 / 4),
        ("retry_after_miss", 2 / 6, 4 / 5),
        ("wrong_to_right", 1 / 8, 4 / 8),
        ("marker_strict_rate", 2 / 8, 4 / 8),
        ("first_accuracy", 2 / 8, 3 / 8),
        ("right_to_wrong", 0.0, 0.0),
        # An attempt with its check is 16 words, each retry 3 more, tags and answer 11.
        ("tokens", (8 * 27 + 2 * 19) / 8, (8 * 27 + 5 * 19) / 8),
        ("marker_strict_per_1k", 1000 * 2 / (8 * 27 + 2 * 19), 1000 * 5 / (8 * 27 + 5 * 19)),
    ],
)
def test_figures_are_those_counted_by_hand(run_dir: Path, key: str, first: float, last: float) -> None:
    figure = figure_of(run_dir, key)
    assert figure["first"]["value"] == pytest.approx(first)
    assert figure["last"]["value"] == pytest.approx(last)
    assert figure["change"]["value"] == pytest.approx(last - first)
    assert figure["change"]["low"] <= figure["change"]["value"] <= figure["change"]["high"]


def test_reward_is_the_mean_of_the_judged_rollouts_of_a_step(run_dir: Path) -> None:
    assert summarise(run_dir)["reward"] == {"first": 0.0, "last": pytest.approx(19 / 20)}


def test_the_same_prompts_on_both_sides_make_an_unchanged_policy_exactly_zero(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows = [row | {"policy_step": 20} for row in make_sampled(0)]
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    assert figure_of(run_dir, "accuracy")["change"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_an_unusable_gold_counts_neither_way(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows = make_sampled(20)
    rows[3] |= {"verdict": "bad_gold", "reward": None}  # one W of the 24
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    assert last(run_dir, "accuracy") == pytest.approx(21 / 23)


@pytest.mark.parametrize("verdict", ["unparseable", "timeout"])
def test_an_answer_without_verdict_is_a_miss(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]], verdict: str
) -> None:
    rows = make_sampled(20)
    rows[0]["verdict"] = verdict
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    assert last(run_dir, "accuracy") == pytest.approx(20 / 24)


def test_a_task_without_attempt_detector_has_no_attempt_figures(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]]
) -> None:
    for step in (0, 10, 20):
        rows = [row | {"task": "file", "verifier": "code", "meta": "{}"} for row in make_sampled(step)]
        write_shard(run_dir, rows, kind="eval", step=step, rank=0)
    assert last(run_dir, "retry_after_miss") is last(run_dir, "wrong_to_right") is None
    assert last(run_dir, "accuracy") == pytest.approx(7 / 8)
    assert "Not measured: this task has no attempt detector" in " ".join(summarise(run_dir)["conclusion"])


def test_without_greedy_rollouts_only_the_greedy_figure_is_missing(run_dir: Path) -> None:
    for shard in (run_dir / "rollouts").glob("eval-*-0009.parquet"):
        shard.unlink()
    assert list(summarise(run_dir)["figures"]) == list(SHOWN)
    assert last(run_dir, "accuracy") == pytest.approx(7 / 8)


def test_without_sampled_rollouts_the_greedy_ones_are_measured(run_dir: Path) -> None:
    for shard in (run_dir / "rollouts").glob("eval-*-0000.parquet"):
        shard.unlink()
    summary = summarise(run_dir)
    assert (summary["greedy"], list(summary["figures"])) == (True, list(SHOWN))
    assert last(run_dir, "accuracy") == pytest.approx(3 / 4)
    assert last(run_dir, "wrong_to_right") == pytest.approx(1 / 4)


def test_a_killed_run_is_counted_from_what_it_left(run_dir: Path) -> None:
    (run_dir / "result.json").unlink()
    for shard in (run_dir / "rollouts").glob("*-000020-*"):
        shard.unlink()
    summary = summarise(run_dir)
    assert (summary["steps"], summary["last_step"]) == (20, 10)
    assert summary["wall_seconds"] == 19.0  # first to last training rollout


def test_a_run_at_its_first_evaluation_is_not_compared(run_dir: Path) -> None:
    for step in (10, 20):
        for shard in (run_dir / "rollouts").glob(f"*-{step:06d}-*"):
            shard.unlink()
    summary = summarise(run_dir)
    assert (summary["first_step"], summary["last_step"]) == (0, 0)
    assert summary["figures"]["accuracy"]["change"]["value"] is None
    assert "nothing to compare it with yet" in summary["conclusion"][1]


def test_a_level_has_an_interval_at_every_evaluation(run_dir: Path) -> None:
    measured = load(run_dir).measured
    points = measured.rows["accuracy"].series
    assert measured.steps == (0, 10, 20)
    assert [p.value for p in points] == [3 / 8, 5 / 8, 7 / 8]
    for point in points:
        assert point.low is not None
        assert point.high is not None
        assert 0 <= point.low <= (point.value or 0) <= point.high <= 1


def test_the_summary_is_json(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_inspecting_needs_no_torch() -> None:
    code = "import sys, r1rl.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300, check=False).returncode == 0
