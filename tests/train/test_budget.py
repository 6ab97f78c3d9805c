"""A run's budget: counted over all its starts, and its end a checkpoint and an exit code of 0."""

from __future__ import annotations

import json

import pytest
from tiny_training import TINY, metric_lines, run

from r1rl.ground.errors import RecipeError
from r1rl.plan import plan, text
from r1rl.plan.work import Machines
from r1rl.run import budget, manifest
from r1rl.run.budget import Limits, Meter, Spent

WORDS = ["--prompts_per_step", "2", "--max_completion_length", "16", "--eval_steps", "0", "--max_steps", "6"]


def test_a_spent_budget_ends_the_run_with_a_checkpoint_and_more_goes_on(small_run):
    folder = run(small_run, *WORDS, "--max_tokens", "600", "--price", "2")
    done = len(metric_lines(folder))
    assert 1 < done < 6
    assert manifest.step_of(manifest.newest_whole(folder.checkpoints)[0]) == done
    assert json.loads(folder.result.read_text())["finished"] is False
    (event,) = (event for event in folder.read_events() if event["event"] == "budget_reached")
    assert event["limits"][0].startswith("max_tokens=600: ")
    spent = budget.read(folder.path)
    assert spent.tokens == metric_lines(folder)[-1]["num_tokens"] >= 600
    assert spent.cost(2.0) == pytest.approx(2 * spent.hours)
    with pytest.raises(RecipeError, match=r"is spent \(max_tokens=600: .*raise it"):
        run(small_run, *WORDS, "--max_tokens", "600", "--price", "2", "--resume")
    run(small_run, *WORDS, "--max_tokens", "1e9", "--resume")
    assert len(metric_lines(folder)) == 6
    assert budget.read(folder.path).tokens == metric_lines(folder)[-1]["num_tokens"]
    assert budget.read(folder.path).hours > spent.hours


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        pytest.param(Limits(), [], id="none"),
        pytest.param(Limits(max_hours=2), ["max_hours=2: 2"], id="hours"),
        pytest.param(Limits(max_hours=3, max_tokens=100), ["max_tokens=100: 500"], id="tokens"),
        pytest.param(Limits(max_cost=40, price=5), ["max_cost=40: 40"], id="cost counts every process"),
        pytest.param(Limits(max_cost=41, price=5), [], id="not yet"),
    ],
)
def test_limits(limits: Limits, reached: list[str]) -> None:
    assert Spent(hours=2, process_hours=8, tokens=500).reached(limits) == reached


def test_what_was_lost_was_spent_too(tmp_path) -> None:
    Meter(tmp_path, 4, since=0).add(100, 1e9)
    spent = Meter(tmp_path, 4, since=0).add(10, 1e9)
    assert (spent.tokens, spent.flops) == (110, 2e9)
    assert spent.process_hours == pytest.approx(4 * spent.hours)
    (tmp_path / budget.FILE_NAME).write_text("")
    assert budget.read(tmp_path) == Spent()


def test_cost_needs_a_price() -> None:
    with pytest.raises(RecipeError, match="max_cost=5: needs the price"):
        Limits(max_cost=5)


def test_a_plan_says_whether_the_budget_is_enough() -> None:
    for limit, said in (("10", "ends the run before its last step: max_tokens=10:"), ("1e12", "not reached")):
        made = plan.make(TINY, ["--max_tokens", limit], Machines(nodes=1, gpus=0), check_gold=False)
        assert any(line.startswith(f"budget    {said}") for line in text.lines(made))
