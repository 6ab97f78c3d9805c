"""From sampled completions to rows of the rollout store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling
from r1rl.verify import Verdict


@dataclass(frozen=True)
class Origin:
    """What the rows of one shard have in common; `step` and `policy_step` count updates made before."""

    run: str
    kind: str
    step: int
    policy_step: int
    rank: int


def rows(
    origin: Origin,
    inputs: Sequence[dict[str, Any]],
    completions: Sequence[Completion],
    texts: Sequence[str],
    verdicts: Sequence[Verdict],
    sampling: Sampling,
    *,
    samples_per_prompt: int,
    first_group: int = 0,
    rewards: dict[str, Sequence[float | None]] | None = None,
    reward: Sequence[float | None] | None = None,
    advantages: Sequence[float] | None = None,
    kept: Sequence[bool] | None = None,
) -> list[dict[str, Any]]:
    """One store row per completion; groups are runs of `samples_per_prompt` consecutive completions.

    Args:
        inputs: dataset rows (prompt, prompt_id, gold, meta, …), one per completion.
        texts: the decoded completions.
        first_group: number of the first group, for completions that share a shard with others.
        rewards: per-rule rewards by rule name; `reward` is their weighted sum.
        kept: false for a completion whose group is thrown away; None where no group can be.
    """
    now = time.time()
    found = []
    for i, (example, completion) in enumerate(zip(inputs, completions, strict=True)):
        row: dict[str, Any] = {
            "run": origin.run,
            "kind": origin.kind,
            "step": origin.step,
            "policy_step": origin.policy_step,
            "rank": origin.rank,
            "prompt_id": example["prompt_id"],
            "group_id": f"{origin.kind}-{origin.step}-{origin.rank}-{first_group + i // samples_per_prompt}",
            "sample_idx": i % samples_per_prompt,
            "task": example["task"],
            "template": example["template"],
            "prompt": example["prompt"],
            "prefill": example["prefill"],
            "completion": texts[i],
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "n_tokens": len(completion.token_ids),
            "finish_reason": completion.finish_reason,
            "gold": example["gold"],
            "meta": example["meta"],
            "verifier": example["verifier"],
            "verdict": verdicts[i].status,
            "verdict_reason": verdicts[i].reason,
            "reward": None if reward is None else reward[i],
            "advantage": None if advantages is None else advantages[i],
            "kept": None if kept is None else kept[i],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "cap": sampling.max_completion_length,
            "wall_time": now,
        }
        for name, values in (rewards or {}).items():
            row[f"reward_{name}"] = values[i]
        found.append(row)
    return found
