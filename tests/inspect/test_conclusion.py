from __future__ import annotations

from typing import Any

import pytest

from r1rl.inspect.conclusion import conclude, direction, number

UP = {"first": 0.2, "last": 0.6, "diff": 0.4, "ci_low": 0.3, "ci_high": 0.5}
DOWN = {"first": 0.6, "last": 0.2, "diff": -0.4, "ci_low": -0.5, "ci_high": -0.3}
SAME = {"first": 0.2, "last": 0.25, "diff": 0.05, "ci_low": -0.1, "ci_high": 0.2}
ABSENT = {"first": 0.0, "last": 0.0, "diff": 0.0, "ci_low": 0.0, "ci_high": 0.0}
FROM_NOTHING = {"first": 0.0, "last": 0.4, "diff": 0.4, "ci_low": 0.3, "ci_high": 0.5}
RARE = {"first": 0.0, "last": 0.004, "diff": 0.004, "ci_low": 0.0, "ci_high": 0.01}
UNKNOWN = dict.fromkeys(UP)


def summary(**figures: Any) -> dict[str, Any]:
    """Nothing changes but `figures`."""
    keys = ("accuracy_greedy", "accuracy_sampled")
    facts = {"first_step": 0, "last_step": 200, "seed": 1, "heldout_prompts": 100}
    still = dict.fromkeys(
        ("mean_length", "marker_rate", "marker_per_1k_tokens", "retry_after_miss", "wrong_to_right"), SAME
    )
    return facts | {f"heldout_{key}": SAME for key in keys} | still | figures


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"wrong_to_right": FROM_NOTHING, "retry_after_miss": FROM_NOTHING}, "Self-correction emerged"),
        ({"wrong_to_right": UP, "retry_after_miss": UP}, "Self-correction was there at step 0 and rose"),
        ({"wrong_to_right": SAME}, "Self-correction was there at step 0 and shows no clear change"),
        ({"wrong_to_right": DOWN}, "Self-correction was there at step 0 and fell"),
        ({"wrong_to_right": ABSENT}, "Self-correction did not emerge: no held-out rollout went"),
        ({"wrong_to_right": RARE}, "Self-correction did not emerge: wrong → right 0.0 % → 0.4 %"),
        ({"wrong_to_right": UP, "retry_after_miss": DOWN}, "although retrying after a miss became rarer"),
        ({"wrong_to_right": UNKNOWN, "retry_after_miss": UNKNOWN}, "Self-verification: not measured"),
        ({"heldout_accuracy_sampled": UP}, "Held-out accuracy (sampled) rose, 20.0 % → 60.0 %"),
        ({"heldout_accuracy_sampled": DOWN}, "Held-out accuracy (sampled) fell"),
        ({}, "Held-out accuracy (sampled) shows no clear change"),
        (
            {"heldout_accuracy_sampled": UNKNOWN, "heldout_accuracy_greedy": UP},
            "Held-out accuracy (greedy) rose",
        ),
        (
            {"heldout_accuracy_sampled": UNKNOWN, "heldout_accuracy_greedy": UNKNOWN},
            "Held-out accuracy cannot be compared",
        ),
        ({"marker_rate": UP, "wrong_to_right": SAME}, "keywords alone is not self-verification"),
        ({"marker_rate": UP, "wrong_to_right": UNKNOWN}, "keywords alone is not self-verification"),
        (
            {"marker_rate": UP, "wrong_to_right": UP, "mean_length": UP},
            "longer text is likelier to hold a marker",
        ),
        ({"last_step": 0}, "One probe so far"),
    ],
)
def test_what_is_said(figures: dict[str, Any], said: str) -> None:
    assert said in " ".join(conclude(summary(**figures)))


@pytest.mark.parametrize(
    "figures",
    [
        {"marker_rate": UP, "mean_length": UP},
        {"marker_rate": UP, "wrong_to_right": UNKNOWN},
        {"wrong_to_right": ABSENT},
    ],
    ids=["markers and length rise", "markers rise, no attempts", "nothing happens"],
)
def test_emergence_is_never_claimed_without_corrections(figures: dict[str, Any]) -> None:
    text = " ".join(conclude(summary(**figures)))
    assert "emerged" not in text
    assert "and rose" not in text


def test_an_independent_redraw_is_not_ruled_out() -> None:
    assert "independent second draw" in conclude(summary(wrong_to_right=UP))[-1]


@pytest.mark.parametrize(
    ("figure", "way"),
    [(UP, "up"), (DOWN, "down"), (SAME, "unclear"), (ABSENT, "unclear"), (UNKNOWN, None)],
    ids=["above zero", "below zero", "holds zero", "is zero", "nothing to compare"],
)
def test_direction_is_the_interval_s(figure: dict[str, float | None], way: str | None) -> None:
    assert direction(figure) == way


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (0.256, "share", False, "25.6 %"),
        (-0.05, "share", True, "-5.0"),
        (41.26, "tokens", False, "41.3"),
        (3.0, "tokens", True, "+3.0"),
        (None, "share", True, "–"),
    ],
)
def test_numbers_for_readers(value: float | None, unit: str, signed: bool, text: str) -> None:
    assert number(value, unit, signed=signed) == text
