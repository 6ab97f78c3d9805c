"""Transitions between attempts and the figures of a set of rollouts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from r1rl.aha.detect.attempts import Attempt
from r1rl.aha.detect.transitions import FIGURES, by_prompt, measure, summarise, transitions


def attempt(value: str | None, *, target: str = "22", repeats: bool = False) -> Attempt:
    return Attempt(0, 1, "x", "1 + 1", value, value, True, value == target, repeats)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([attempt("7")], [], id="one"),
        pytest.param([attempt("7"), attempt("22")], ["wrong_right"], id="corrected"),
        pytest.param([attempt("7"), attempt("8"), attempt("8")], ["wrong_different", "wrong_same"], id="wrong"),
        pytest.param([attempt("22"), attempt("22"), attempt("7")], ["right_right", "right_wrong"], id="given up"),
        pytest.param([attempt("7"), attempt("7", repeats=True), attempt("22")], ["wrong_right"], id="repeat left out"),
        pytest.param([attempt("22"), attempt("22", repeats=True)], [], id="conclusion is no transition"),
        pytest.param([attempt(None), attempt("7")], ["wrong_different"], id="division by zero"),
    ],
)
def test_transitions(attempts: list[Attempt], expected: list[str]) -> None:
    assert transitions(attempts) == expected


RIGHT = "3 * 5 = 15 , 15 + 7 = 22 target 22 got 22 yes"
MISS = "3 + 5 = 8 , 8 + 7 = 15 target 22 got 15 no"
OTHER = "3 * 7 = 21 , 21 - 5 = 16 target 22 got 16 no"


def row(*reasoning: str, answer: str = "( 3 * 5 ) + 7", **changes: Any) -> dict[str, Any]:
    return {
        "prompt_id": "a",
        "completion": f"<think> {' , wait , '.join(reasoning)} </think> <answer> {answer} </answer>",
        "prefill": "",
        "gold": "22",
        "meta": json.dumps({"numbers": [3, 5, 7]}),
        "task": "countdown",
        "n_tokens": 50,
        **changes,
    }


def test_summary_by_hand() -> None:
    rows = [row(RIGHT), row(MISS), row(MISS, RIGHT), row(MISS, OTHER, RIGHT), row(RIGHT, OTHER), row("no idea")]
    assert summarise(rows) == {
        "aha/marker_rate": pytest.approx(3 / 6),
        "aha/marker_per_1k_tokens": pytest.approx(4 / 300 * 1000),
        "aha/attempts_per_rollout": pytest.approx((1 + 1 + 2 + 3 + 2 + 0) / 6),
        "aha/retry_after_miss": pytest.approx(2 / 3),
        "aha/wrong_to_right": pytest.approx(2 / 6),
        "aha/right_to_wrong": pytest.approx(1 / 6),
        "aha/first_attempt_accuracy": pytest.approx(2 / 5),
    }


def test_nothing_to_divide_by_is_none() -> None:
    assert set(summarise([]).values()) == {None}
    only_right = summarise([row(RIGHT)])
    assert only_right["aha/retry_after_miss"] is None
    assert only_right["aha/first_attempt_accuracy"] == 1.0


def test_a_task_without_attempts_has_markers_only() -> None:
    summary = summarise([row(MISS, RIGHT, task="file", verifier="math")])
    assert {name for name, value in summary.items() if value is not None} == {
        "aha/marker_rate",
        "aha/marker_per_1k_tokens",
    }


def test_the_verifier_column_wins_over_the_task() -> None:
    assert measure(row(MISS, RIGHT, task="my-countdown", verifier="countdown")).attempts == 2
    assert measure(row(MISS, RIGHT, task="countdown", verifier="math")).attempts is None


@pytest.mark.parametrize(
    ("reasoning", "markers"),
    [
        pytest.param("<think> wait, </think> wait, <answer> wait, </answer>", 1, id="reasoning only"),
        pytest.param("wait, <answer> wait, </answer>", 1, id="no think tags"),
        pytest.param("<wait> wait, wait, </wait>", 2, id="tags do not count"),
    ],
)
def test_markers_are_counted_in_the_reasoning(reasoning: str, markers: int) -> None:
    assert measure(row(completion=reasoning)).markers == markers


def test_a_repeated_attempt_is_no_retry() -> None:
    concluded = row(f"{MISS} so the answer is 7 + (5 + 3)")
    assert measure(concluded).attempts == 1
    assert summarise([concluded])["aha/retry_after_miss"] == 0.0


@pytest.mark.parametrize(
    "meta", ["", "{", "[]", "null", "[" * 100_000, None, 3, '{"numbers": "3 5 7"}', '{"numbers": [3, null]}']
)
def test_broken_meta_means_no_attempts(meta: Any) -> None:
    assert measure(row(RIGHT, meta=meta)).attempts == 0


def test_by_prompt_adds_up_to_the_summary() -> None:
    rows = [row(RIGHT), row(MISS), row(MISS, RIGHT, prompt_id="b"), row(MISS, OTHER, prompt_id="b")]
    samples = by_prompt(rows, list(FIGURES))
    assert samples["retry_after_miss"] == {"a": (0, 1), "b": (2, 2)}
    assert samples["wrong_to_right"] == {"a": (0, 2), "b": (1, 2)}
    summary = summarise(rows)
    for name, sample in samples.items():
        above, below = (sum(counts[i] for counts in sample.values()) for i in (0, 1))
        assert summary[f"aha/{name}"] == pytest.approx(above / below)


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="figure='luck': need one of marker_rate"):
        by_prompt([], ["luck"])
