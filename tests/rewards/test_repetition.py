"""The repetition penalty, by hand and by TRL's own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewards


@pytest.mark.parametrize(
    ("tokens", "options", "value"),
    [
        pytest.param([], {}, 0.0, id="nothing written"),
        pytest.param([1, 2], {}, 0.0, id="shorter than n"),
        pytest.param([1, 2, 3], {}, 0.0, id="one n-gram"),
        pytest.param([1, 2, 3, 4, 5], {}, 0.0, id="no repetition"),
        pytest.param([5, 5, 5, 5, 5], {"n": 2}, -0.75, id="one bigram four times"),
        pytest.param([1, 2, 1, 2], {"n": 2}, -1 / 3, id="one of three bigrams again"),
        pytest.param([1, 2, 3, 1, 2, 3], {}, -0.25, id="one of four trigrams again"),
        pytest.param([7] * 1003, {}, -1000 / 1001, id="a loop nears the full penalty"),
        pytest.param([5, 5, 5], {"n": 1}, -2 / 3, id="single tokens"),
        pytest.param([5] * 5, {"n": 2, "max_penalty": -0.5}, -0.375, id="another penalty"),
        pytest.param([5] * 5, {"max_penalty": 0}, 0.0, id="no penalty: it only measures nothing"),
    ],
)
def test_by_hand(tokens, options, value):
    assert rewards.get("repetition", **options)(["text"], completion_ids=[tokens]) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"n": 0}, "n=0: need", id="no tokens"),
        pytest.param({"n": 101}, "n=101: need", id="too many"),
        pytest.param({"n": 2.5}, "n=2.5: expected a whole number", id="half"),
        pytest.param({"max_penalty": 0.1}, "max_penalty=0.1: need .* at most 0", id="a reward"),
        pytest.param({"max_penalty": float("-inf")}, "max_penalty=-inf: expected a number", id="infinite"),
    ],
)
def test_options_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        rewards.get("repetition", **options)


def test_token_ids_are_needed():
    with pytest.raises(ValueError, match="reward='repetition': column 'completion_ids' is missing"):
        rewards.get("repetition")(["a"])


@settings(deadline=None)  # the first example imports TRL
@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=4), st.integers(1, 5))
def test_trl_pays_the_same(ids, n):
    theirs = pytest.importorskip("trl.rewards")
    mine = rewards.get("repetition", n=n)(["x"] * len(ids), completion_ids=ids)
    assert mine == pytest.approx(theirs.get_repetition_penalty_reward(ngram_size=n)(completion_ids=ids))
    assert all(-1 < value <= 0 for value in mine)
