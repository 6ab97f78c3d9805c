"""Where sampler and policy differ: how far they are apart, and the weights that correct for it.

Both take log-probabilities of the same sampled tokens: under the policy that learns, and under whatever sampled them
(vLLM, or weights in another number format).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

MODES = ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate")


@dataclass(frozen=True)
class Correction:
    """TRL's truncated and masked importance sampling, under TRL's names less `vllm_importance_sampling_`.

    Args:
        mode: a weight for each token or each sequence; one out of bounds is set to the bound or to 0.
        clip_min, clip_max: the bounds; None: none.
    """

    mode: str
    clip_min: float | None
    clip_max: float | None

    def weights(
        self, policy: torch.Tensor, sampler: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss's weights pi_policy / pi_sampler, as TRL 1.16 computes them, and which were out of bounds.

        Args:
            policy, sampler: log-probabilities, float32 [rows, tokens]; NaN where the sampler has none (weight 1).
            mask: 1 for a completion's tokens, [rows, tokens].

        Returns:
            The weights, float32, and bool; [rows, tokens], or [rows, 1] where sequences are weighted.
        """
        differences = torch.nan_to_num((policy - sampler) * mask, nan=0.0)
        if self.mode.startswith("sequence"):
            differences = differences.sum(dim=-1, keepdim=True)
        ratio = differences.exp()
        low = -math.inf if self.clip_min is None else self.clip_min
        high = math.inf if self.clip_max is None else self.clip_max
        outside = (ratio < low) | (ratio > high)
        if self.mode.endswith("mask"):
            return ratio.masked_fill(outside, 0.0), outside
        return ratio.clamp(low, high), outside


def gap(policy: torch.Tensor, sampler: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Sums over the counted tokens, float64 [3]: |difference| in nats, KL(sampler || policy) in nats, and their number.

    The divergence is estimated without bias from the sampled tokens, r - 1 - log r with r = pi_policy / pi_sampler
    (Schulman's k3, http://joschu.net/blog/kl-approx.html). Tokens without a sampler's log-probability do not count.

    Args:
        policy, sampler: log-probabilities, [rows, tokens].
        counted: bool [rows, tokens].
    """
    differences = (policy - sampler)[counted & ~sampler.isnan()].double()
    divergence = differences.expm1() - differences
    return torch.stack([differences.abs().sum(), divergence.sum(), differences.new_tensor(len(differences))])
