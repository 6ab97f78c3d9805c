"""From sampled completions to rows of the rollout store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling
from r1rl.verify import Verdict

_OF_THE_PROBLEM = ("prompt_id", "task", "template", "prompt", "prefill", "gold", "meta", "verifier")


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
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> list[dict[str, Any]]:
    """One store row per completion; groups are runs of `samples_per_prompt` consecutive completions.

    Args:
        inputs: dataset rows (prompt, prompt_id, gold, meta, …), one per completion.
        texts: the decoded completions.
        first_group: number of the first group, for completions that share a shard with others.
        columns: further columns: `reward`, `advantage`, `kept` (false for a completion whose group is thrown away) and
            `reward_NAME`.
    """
    now = time.time()
    found = []
    for i, (example, completion) in enumerate(zip(inputs, completions, strict=True)):
        row = asdict(origin) | {name: example[name] for name in _OF_THE_PROBLEM}
        row |= {
            "group_id": f"{origin.kind}-{origin.step}-{origin.rank}-{first_group + i // samples_per_prompt}",
            "sample_idx": i % samples_per_prompt,
            "completion": texts[i],
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "n_tokens": len(completion.token_ids),
            "finish_reason": completion.finish_reason,
            "verdict": verdicts[i].status,
            "verdict_reason": verdicts[i].reason,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "cap": sampling.max_completion_length,
            "wall_time": now,
        }
        found.append(row | {name: values[i] for name, values in (columns or {}).items()})
    return found
