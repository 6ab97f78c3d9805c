"""A text cut into stretches, and the difference of two texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from r1rl.aha.detect.annotation import annotate
from r1rl.inspect.reader.diff import LONGEST, changes
from r1rl.inspect.reader.spans import goal_tests, ribbon, shade, stretches
from r1rl.inspect.run_data import Rollout
from r1rl.store.tokens import Token


def rollout_of(row: dict[str, Any]) -> Rollout:
    return Rollout(row, annotate(row))


def test_stretches_are_the_text_and_say_what_was_found(make_rollout: Callable[..., Any]) -> None:
    rollout = rollout_of(make_rollout("WR"))
    found = list(stretches(rollout))
    text = rollout.row["completion"]
    assert "".join(one.text for one in found) == text
    assert [one.text for one in found if "tag" in one.classes] == ["<think>", "</think>", "<answer>", "</answer>"]
    attempts = [one for one in found if "attempt" in one.classes]
    assert [one.text for one in attempts] == [text[a.start : a.end] for a in rollout.attempts]
    assert [one.marks for one in attempts] == [[("✗", "wrong")], [("✓", "right")]]
    assert "claimed 7; true value 7" in attempts[0].title
    (marker,) = [one for one in found if "marker" in one.classes]
    assert (marker.text, marker.title) == ("wait", "marker: interrupt, effective")
    assert [one["true"] for one in goal_tests(rollout)] == [True, True]
    assert [(one["right"], one["transition"]) for one in ribbon(rollout)] == [(False, ""), (True, "wrong → right")]


def test_a_part_is_a_part_of_the_whole(make_rollout: Callable[..., Any]) -> None:
    rollout = rollout_of(make_rollout("WWWR"))
    text = rollout.row["completion"]
    tokens = [Token(i, i + 3, -float(i % 7)) for i in range(0, len(text) - 3, 3)]
    whole = "".join(one.text for one in stretches(rollout, tokens))
    assert whole == text
    for first, last in [(0, 10), (10, 57), (57, 58), (58, 9_999), (len(text), len(text) + 5)]:
        assert "".join(one.text for one in stretches(rollout, tokens, first=first, last=last)) == text[first:last]


def test_a_hundred_thousand_spans_are_cut_in_one_walk(make_rollout: Callable[..., Any]) -> None:
    rollout = rollout_of(make_rollout("R", completion="ab " * 100_000))
    tokens = [Token(i, i + 3, -0.5) for i in range(0, 300_000, 3)]
    assert sum(1 for _ in stretches(rollout, tokens)) == 100_000


@pytest.mark.parametrize(
    ("logprob", "wanted"),
    [(None, 0), (0.0, 0), (-0.2, 1), (-1.0, 2), (-2.0, 3), (-4.0, 4), (-9.0, 5), (float("-inf"), 5)],
)
def test_a_token_that_was_not_expected_is_darker(logprob: float | None, wanted: int) -> None:
    assert shade(Token(0, 1, logprob)) == wanted


@pytest.mark.parametrize("seed", range(30))
def test_a_difference_holds_both_texts(seed: int) -> None:
    generator = random.Random(seed)
    before, after = (
        [generator.choice([" a", " b", " wait", "\n", " 3"]) for _ in range(generator.randint(0, 60))] for _ in "xy"
    )
    found = changes(before, after)
    assert found is not None
    assert "".join(one.text for one in found if one.kind != "gone") == "".join(after)
    # What stayed is written as it is now; only the white space before a token may differ.
    assert "".join(one.text for one in found if one.kind != "new").split() == "".join(before).split()


def test_a_difference_is_small_and_bounded() -> None:
    assert [one.kind for one in changes(["a", " b", " c"], ["a", " x", " c"]) or ()] == ["same", "gone", "new", "same"]
    assert changes(["a"] * 10**6, ["a"] * 10**6 + ["b"]) is not None, "a common beginning costs nothing"
    assert changes([f"{i}" for i in range(LONGEST + 1)], ["x"] * (LONGEST + 1)) is None
