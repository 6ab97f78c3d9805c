"""Rewards of control arms: a coin that a resumed run tosses again, wrong answers paid, length paid as accuracy does."""

import random
import types

import pytest

import rewards
from rewards.controls import exchanged

RIGHT, WRONG = "<answer>3*5+7</answer>", "<answer>3+5+7</answer>"


def at(step, names=("a",) * 4):
    """Columns of a batch at an optimizer step, with a problem's name for each completion."""
    count = len(names)
    return {
        "trainer_state": types.SimpleNamespace(global_step=step),
        "prompt_id": list(names),
        "gold": ["22"] * count,
        "meta": [{"numbers": [3, 5, 7]}] * count,
        "verifier": ["countdown"] * count,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(WRONG, 1.0, id="a wrong answer is paid"),
        pytest.param(RIGHT, 0.0, id="a right one is not"),
        pytest.param("<answer>22</answer>", 1.0, id="the wrong numbers are a wrong answer"),
        pytest.param("<answer>no idea</answer>", 0.0, id="what cannot be read is no wrong answer"),
        pytest.param("<think>3+5", 0.0, id="cut off before the answer"),
        pytest.param("", 0.0, id="nothing written"),
    ],
)
def test_inverted_pays_wrong_answers_alone(text, value):
    assert rewards.get("inverted")([text], **at(0, ["a"])) == [value]


@pytest.mark.parametrize("name", ["inverted", "length-matched"])
def test_a_row_without_usable_gold_is_left_out(name):
    columns = at(0, "ab") | {"gold": ["none", "22"], "completion_ids": [[1], [1]]}
    assert rewards.get(name)([RIGHT, WRONG], **columns)[0] is None


class TestRandom:
    def test_it_does_not_read_the_completion(self):
        coin = rewards.get("random")
        assert coin([RIGHT] * 40, **at(3, "a" * 40)) == coin([WRONG] * 40, **at(3, "a" * 40))

    def test_a_resumed_run_tosses_the_same_coins(self):
        first, again = rewards.get("random"), rewards.get("random")
        steps = [first(["x"] * 40, **at(step, "ab" * 20)) for step in (1, 2, 3)]
        assert again(["x"] * 40, **at(3, "ab" * 20)) == steps[2]
        assert steps[0] != steps[1] != steps[2]

    def test_processes_that_share_the_problems_out_toss_the_same_coins(self):
        coin = rewards.get("random")
        together = coin(["x"] * 40, **at(3, "a" * 20 + "b" * 20))
        assert together == coin(["x"] * 20, **at(3, "a" * 20)) + coin(["x"] * 20, **at(3, "b" * 20))

    @pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
    def test_the_coin_falls_as_often_as_it_should(self, probability):
        values = rewards.get("random", probability=probability)(["x"] * 4000, **at(0, "a" * 4000))
        assert abs(sum(values) / 4000 - probability) < 4 * 0.5 / 4000**0.5

    def test_another_seed_is_another_coin(self):
        columns = at(0, "a" * 40)
        assert rewards.get("random", seed=1)(["x"] * 40, **columns) != rewards.get("random")(["x"] * 40, **columns)

    @pytest.mark.parametrize("probability", [0, 1, -0.5, 2])
    def test_a_coin_has_two_sides(self, probability):
        with pytest.raises(ValueError, match=r"probability=.*: need more than 0 and less than 1"):
            rewards.get("random", probability=probability)


class TestLengthMatched:
    @pytest.mark.parametrize(
        ("marks", "sizes", "value"),
        [
            pytest.param("rw", [5, 5], [0.0, 1.0], id="two of one length exchange"),
            pytest.param("rwwr", [5, 9, 5, 9], [0.0, 1.0, 1.0, 0.0], id="within each length"),
            pytest.param("rwr", [1, 2, 3], [1.0, 1.0, 0.0], id="three pass it round"),
            pytest.param("r", [5], [0.0], id="nobody to exchange with"),
        ],
    )
    def test_neighbours_in_length_exchange_their_accuracy(self, marks, sizes, value):
        texts = [RIGHT if mark == "r" else WRONG for mark in marks]
        columns = at(0, "a" * len(marks)) | {"completion_ids": [[0] * size for size in sizes]}
        assert rewards.get("length-matched")(texts, **columns) == value

    def test_lengths_are_paid_as_accuracy_pays_them_and_answers_are_not(self):
        """800 completions: all of ten tokens are right, a quarter of those of five; the pay follows length alone."""
        rng = random.Random(0)
        sizes = [rng.choice((5, 10)) for _ in range(800)]
        right = [size == 10 or rng.random() < 0.25 for size in sizes]
        columns = at(0, "a" * 800) | {"completion_ids": [[0] * size for size in sizes]}
        paid = rewards.get("length-matched")([RIGHT if one else WRONG for one in right], **columns)
        short = [(pay, one) for pay, one, size in zip(paid, right, sizes, strict=True) if size == 5]
        assert sum(paid) == sum(right)
        assert abs(sum(pay for pay, _ in short) - sum(one for _, one in short)) <= 1, "one pair may join both lengths"
        among_right = [pay for pay, one in short if one]
        assert abs(sum(among_right) / len(among_right) - 0.25) < 0.15

    def test_it_needs_the_lengths(self):
        with pytest.raises(ValueError, match="column 'completion_ids' is missing"):
            rewards.get("length-matched")([RIGHT], **at(0, ["a"]))


@pytest.mark.parametrize("count", range(9))
def test_everybody_gives_and_takes_once_and_nobody_keeps_his_own(count):
    pairs = exchanged(range(count))
    assert all(taker != giver for taker, giver in pairs)
    for side in zip(*pairs, strict=True):
        assert sorted(side) == list(range(count))
