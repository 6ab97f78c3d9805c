"""Levels of difficulty: what a generator's levels ask, when a run moves between them, and wrong rules."""

import pytest

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.tasks import curriculum

SPELL = {"dataset": "spell_backward"}


@pytest.fixture(autouse=True)
def library():
    pytest.importorskip("reasoning_gym")


def longest(rows):
    return max(len(row.gold) for row in rows)


def test_levels_grow_harder_and_a_place_keeps_its_problem():
    levels = curriculum.of(tasks.get("gym", **SPELL, curriculum={"last": 1}))[""]
    easy, hard = levels.rows(0, 40), levels.rows(1, 40)
    assert longest(easy) < longest(hard)
    assert easy[:7] == levels.rows(0, 7) == tasks.get("gym", **SPELL, curriculum={"last": 1}).rows("train", 7)
    assert {row.columns["level"] for row in hard} == {1}
    assert len({row.prompt_id for row in [*easy, *hard]}) == 80


def test_heldout_problems_are_of_all_levels_and_of_no_training_problem():
    task = tasks.get("gym", **SPELL, curriculum={"first": 1, "last": 2})
    heldout = task.rows("heldout", 5)
    assert [row.columns["level"] for row in heldout] == [1, 2, 1, 2, 1]
    trained = {row.question for level in (1, 2) for row in curriculum.of(task)[""].rows(level, 200)}
    assert not trained & {row.question for row in heldout}


def test_a_mix_has_the_levels_of_its_parts_under_their_names():
    plain = {"task": "gym", "options": SPELL}
    task = tasks.get("mix", parts=[plain, {"task": "gym", "options": SPELL | {"curriculum": {}}}])
    levels = curriculum.of(task)
    assert list(levels) == ["1/"]
    (row,) = levels["1/"].rows(2, 1)
    assert row.prompt_id.startswith("1/gym:spell_backward@2:")
    assert row.verifier == "gym"
    assert curriculum.of(tasks.get("mix", parts=[plain, plain])) == {}


@pytest.mark.parametrize(
    ("level", "rate", "expected"),
    [
        pytest.param(0, 0.69, 0, id="in between stays"),
        pytest.param(0, 0.70, 1, id="the mark itself is enough"),
        pytest.param(3, 1.00, 3, id="above the last there is none"),
        pytest.param(2, 0.20, 2, id="the lower mark itself stays"),
        pytest.param(2, 0.19, 1, id="below it falls"),
        pytest.param(0, 0.00, 0, id="below the first there is none"),
    ],
)
def test_moves(level, rate, expected):
    levels = curriculum.Levels(**curriculum.rule({}, 3), rows=lambda *_: [], words=str)
    assert levels.after(level, rate) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"curriculum": {"up": 1}}, "which takes first, last, raise_at", id="unknown key"),
        pytest.param({"curriculum": {"last": 99}}, "the levels are 0 to", id="no such level"),
        pytest.param({"curriculum": {"first": 2, "last": 1}}, "first=2, last=1", id="nothing between"),
        pytest.param({"curriculum": {"raise_at": 0.1}}, "lower_at=0.2, raise_at=0.1", id="would go up and down"),
        pytest.param({"curriculum": {"window": 0}}, "at least 1 question", id="no window"),
        pytest.param({"curriculum": {"window": "many"}}, "curriculum.window", id="no number"),
        pytest.param({"curriculum": {}, "options": {"max_word_len": 4}}, "sets it by level", id="set twice"),
        pytest.param({"dataset": "composite", "curriculum": {}}, "has none for 'composite'", id="none to be had"),
    ],
)
def test_wrong_rules(options, message):
    with pytest.raises(RecipeError, match=message):
        tasks.get("gym", **(SPELL | options))
