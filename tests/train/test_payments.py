"""A reward that returns no finite number ends the run in one line."""

import asyncio
import math
from types import SimpleNamespace

import numpy
import pytest
import torch
from tiny_training import TINY, run

from r1rl import cli
from r1rl.ground.errors import RunFailedError
from r1rl.store import store
from r1rl.train.payments import checked
from rewards.external import is_async

REWARDS = """
import asyncio, math

def nan(completions, **columns):
    return [math.nan] * len(completions)

async def infinite(completions, **columns):
    await asyncio.sleep(0)
    return [math.inf] * len(completions)

def late(completions, trainer_state=None, **columns):
    return [math.nan if trainer_state.global_step else 1.0] * len(completions)

def one(completions, **columns):
    return 1.0

def words(completions, **columns):
    return ["good"] * len(completions)

def short(completions, **columns):
    return [1.0]

def some(completions, **columns):
    return [None if i % 2 else 1.0 for i in range(len(completions))]
"""


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        pytest.param([1, 0.5], [1.0, 0.5], id="numbers"),
        pytest.param([True, None], [1.0, None], id="a truth, and a row left out"),
        pytest.param(numpy.array([1.0, -2.0], dtype=numpy.float32), [1.0, -2.0], id="an array"),
        pytest.param(torch.tensor([1, 2]), [1.0, 2.0], id="a tensor"),
        pytest.param({"a": 1.0, "b": 2.0}.values(), [1.0, 2.0], id="any iterable"),
        pytest.param([1.0, math.nan], r"returned nan for problem 'b' in step 8; a reward is a finite number", id="NaN"),
        pytest.param([math.inf, 1.0], r"returned inf for problem 'a'", id="infinite"),
        pytest.param([1.0, -math.inf], r"returned -inf for problem 'b'", id="minus infinite"),
        pytest.param([1e39, 1.0], r"returned 1e\+39 for problem 'a'", id="infinite as a float32"),
        pytest.param(["1", "2"], r"returned '1' for problem 'a'", id="text"),
        pytest.param([[1.0], [2.0]], r"returned \[1.0\] for problem 'a'", id="lists"),
        pytest.param(1.0, r"returned 1.0, one value for 2 completions in step 8; need a list", id="one for all"),
        pytest.param("ab", r"returned 'ab' for 2 completions", id="as long as it should be, but a text"),
        pytest.param([1.0], r"returned 1 values for 2 completions", id="too few"),
        pytest.param(None, r"returned None for 2 completions", id="nothing"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_a_reward_may_return(kind, returned, expected):
    def plain(completions, **columns):
        return returned

    async def coroutine(completions, **columns):
        return returned

    reward = checked(plain if kind == "plain" else coroutine)
    columns = {"completions": ["x", "y"], "prompt_id": ["a", "b"], "trainer_state": SimpleNamespace(global_step=7)}

    def value():
        return reward(**columns) if kind == "plain" else asyncio.run(reward(**columns))

    assert (reward.__name__, is_async(reward)) == (kind, kind == "coroutine")
    if isinstance(expected, list):
        assert value() == expected
    else:
        with pytest.raises(RunFailedError, match=f"reward='{kind}': {expected}"):
            value()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_payments.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        pytest.param("nan", "reward='nan': returned nan for a completion", 2, id="NaN"),
        pytest.param("infinite", "reward='infinite': returned inf for a completion", 2, id="infinite, a coroutine"),
        pytest.param("late", "in step 2; a reward is a finite number", 1, id="only later"),
        pytest.param("one", "returned 1.0, one value for 4 completions", 2, id="one for all"),
        pytest.param("words", "returned 'good' for a completion", 2, id="text"),
        pytest.param("short", "returned 1 values for 4 completions", 2, id="too few"),
    ],
)
def test_the_run_ends_in_one_line(small_run, module, capsys, name, message, code):
    words = ["--reward_funcs", f"own_payments:{name}", "--reward_weights", "1.0", "--name", "run"]
    assert cli.main(["train", str(TINY), *small_run, *words, "--eval_steps", "0"]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_none_leaves_rows_out(small_run, module):
    words = ["--reward_funcs", "own_payments:some", "--reward_weights", "1.0", "--max_steps", "1", "--eval_steps", "0"]
    rows = store.read(run(small_run, *words).path, kind="train").to_pylist()
    assert {row["reward"] for row in rows} == {1.0, None}
