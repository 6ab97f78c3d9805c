"""Rollouts that nobody sampled, in the shape in which a trainer's loss gets them."""

from __future__ import annotations

from typing import Any

import torch


def batch(groups: int = 3, size: int = 4, completion: int = 20, seed: int = 0, beginning: int = 0) -> dict[str, Any]:
    """Groups behind one prompt each; the second group has no advantage and the second rollout no token.

    `beginning`: tokens that all prompts begin with.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, width = groups * size, beginning + 4 + 3 * groups
    prompt_ids, prompt_mask = torch.zeros(2, rows, width, dtype=torch.long)
    completion_ids, completion_mask = torch.zeros(2, rows, completion, dtype=torch.long)
    for row in range(rows):
        used = 4 + 3 * (row // size)
        written = 0 if row == 1 else int(torch.randint(1, completion, (1,), generator=generator))
        prompt_ids[row, width - used :] = torch.arange(3 + row // size, 3 + row // size + used)
        prompt_ids[row, width - used - beginning : width - used] = torch.arange(60, 60 + beginning)
        prompt_mask[row, width - used - beginning :] = 1
        completion_ids[row, :written] = torch.randint(3, 127, (written,), generator=generator)
        completion_mask[row, :written] = 1
    advantages = torch.randn(rows, generator=generator)
    advantages[size : 2 * size] = 0
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": advantages,
        "num_items_in_batch": completion_mask.sum(),
        "sampling_per_token_logps": torch.full(completion_ids.shape, -1.0),
    }
