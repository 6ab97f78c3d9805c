"""Countdown problems: reproducible, solvable, and split without overlap."""

import itertools
from fractions import Fraction

import pytest

from r1rl import tasks
from r1rl.tasks.countdown import Countdown, apply, is_heldout


def solvable(numbers, target):
    """Exhaustive search over all expression trees: the oracle."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        values = [apply(operator, numbers[i], numbers[j]) for operator in "+-*/"]
        if any(value is not None and solvable([*rest, value], target) for value in values):
            return True
    return False


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="the defaults"),
        pytest.param({"numbers": 4, "high": 20, "target_high": 100}, id="four numbers"),
        pytest.param({"operators": "+-*", "style": "short"}, id="the tiny recipe's"),
        pytest.param({"numbers": 2, "operators": "+/", "high": 20}, id="two numbers with division"),
    ],
)
def test_every_problem_is_solvable_and_within_its_options(options):
    task = tasks.get("countdown", **options)
    for split in ("train", "heldout"):
        for row in task.rows(split, 20 if split == "train" else 3):
            numbers, target = row.meta["numbers"], int(row.gold)
            assert len(numbers) == task.numbers
            assert all(task.low <= n <= task.high for n in numbers)
            assert task.target_low <= target <= task.target_high
            assert solvable([Fraction(n) for n in numbers], Fraction(target))
            assert is_heldout(numbers, target) == (split == "heldout")
            assert str(target) in row.question
            assert all(str(n) in row.question for n in numbers)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert Countdown(seed=3).rows("train", 30) == Countdown(seed=3).rows("train", 30)
    assert Countdown(seed=3).rows("train", 30) != Countdown(seed=4).rows("train", 30)


def test_a_longer_request_starts_with_the_shorter_one():
    assert Countdown().rows("train", 50)[:20] == Countdown().rows("train", 20)


def test_splits_share_no_problem_in_any_order_of_the_numbers():
    def problems(split, count):
        return {(tuple(sorted(row.meta["numbers"])), row.gold) for row in Countdown().rows(split, count)}

    assert not problems("train", 800) & problems("heldout", 120)


def test_a_larger_share_holds_out_more_and_what_was_held_out_before():
    options = {"numbers": 2, "high": 20, "target_high": 100, "operators": "+-*"}
    for row in Countdown(**options).rows("heldout", 32):
        assert is_heldout(row.meta["numbers"], int(row.gold), 0.3)
    assert len(Countdown(**options, heldout_share=0.3).rows("heldout", 128)) == 128
    for row in Countdown(**options, heldout_share=0.3).rows("train", 100):
        assert not is_heldout(row.meta["numbers"], int(row.gold), 0.3)


def test_rows_are_distinct_until_the_space_is_used_up():
    task = Countdown(numbers=2, high=3, target_high=5)
    rows = task.rows("train", 40)
    distinct = {(tuple(sorted(row.meta["numbers"])), row.gold) for row in rows}
    assert len(rows) == 40
    first = [(tuple(sorted(row.meta["numbers"])), row.gold) for row in rows[: len(distinct)]]
    assert set(first) == distinct, "every problem comes once before any comes twice"


def test_too_many_heldout_problems_is_an_error():
    with pytest.raises(ValueError, match="distinct held-out problems exist"):
        Countdown(numbers=2, high=9, target_high=20).rows("heldout", 500)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": 1}, "numbers=1: need 2 to 6"),
        ({"low": 5, "high": 3}, "low=5, high=3: need 0 < low <= high"),
        ({"target_low": 0}, "target_low=0"),
        ({"operators": "+^"}, r"operators='\+\^'"),
        ({"style": "long"}, "style='long'"),
        ({"heldout_share": 1}, "heldout_share=1: need more than 0, less than 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        Countdown(**options)


def test_options_without_any_problem_are_named():
    with pytest.raises(ValueError, match="admit no train problem"):
        Countdown(numbers=2, low=1, high=2, target_low=40, target_high=50).rows("train", 1)
