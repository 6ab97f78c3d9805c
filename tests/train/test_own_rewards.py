"""A reward of one's own in a real run: it reads the data's own columns, and what it returns is checked."""

import json
import sys

import pytest
import tiny_training

from r1rl.ground.errors import RunFailedError
from r1rl.recipe.load import load
from r1rl.train import main as train

REWARDS = """
def level(completions, answer, level):
    assert all(text.startswith("#### ") for text in answer)
    return [float(value) for value in level]

calls = []
def tired(completions, **columns):
    calls.append(1)
    return [1.0] * len(completions) if len(calls) < 3 else "no more"
"""


@pytest.fixture
def settings(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    rows = [{"question": f"Use {n}, 2 to make 9.", "answer": f"#### {n}", "level": n} for n in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.py").write_text(REWARDS)
    task = {"path": str(tmp_path / "data.jsonl"), "answer_pattern": "#### (.+)", "heldout_size": 6}
    return [
        *small_run,
        "--task",
        "file",
        "--task_options",
        json.dumps(task),
        "--train_size",
        "30",
        "--reward_weights",
        "1",
    ]


def test_a_reward_reads_the_datas_own_columns(settings, tmp_path):
    folder = tiny_training.run(settings, "--reward_funcs", f"{tmp_path}/mine.py:level")
    assert any(line["reward"] > 1 for line in tiny_training.metric_lines(folder))


def test_a_reward_that_returns_something_else_later_is_one_message(settings, tmp_path):
    words = ["--config", str(tiny_training.TINY), *settings, "--reward_funcs", f"{tmp_path}/mine.py:tired"]
    with pytest.raises(RunFailedError, match="reward='tired': returned 'no more' for "):
        train.main(words)


@pytest.mark.parametrize(
    ("rank", "asked"),
    [
        pytest.param(None, 1, id="the only process"),
        pytest.param("0", 1, id="the first"),
        pytest.param("1", 0, id="another: the first has asked, and a reward may be a service"),
    ],
)
def test_one_process_asks_a_reward_before_the_first_step(settings, tmp_path, monkeypatch, rank, asked):
    calls = tmp_path / "calls"
    calls.write_text("")
    noted = f"def noted(completions, **columns):\n    open({str(calls)!r}, 'a').write('x')\n"
    (tmp_path / "mine.py").write_text(noted + "    return [1.0] * len(completions)\n")
    overrides = ["--reward_funcs", f"{tmp_path}/mine.py:noted"]
    loaded = load(tiny_training.TINY, [*settings, *overrides], check_only=True)
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    loaded.check_here()
    assert calls.read_text() == "x" * asked
