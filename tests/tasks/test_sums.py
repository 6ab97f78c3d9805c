"""Sums: right, of the size asked for, and split without overlap."""

from itertools import accumulate

import pytest

from r1rl import tasks, verify
from r1rl.tasks.sums import Sums


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="the defaults"),
        pytest.param({"terms": 3}, id="three terms"),
        pytest.param({"digits": 1, "terms": 4}, id="one digit, never 0"),
        pytest.param({"digits": 8, "terms": 8}, id="the largest"),
        pytest.param({"digits": 1, "terms": 3, "operators": "+-"}, id="also subtracted"),
        pytest.param({"operators": "-"}, id="subtracted alone"),
    ],
)
def test_numbers_and_sums_are_as_asked_for(options):
    task = tasks.get("sums", **options)
    for row in [*task.rows("train", 20), *task.rows("heldout", 3)]:
        numbers = row.meta["numbers"]
        assert len(numbers) == task.terms
        assert {len(str(number)) for number in numbers} == {task.digits}
        asked = row.question.removeprefix("What is ").removesuffix("?").split(" ")
        assert asked[::2] == list(map(str, numbers))
        assert set(asked[1::2]) <= set(task.operators)
        signed = zip(numbers[1:], asked[1::2], strict=True)
        on_the_way = list(accumulate(signed, lambda total, one: total + int(one[1] + str(one[0])), initial=numbers[0]))
        assert int(row.gold) == on_the_way[-1]
        assert min(on_the_way) >= 0


def test_splits_share_no_sum_in_any_order():
    def sets(split, count):
        return {tuple(sorted(row.meta["numbers"])) for row in Sums().rows(split, count)}

    assert not sets("train", 1000) & sets("heldout", 200)


def test_rows_are_distinct_until_nearly_all_were_given():
    rows = [tuple(sorted(row.meta["numbers"])) for row in Sums(digits=1).rows("train", 60)]
    distinct = set(rows)
    assert 30 < len(distinct) < 46  # of the 45 pairs of one digit, those that are not held out
    assert set(rows[: len(distinct)]) == distinct


def test_another_seed_gives_other_rows():
    assert Sums(seed=1).rows("train", 10) != Sums(seed=2).rows("train", 10)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param("{}", "correct", id="the number"),
        pytest.param("{}.0", "correct", id="as a decimal"),
        pytest.param("{} + {}", "wrong", id="the question given back"),
        pytest.param("1{}", "wrong", id="another number"),
    ],
)
def test_only_the_number_is_paid(answer, status):
    row = Sums().rows("train", 1)[0]
    numbers = row.meta["numbers"] if answer.count("{}") == 2 else [row.gold]
    assert verify.get("math")(answer.format(*numbers), row.gold, row.meta).status == status


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"terms": 1}, "terms=1: need 2 to 8", id="no sum"),
        pytest.param({"terms": 9}, "terms=9: need 2 to 8", id="too many terms"),
        pytest.param({"digits": 0}, "digits=0: need 1 to 8", id="no digit"),
        pytest.param({"operators": "+*"}, r"operators='\+\*': need '\+', '-' or '\+-'", id="no product"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        Sums(**options)
