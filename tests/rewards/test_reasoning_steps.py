"""Visible steps, counted."""

import time

import pytest

import rewards


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("Just prose, and some more.", 0, id="prose"),
        pytest.param("Step 1: a", 1, id="step"),
        pytest.param("Step 1: a Step 2: b", 2, id="steps on one line"),
        pytest.param("step 1: a", 0, id="lower case, as in open-r1"),
        pytest.param("1. a", 1, id="numbered item"),
        pytest.param("1. a\n2. b\n3. c", 3, id="numbered items: open-r1 sees the first alone"),
        pytest.param("1) a\n2) b", 2, id="numbered with brackets"),
        pytest.param("1.5 is a number\n2.5 too", 0, id="decimals: open-r1 counts the first"),
        pytest.param("2024. It was late", 0, id="a year"),
        pytest.param("- a\n- b", 2, id="hyphens"),
        pytest.param("* a\n\u2022 b", 2, id="other bullets"),
        pytest.param("  - a", 1, id="indented"),
        pytest.param("-5 is negative\n-3 too", 0, id="negative numbers: open-r1 counts the second"),
        pytest.param("**bold**", 0, id="bold"),
        pytest.param("First, a. Second, b. Next, c. Finally, d.", 4, id="transition words"),
        pytest.param("First a", 0, id="a transition word without its comma"),
        pytest.param("1. First, a", 2, id="an item that begins with one counts twice, as in open-r1"),
    ],
)
def test_what_counts_as_a_step(text, steps):
    assert rewards.get("reasoning-steps", wanted=100)([text]) == [steps / 100]


@pytest.mark.parametrize(("steps", "value"), [(0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0), (4, 1.0), (1000, 1.0)])
def test_three_are_enough(steps, value):
    assert rewards.get("reasoning-steps")(["\n".join("1. a" for _ in range(steps))]) == [pytest.approx(value)]


@pytest.mark.parametrize("wanted", [0, -1, 1.5, True, "three"])
def test_wanted_is_checked(wanted):
    with pytest.raises(ValueError, match=r"wanted=.*: (need|expected) a whole number"):
        rewards.get("reasoning-steps", wanted=wanted)


def test_megabytes_are_counted_at_once():
    started = time.monotonic()
    for text in ("Step " * 300_000, "\n" * 2_000_000, "1" * 2_000_000, "\n- " * 500_000, " " * 2_000_000):
        rewards.get("reasoning-steps")([text])
    assert time.monotonic() - started < 5.0
