"""Muon in float32: torch's own is the oracle, with room for its bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch

from r1rl.models.base.muon import Muon, orthogonal

_COEFFICIENTS = (3.4445, -4.775, 2.0315)


def _matrices(*shapes: tuple[int, int]) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]


def test_moves_as_torch_s_does_over_several_steps() -> None:
    ours = _matrices((8, 8), (24, 8), (8, 24), (8, 8))
    theirs = copy.deepcopy(ours)
    steps = (Muon(ours, lr=0.05, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1))
    before = [matrix.detach().clone() for matrix in ours]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in steps:
            optimizer.step()
    for start, mine, other in zip(before, ours, theirs, strict=True):
        moved = (mine - start).norm()
        assert (mine - other).norm() < 0.02 * moved, "more than bfloat16's rounding apart"
        assert moved > 0.1


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)], ids=["square", "tall", "wide"])
def test_brings_every_singular_value_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))
    found = torch.linalg.svdvals(orthogonal(matrices, _COEFFICIENTS, 5, 1e-7))
    assert found.min() > 0.3, "Jordan's coefficients leave 0.7 to 1.2, and less for the smallest of a square matrix"
    assert found.max() < 1.3


def test_a_matrix_is_treated_as_it_is_alone() -> None:
    matrices = torch.randn(4, 12, 20, generator=torch.Generator().manual_seed(3))
    matrices[2] *= 1e6
    matrices[3] = 0
    together = orthogonal(matrices, _COEFFICIENTS, 5, 1e-7)
    for matrix, of_all in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonal(matrix[None], _COEFFICIENTS, 5, 1e-7)[0], of_all)
    assert not together[3].any()


def test_a_parameter_without_a_gradient_stays() -> None:
    moved, kept = _matrices((8, 8), (8, 8))
    moved.grad = torch.ones_like(moved)
    before = kept.detach().clone()
    Muon([moved, kept], lr=0.1).step()
    assert torch.equal(kept, before)
