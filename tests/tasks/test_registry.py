"""The contract that every registered task keeps."""

import json

import pytest

from r1rl import tasks, verify
from r1rl.ground.errors import RecipeError
from r1rl.tasks import gold

# Options of tasks that need some; `FILE` becomes a file of sums.
FILE = "sums.jsonl"
_PARTS = [{"task": "countdown", "weight": 2}, {"task": "file", "options": {"path": FILE}}]
OPTIONS = {"file": {"path": FILE}, "gym": {"dataset": "spell_backward", "size": 400}, "mix": {"parts": _PARTS}}
PACKAGES = {"gym": "reasoning_gym"}
"""Optional packages that a task needs."""


@pytest.fixture(scope="module", params=tasks.names())
def name(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def options(name, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / FILE
    path.write_text("".join(json.dumps({"question": f"What is {n} + 1?", "answer": n + 1}) + "\n" for n in range(60)))
    return json.loads(json.dumps(OPTIONS.get(name, {})).replace(FILE, str(path)))


@pytest.fixture(scope="module")
def task(name, options):
    return tasks.get(name, **options)


def test_the_same_options_give_the_same_rows(task, name, options):
    again = tasks.get(name, **options)
    for split in ("heldout", "train"):
        rows = task.rows(split, 8)
        assert again.rows(split, 5) == rows[:5]
        assert len({row.prompt_id for row in rows}) == 8


def test_no_heldout_problem_is_trained_on(task):
    heldout = {row.question for row in task.rows("heldout", 8)}
    assert heldout.isdisjoint(row.question for row in task.rows("train", 40))


def test_rows_are_text_and_json(task):
    for row in task.rows("train", 5):
        assert row.question.strip() == row.question != ""
        assert isinstance(row.gold, str)
        assert json.loads(json.dumps(row.meta)) == row.meta


def test_its_verifier_can_use_every_gold(task, monkeypatch, tmp_path):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    assert task.verifier in verify.names()
    assert gold.check_task(task, task.rows("train", 5)) == [""] * 5


def test_it_is_named_and_described(task, name):
    assert task.name == name
    assert len(tasks.describe(name)) > 20


def test_unknown_options_are_errors(name, options):
    with pytest.raises(RecipeError, match=rf"task_options.speed: unknown key of the task '{name}'"):
        tasks.get(name, **options, speed=3)


def test_more_heldout_problems_than_there_are(task):
    with pytest.raises(RecipeError, match="heldout_size=100000"):
        task.rows("heldout", 100_000)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'countdown'"):
        tasks.get("countdwn")


def test_the_tables_name_tasks_that_exist():
    assert {*OPTIONS, *PACKAGES} <= set(tasks.names())
