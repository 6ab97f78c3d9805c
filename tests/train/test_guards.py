"""Guards in real runs: each ends, or rolls back, a run that is provoked, and leaves healthy ones alone."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tiny_training import folder_of, metric_lines, run

from r1rl.ground.errors import RecipeError
from r1rl.run import folder as run_folder
from r1rl.train import trainer as trainer_module
from r1rl.train.guards import GuardStoppedError, repetition

REWARDS = """
def nothing(completions, **columns):
    return [None] * len(completions)
def penalty(completions, **columns):
    return [-0.01 * len(text) for text in completions]
def same(completions, **columns):
    return [1.0] * len(completions)
"""
SHORT = ["--prompts_per_step", "2", "--max_completion_length", "16", "--eval_steps", "0"]


@pytest.fixture
def rewards(tmp_path):
    (tmp_path / "mine.py").write_text(REWARDS)
    return tmp_path / "mine.py"


def alarms(folder):
    return [(e["step"], e["guard"], e["action"]) for e in folder.read_events() if e["event"] == "alarm"]


@pytest.mark.parametrize(
    ("words", "guard", "step"),
    [
        pytest.param(
            ["--reward_funcs", "{rewards}:same", "--reward_weights", "1"],
            "no_variance.window=2",
            2,
            id="all paid alike",
        ),
        pytest.param(["--max_completion_length", "2"], "truncation.window=3", 3, id="all are cut"),
        pytest.param(
            ["--temperature", "0.01", "--guards.entropy.limit", "0.1"],
            "entropy.window=1",
            1,
            id="one text for each prompt",
        ),
        pytest.param(["--guards.repetition.limit", "0.0"], "repetition.window=1", 1, id="repetition"),
        pytest.param(
            ["--beta", "0.1", "--learning_rate", "0.5", "--guards.kl.limit", "0.5"],
            "kl.window=1",
            2,
            id="a rate that throws the policy away",
        ),
    ],
)
def test_a_provoked_guard_ends_the_run(small_run, rewards, words, guard, step):
    words = [word.format(rewards=rewards) for word in words]
    name, _, window = guard.partition(".window=")
    words += [f"--guards.{name}.action", "stop", f"--guards.{name}.window", window, "--guards.all", "off"]
    with pytest.raises(GuardStoppedError, match=rf"stopped after step \d+: {name}: .*; try "):
        run(small_run, *SHORT, *words, "--max_steps", "8", "--save_steps", "1")
    folder = run_folder.RunFolder(folder_of(small_run))
    found = alarms(folder)
    assert found[-1][1:] == (name, "stop")
    assert step <= found[-1][0] <= step + 3
    assert not (folder.checkpoints / f"checkpoint-{found[-1][0]}").exists(), "what is sick is not saved"


def test_weights_that_are_no_numbers_are_not_saved_between_two_logs(small_run, monkeypatch):
    update = trainer_module.ZeroTrainer.training_step

    def poisoned(self, *args, **kwargs):
        loss = update(self, *args, **kwargs)
        if self.state.global_step == 2:
            next(self.model.parameters()).data[0, 0] = math.nan
        return loss

    monkeypatch.setattr(trainer_module.ZeroTrainer, "training_step", poisoned)
    with pytest.raises(GuardStoppedError, match="stopped after step 3: non_finite: weights is nan"):
        run(small_run, *SHORT, "--max_steps", "8", "--save_steps", "1", "--logging_steps", "5")
    folder = run_folder.RunFolder(folder_of(small_run))
    assert sorted(path.name for path in folder.checkpoints.glob("checkpoint-*")) == ["checkpoint-2"]


def test_a_run_is_rolled_back_twice_with_a_lower_rate_and_then_ends(small_run, rewards):
    words = [
        "--guards.no_variance",
        '{"action": "roll_back", "window": 3}',
        "--reward_funcs",
        f"{rewards}:same",
        "--reward_weights",
        "1",
    ]
    words += ["--save_steps", "1", "--save_total_limit", "9", "--learning_rate", "1e-3", "--max_steps", "9"]
    with pytest.raises(GuardStoppedError, match="rolled back 2 times already"):
        run(small_run, *SHORT, "--eval_steps", "1", *words)
    folder = run_folder.RunFolder(folder_of(small_run))
    events = [event for event in folder.read_events() if event["event"] == "rolled_back"]
    assert [event["rate_factor"] for event in events] == [0.5, 0.25]
    assert all(event["step"] < event["since"] for event in events)
    assert metric_lines(folder)[-1]["learning_rate"] == 0.25e-3
    before = [json.loads(line) for line in (folder.path / "rolled_back-1.jsonl").read_text().splitlines()]
    assert before[-1]["step"] == events[0]["since"], "what was given up can still be read"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--guards.kl", "roll_back", "--save_strategy", "no"], "needs checkpoints", id="none to go to"),
        pytest.param(["--guards.kll", "stop"], "did you mean 'kl'", id="unknown"),
    ],
)
def test_a_guard_that_cannot_be(small_run, words, said):
    with pytest.raises(RecipeError, match=said):
        run(small_run, *words)


@pytest.mark.parametrize("reward", ["nothing", "penalty"])
def test_rewards_that_say_nothing_or_only_punish_are_no_alarm(small_run, rewards, reward):
    words = [
        "--reward_funcs",
        f"{rewards}:{reward}",
        "--reward_weights",
        "1",
        "--max_wasted_steps",
        "3" if reward == "penalty" else "0",
    ]
    folder = run(small_run, *SHORT, *words, "--max_steps", "5", "--disable_tqdm", "false")
    assert len(metric_lines(folder)) == 5
    assert {event["event"] for event in folder.read_events()} == ({"nothing_earned"} if reward == "nothing" else set())


def test_repetition_is_the_share_of_runs_that_come_again():
    assert repetition([[1, 2, 3, 4, 5, 6, 7]]) == 0.0
    assert repetition([[1] * 503]) == pytest.approx(499 / 500)
    assert repetition([[], [1, 2]]) == 0.0
    assert repetition([[1, 2, 3, 4], [5] * 7]) == pytest.approx(0.375)


def test_the_largest_weight_is_no_number_where_one_is_not():
    from r1rl.train.guards import largest

    model = torch.nn.Linear(3, 2)
    assert largest(model) == pytest.approx(max(p.abs().max().item() for p in model.parameters()))
    model.weight.data[1, 1] = math.nan
    assert math.isnan(largest(model))
