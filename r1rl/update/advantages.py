"""Baselines that TRL's GRPO does not have, as functions of the rewards alone.

Rewards are float32 [groups, rollouts] of the whole batch, NaN where no rule judged a rollout; such a rollout counts
nowhere and has advantage 0. Advantages have the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def rloo(rewards: torch.Tensor) -> torch.Tensor:
    """Each reward less the mean of its siblings', so that a rollout is no part of its own baseline.

    Source: RLOO, arXiv 2402.14740, equation 8; without TRL's division by the group's standard deviation.
    """
    judged = rewards.isfinite()
    count = judged.sum(-1, keepdim=True)
    total = rewards.nansum(-1, keepdim=True)
    others = (total - rewards) / (count - 1).clamp(min=1)
    return torch.where(judged & (count > 1), rewards - others, 0.0)


def reinforce_plus_plus_baseline(rewards: torch.Tensor) -> torch.Tensor:
    """Each reward less its group's mean, divided by the standard deviation over the whole batch.

    Source: REINFORCE++ with a group baseline, arXiv 2501.03262, section 3. It normalises over the rollouts of the
    batch; verl's weighs each rollout by its number of tokens.
    """
    judged = rewards.isfinite()
    centred = rewards - rewards.nanmean(-1, keepdim=True)
    known = centred[judged]
    if len(known) < 2:
        return torch.zeros_like(rewards)
    scaled = (centred - known.mean()) / (known.std() + 1e-4)  # TRL's constant
    return torch.where(judged, scaled, 0.0)


ESTIMATORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rloo": rloo,
    "reinforce_plus_plus_baseline": reinforce_plus_plus_baseline,
}
"""By the value of `advantage_estimator`; `grpo` is TRL's own, see `scale_rewards`."""
