"""Advantages against hand-worked numbers, and against TRL where it has the same."""

import math

import pytest
import torch
from tiny_training import run

from r1rl.store import store
from r1rl.update.advantages import ESTIMATORS, reinforce_plus_plus_baseline, rloo

NAN = math.nan


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        pytest.param([[1, 0, 0, 0]], [[1, -1 / 3, -1 / 3, -1 / 3]], id="one of four right"),
        pytest.param([[1, 1, 1]], [[0, 0, 0]], id="equal rewards"),
        pytest.param([[3, 1, NAN]], [[2, -2, 0]], id="one that nobody judged"),
        pytest.param([[5, NAN, NAN]], [[0, 0, 0]], id="no sibling to compare with"),
        pytest.param([[NAN, NAN], [2, 0]], [[0, 0], [2, -2]], id="a group that nobody judged"),
    ],
)
def test_leave_one_out_by_hand(rewards, expected):
    assert torch.allclose(rloo(torch.tensor(rewards).float()), torch.tensor(expected).float())


def test_leave_one_out_is_the_centred_reward_scaled_up():
    rewards = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rloo(rewards), 7 / 6 * (rewards - rewards.mean(-1, keepdim=True)), atol=1e-6)


def test_batch_normalisation_by_hand():
    found = reinforce_plus_plus_baseline(torch.tensor([[1.0, 0.0], [4.0, 0.0], [NAN, 9.0]]))
    # Less the groups' means: 1/2, -1/2, 2, -2, 0. Their squares add up to 8.5, over 4 that is a deviation of 1.4577.
    deviation = math.sqrt(8.5 / 4) + 1e-4
    assert torch.allclose(found, torch.tensor([[0.5, -0.5], [2, -2], [0, 0]]) / deviation)
    assert reinforce_plus_plus_baseline(torch.tensor([[NAN, 1.0]])).tolist() == [[0, 0]]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_run_trains_on_the_advantages_it_names(small_run, name):
    folder = run(small_run, "--advantage_estimator", name, "--max_steps", "2")
    for step in range(2):
        rows = store.read(folder.path, kind="train", steps=[step]).to_pylist()
        rewards, advantages = (
            torch.tensor([row[key] for row in rows]).float().view(4, 4) for key in ("reward", "advantage")
        )
        assert torch.allclose(advantages, ESTIMATORS[name](rewards), atol=1e-4)
        assert advantages.any()
