"""Problems of reasoning-gym's generators: reproducible in other processes, usable, and wrong options said plainly."""

import pytest

from r1rl import tasks, verify
from r1rl.ground.errors import RecipeError
from r1rl.tasks import gold


@pytest.fixture
def library():
    pytest.importorskip("reasoning_gym")


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs reasoning-gym; try pip install 'r1rl\[gym\]'"):
        tasks.get("gym", dataset="countdown")


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        pytest.param("countdown", {"min_numbers": 3, "max_numbers": 3}, id="with options"),
        pytest.param("isomorphic_strings", {}, id="walks through sets of strings"),
        pytest.param("graph_color", {"min_num_vertices": 4, "max_num_vertices": 5}, id="several answers are right"),
    ],
)
def test_a_generator(library, dataset, options, tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    rows = tasks.get("gym", dataset=dataset, options=options).rows("train", 2)
    assert rows == tasks.get("gym", dataset=dataset, options=options).rows("train", 2)
    assert gold.check("gym", rows) == ["", ""]
    verdicts = verify.verify_many("gym", [("no answer", row.gold, row.meta) for row in rows])
    assert not any(verdict.status == "correct" for verdict in verdicts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"dataset": "cuontdown"}, "no such generator; did you mean 'countdown'", id="misspelt"),
        pytest.param({"dataset": "zzzzzz"}, "known are .*spell_backward", id="nothing near"),
        pytest.param(
            {"dataset": "countdown", "options": {"max_number": 4}}, "did you mean 'max_numbers'", id="its own option"
        ),
        pytest.param({"dataset": "countdown", "options": {"seed": 4}}, "no such option", id="ours, not its own"),
    ],
)
def test_wrong_names(library, options, message):
    with pytest.raises(RecipeError, match=message):
        tasks.get("gym", **options)


def test_what_the_generator_refuses_is_said_in_its_words(library):
    task = tasks.get("gym", dataset="countdown", options={"min_numbers": 9, "max_numbers": 3})
    with pytest.raises(RecipeError, match="'countdown' refuses them: AssertionError"):
        task.rows("train", 1)


def test_another_seed_gives_other_problems(library):
    first, second = (tasks.get("gym", dataset="spell_backward", seed=seed).rows("train", 3) for seed in (0, 1))
    assert first != second


def test_a_small_space_gives_every_problem_once(library):
    task = tasks.get("gym", dataset="spell_backward", options={"min_word_len": 3, "max_word_len": 3}, size=3000)
    questions = [row.question for row in task.rows("train", 3000)]
    assert 50 < len(questions) == len(set(questions)) < 2400
