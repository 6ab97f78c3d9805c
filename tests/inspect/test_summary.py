from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from r1rl.aha.detect import transitions
from r1rl.aha.validate import validation
from r1rl.inspect.run_data import load
from r1rl.inspect.summary import FIGURES, series, summarise
from r1rl.store.store import write_shard

KEYS = [
    "run", "task", "model", "seed", "steps", "rollouts", "wall_seconds", "first_step", "last_step",
    "heldout_prompts", "reward", "heldout_accuracy_greedy", "heldout_accuracy_sampled", "mean_length",
    "marker_rate", "marker_per_1k_tokens", "first_attempt_accuracy", "retry_after_miss", "wrong_to_right",
    "right_to_wrong", "outcomes", "detectors",
]  # fmt: skip
NOTHING = {"first": None, "last": None, "diff": None, "ci_low": None, "ci_high": None}


def test_the_keys_are_stable(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert list(summary) == KEYS
    assert [figure.key for figure in FIGURES] == KEYS[KEYS.index("reward") + 1 : KEYS.index("outcomes")]
    for figure in FIGURES:
        assert list(summary[figure.key]) == list(NOTHING)
    assert list(summary["reward"]) == ["first", "last"]
    for end in ("first", "last"):
        shares = summary["outcomes"][end]
        assert sum(shares.values()) == pytest.approx(1)
        judged = 1 - shares["bad_gold"]
        assert shares["correct"] / judged == pytest.approx(summary["heldout_accuracy_sampled"][end])


def test_the_detectors_that_figures_rest_on_are_scored(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = summarise(run_dir)["detectors"]
    assert list(scored) == ["markers: strict", "attempts", "transitions"]
    for detector, score in scored.items():
        assert score == validation.shipped_score(detector)
        assert score["precision_ci"][0] <= score["precision"] <= score["precision_ci"][1]
    monkeypatch.setattr(validation, "stored", lambda: {"detector_version": None, "scores": []})
    assert set(summarise(run_dir)["detectors"].values()) == {None}, "figures of other detectors are none of these"


def test_facts(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert {key: summary[key] for key in KEYS[: KEYS.index("reward")]} == {
        "run": "toy", "task": "countdown", "model": "r1rl/tiny", "seed": 3, "steps": 20, "rollouts": 80,
        "wall_seconds": 61.5, "first_step": 0, "last_step": 20, "heldout_prompts": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        # Counted by hand in conftest's PATHS: W R, W W, W WW, R WR before; WR R, WR W, WR R, R WWR after.
        ("heldout_accuracy_sampled", 3 / 8, 7 / 8),
        ("heldout_accuracy_greedy", 1 / 4, 3 / 4),
        ("retry_after_miss", 2 / 6, 4 / 5),
        ("wrong_to_right", 1 / 8, 4 / 8),
        ("marker_rate", 2 / 8, 4 / 8),
        ("first_attempt_accuracy", 2 / 8, 3 / 8),
        ("right_to_wrong", 0.0, 0.0),
        # An attempt with its check is 16 words, each retry 3 more, tags and answer 11.
        ("mean_length", (8 * 27 + 2 * 19) / 8, (8 * 27 + 5 * 19) / 8),
        ("marker_per_1k_tokens", 1000 * 2 / (8 * 27 + 2 * 19), 1000 * 5 / (8 * 27 + 5 * 19)),
    ],
)
def test_figures_are_those_counted_by_hand(run_dir: Path, key: str, first: float, last: float) -> None:
    figure = summarise(run_dir)[key]
    assert figure["first"] == pytest.approx(first)
    assert figure["last"] == pytest.approx(last)
    assert figure["diff"] == pytest.approx(last - first)
    assert figure["ci_low"] <= figure["diff"] <= figure["ci_high"]


def test_the_sampled_figures_agree_with_those_logged_in_training(
    run_dir: Path, make_probe: Callable[[int], list[dict[str, Any]]]
) -> None:
    summary = summarise(run_dir)
    for end, step in (("first", 0), ("last", 20)):
        logged = transitions.summarise(make_probe(step))
        for key in ("retry_after_miss", "wrong_to_right", "marker_rate", "marker_per_1k_tokens"):
            assert logged[f"aha/{key}"] == pytest.approx(summary[key][end])


def test_reward_is_the_mean_of_the_judged_rollouts_of_a_step(run_dir: Path) -> None:
    assert summarise(run_dir)["reward"] == {"first": 0.0, "last": pytest.approx(19 / 20)}


def test_the_same_prompts_on_both_sides_make_an_unchanged_policy_exactly_zero(
    run_dir: Path, make_probe: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows = [row | {"policy_step": 20} for row in make_probe(0)]
    write_shard(run_dir, rows, kind="probe", step=20, rank=0)
    figure = summarise(run_dir)["heldout_accuracy_sampled"]
    assert (figure["diff"], figure["ci_low"], figure["ci_high"]) == (0.0, 0.0, 0.0)


def test_an_unusable_gold_counts_neither_way(run_dir: Path, make_probe: Callable[[int], list[dict[str, Any]]]) -> None:
    rows = make_probe(20)
    rows[3] |= {"verdict": "bad_gold", "reward": None}  # one W of the eight
    write_shard(run_dir, rows, kind="probe", step=20, rank=0)
    assert summarise(run_dir)["heldout_accuracy_sampled"]["last"] == pytest.approx(7 / 7)


@pytest.mark.parametrize("verdict", ["unparseable", "timeout"])
def test_an_answer_without_verdict_is_a_miss(
    run_dir: Path, make_probe: Callable[[int], list[dict[str, Any]]], verdict: str
) -> None:
    rows = make_probe(20)
    rows[0]["verdict"] = verdict
    write_shard(run_dir, rows, kind="probe", step=20, rank=0)
    assert summarise(run_dir)["heldout_accuracy_sampled"]["last"] == pytest.approx(6 / 8)


def test_a_task_without_attempt_detector_has_no_attempt_figures(
    run_dir: Path, make_probe: Callable[[int], list[dict[str, Any]]]
) -> None:
    for step in (0, 10, 20):
        rows = [row | {"task": "file", "meta": "{}"} for row in make_probe(step)]
        write_shard(run_dir, rows, kind="probe", step=step, rank=0)
    summary = summarise(run_dir)
    assert summary["retry_after_miss"] == summary["wrong_to_right"] == NOTHING
    assert summary["heldout_accuracy_sampled"]["last"] == pytest.approx(7 / 8)


def test_without_greedy_rollouts_only_the_greedy_figure_is_empty(run_dir: Path) -> None:
    for shard in (run_dir / "rollouts").glob("eval-*"):
        shard.unlink()
    summary = summarise(run_dir)
    assert summary["heldout_accuracy_greedy"] == NOTHING
    assert summary["heldout_accuracy_sampled"]["last"] == pytest.approx(7 / 8)


def test_without_sampled_rollouts_only_the_greedy_figure_is_there(run_dir: Path) -> None:
    for shard in (run_dir / "rollouts").glob("probe-*"):
        shard.unlink()
    summary = summarise(run_dir)
    assert summary["heldout_accuracy_greedy"]["last"] == pytest.approx(3 / 4)
    assert summary["heldout_accuracy_sampled"] == NOTHING
    assert summary["wrong_to_right"] == NOTHING


def test_a_killed_run_is_counted_from_what_it_left(run_dir: Path) -> None:
    (run_dir / "result.json").unlink()
    for shard in (run_dir / "rollouts").glob("*-000020-*"):
        shard.unlink()
    summary = summarise(run_dir)
    assert (summary["steps"], summary["last_step"]) == (20, 10)
    assert summary["wall_seconds"] == 19.0  # first to last training rollout


def test_a_run_at_its_first_probe_has_differences_of_zero(run_dir: Path) -> None:
    for step in (10, 20):
        for shard in (run_dir / "rollouts").glob(f"*-{step:06d}-*"):
            shard.unlink()
    summary = summarise(run_dir)
    assert (summary["first_step"], summary["last_step"]) == (0, 0)
    assert summary["heldout_accuracy_sampled"]["diff"] == 0.0


def test_a_level_has_an_interval_at_every_probe(run_dir: Path) -> None:
    figure = next(f for f in FIGURES if f.key == "heldout_accuracy_sampled")
    points = series(load(run_dir), figure)
    assert [(p.step, p.value) for p in points] == [(0, 3 / 8), (10, 5 / 8), (20, 7 / 8)]
    for point in points:
        assert point.low is not None
        assert point.high is not None
        assert 0 <= point.low <= (point.value or 0) <= point.high <= 1


def test_the_summary_is_json(run_dir: Path) -> None:
    summary = summarise(run_dir)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_inspecting_needs_no_torch() -> None:
    code = "import sys, r1rl.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
