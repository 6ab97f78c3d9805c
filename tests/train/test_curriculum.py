"""A run moves between levels by its own pass rate, says so, and goes on at the same level when resumed."""

import json
import shutil

import pytest
from tiny_training import TINY, folder_of, metric_lines, run

from r1rl import tasks
from r1rl.plan import plan, text
from r1rl.plan.work import Machines
from r1rl.store import store
from r1rl.tasks import curriculum, prompts
from r1rl.tasks.dataset import dataset_rows
from r1rl.train import curriculum as following
from r1rl.verify.verdict import Verdict

GYM = [
    "--task", "gym", "--reward_funcs", "[accuracy, format]",
    "--task_options", '{"dataset": "spell_backward", "curriculum": {"last": 3, "window": 4}}',
]  # fmt: skip


@pytest.fixture(autouse=True)
def library():
    pytest.importorskip("reasoning_gym")


@pytest.fixture
def everything_right(monkeypatch):
    """A verifier that takes everything, so that every window says: up."""
    from rewards.accuracy import Accuracy

    right = lambda self, completions, **columns: [Verdict("correct", "", "")] * len(completions)  # noqa: E731
    monkeypatch.setattr(Accuracy, "verdicts", right)


def levels_by_step(folder):
    rows = store.read(folder, kind="train", columns=["step", "prompt_id"]).to_pylist()
    return {step: {row["prompt_id"].split("@")[1][0] for row in rows if row["step"] == step} for step in range(4)}


def test_a_run_climbs_and_a_resumed_one_is_at_the_same_level(small_run, everything_right):
    words = [*small_run, *GYM, "--max_steps", "4", "--save_steps", "1", "--save_total_limit", "4"]
    folder = run(words)
    assert levels_by_step(folder.path) == {0: {"0"}, 1: {"1"}, 2: {"2"}, 3: {"3"}}
    assert [line["curriculum/level"] for line in metric_lines(folder)] == [0, 1, 2, 3]
    assert {line["curriculum/pass_rate"] for line in metric_lines(folder)} == {1}
    events = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert [(e["step"], e["before"], e["value"]) for e in events if e.get("key") == "level"] == [
        (1, 0, 1), (2, 1, 2), (3, 2, 3),
    ]  # fmt: skip
    whole = store.read(folder.path, kind="train").to_pylist()
    for step in (3, 4):
        shutil.rmtree(folder.checkpoints / f"checkpoint-{step}")
    shutil.rmtree(folder.checkpoints / "final")
    folder.result.unlink()
    run([*words, "--resume", "true"])
    again = store.read(folder.path, kind="train").to_pylist()
    key = lambda row: (row["step"], row["prompt_id"], row["sample_idx"], row["completion"])  # noqa: E731
    assert sorted(map(key, again)) == sorted(map(key, whole))
    assert len([line for line in folder.events.read_text().splitlines() if '"level"' in line]) == 3
    assert json.loads((folder_of(words) / "checkpoints" / "checkpoint-4" / "curriculum.json").read_text())


def test_a_full_window_decides_and_a_bad_gold_does_not_count():
    levels = {"": curriculum.Levels(**curriculum.rule({"window": 6}, 3), rows=lambda *_: [], words=str)}
    its = following.Curriculum(None, [], None, levels)
    its.take([[4, 4, 4]])
    assert list(its.move()) == [], "four questions of six"
    its.take([[4, 1, 2]])
    assert its.metrics() == {"curriculum/level": 0, "curriculum/pass_rate": 5 / 6}
    its.take([[4, 0, 0]])
    assert its.standing[""].recent == [[4, 1, 2], [4, 0, 0]], "the last samplings that fill the window"
    assert list(its.move()) == []
    its.take([[8, 8, 8]])
    assert [change["value"] for change in its.move()] == [1]
    assert its.standing[""].recent == []


def test_in_a_mix_only_the_parts_own_rows_change_and_every_row_keeps_its_columns(tmp_path):
    data = tmp_path / "sums.jsonl"
    data.write_text(
        "".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1, "hint": "h"}) + "\n" for n in range(9))
    )
    gym = {"dataset": "spell_backward", "curriculum": {"window": 1}}
    task = tasks.get("mix", parts=[{"task": "file", "options": {"path": str(data)}}, {"task": "gym", "options": gym}])
    train, prompt = task.rows("train", 8), prompts.get("none")
    its = following.following(task, train, prompt)
    rows = dataset_rows(train, task, prompt)
    assert its.at_level(rows) == rows, "the first level's are the data set's own"
    its.take([[1, 1, 1]])
    assert [change["key"] for change in its.move()] == ["1/level"]
    changed = its.at_level(rows)
    assert [row["level"] for row in changed] == [None, 1] * 4
    assert {tuple(sorted(row)) for row in changed} == {tuple(sorted(rows[0]))}
    assert [row["hint"] for row in changed] == ["h", None] * 4
    assert changed[0::2] == rows[0::2]
    assert len({row["prompt_id"] for row in changed}) == 8


def test_the_plan_says_the_levels(small_run):
    made = plan.make(TINY, [*small_run, *GYM], Machines(gpus=0), check_gold=False)
    assert any(line.startswith("levels    level 0 (min_word_len=") for line in text.lines(made))
