"""The distance between sampler and policy, and the weights that correct for it, against hand-worked numbers and TRL."""

import inspect
import math

import pytest
import torch
from trl import GRPOTrainer

from r1rl.update.importance import MODES, Correction, gap

LOG2 = math.log(2)
# Two rows of three tokens, of which the second has two. The policy finds the first row's tokens 2, 1 and 1/2 times as
# likely as the sampler did, and the second's 4 times and equally.
POLICY = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, 0.0]])
SAMPLER = POLICY - torch.tensor([[LOG2, 0.0, -LOG2], [2 * LOG2, 0.0, 9.0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("mode", "low", "high", "weights", "outside"),
    [
        pytest.param("token_truncate", None, 3.0, [[2, 1, 0.5], [3, 1, 1]], [(1, 0)], id="a token cut to the bound"),
        pytest.param("token_mask", None, 3.0, [[2, 1, 0.5], [0, 1, 1]], [(1, 0)], id="a token taken out"),
        pytest.param("token_truncate", 0.75, None, [[2, 1, 0.75], [4, 1, 1]], [(0, 2)], id="a lower bound alone"),
        pytest.param("sequence_truncate", None, 3.0, [[1], [3]], [(1, 0)], id="products cancel in a sequence"),
        pytest.param("sequence_mask", None, 3.0, [[1], [0]], [(1, 0)], id="a sequence taken out"),
        pytest.param("sequence_mask", None, None, [[1], [4]], [], id="no bounds"),
    ],
)
def test_weights_by_hand(mode, low, high, weights, outside):
    found, out = Correction(mode, low, high).weights(POLICY, SAMPLER, MASK)
    assert torch.allclose(found, torch.tensor(weights).float())
    assert [tuple(place) for place in out.nonzero().tolist()] == outside


def test_a_token_without_the_samplers_log_probability_has_weight_one():
    unknown = SAMPLER.clone()
    unknown[0, 0] = math.nan
    found, _ = Correction("token_truncate", None, 3.0).weights(POLICY, unknown, MASK)
    assert torch.allclose(found[0], torch.tensor([1, 1, 0.5]))
    assert gap(POLICY, unknown, MASK.bool())[2] == 4


def test_the_gap_by_hand():
    nats, divergence, count = gap(POLICY, SAMPLER, MASK.bool()).tolist()
    assert count == 5
    assert nats == pytest.approx(4 * LOG2)
    assert divergence == pytest.approx((2 - 1 - LOG2) + 0 + (0.5 - 1 + LOG2) + (4 - 1 - 2 * LOG2) + 0)
    assert gap(POLICY, POLICY, MASK.bool()).tolist() == [0, 0, 5]


def test_the_divergence_is_that_of_the_distributions():
    generator = torch.Generator().manual_seed(0)
    sampler, policy = torch.randn(2, 12, generator=generator).log_softmax(-1)
    drawn = sampler.exp().multinomial(200_000, replacement=True, generator=generator).unsqueeze(0)
    total, count = gap(policy[drawn], sampler[drawn], torch.ones_like(drawn, dtype=torch.bool)).tolist()[1:]
    assert total / count == pytest.approx((sampler.exp() * (sampler - policy)).sum().item(), rel=0.02)


def test_trl_has_these_modes():
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert all(f'"{mode}"' in source for mode in MODES)
