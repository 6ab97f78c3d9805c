"""What the processes do that test_crash kills; run by path, so that they need not find the test suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from r1rl.store import store

RANKS = 2


def row(step: int, rank: int, attempt: int, index: int) -> dict[str, Any]:
    """A rollout that tells which shard it belongs to, and by which attempt of that shard it was written."""
    return {
        "run": "killed",
        "policy_step": attempt,
        "prompt_id": f"made:{index}",
        "group_id": f"{step}-{rank}",
        "sample_idx": index,
        "task": "countdown",
        "template": "none",
        "prompt": "",
        "prefill": "",
        "completion": f"{step} {rank} {attempt} {index} " * 20,
        "token_ids": [step, rank, index],
        "logprobs": [-0.5] * 3,
        "n_tokens": 3,
        "finish_reason": "eos",
        "gold": "1",
        "meta": "{}",
        "temperature": 1.0,
        "top_p": 1.0,
        "cap": 8,
        "wall_time": 0.0,
        **({"reward_even": 1.0} if step % 2 == 0 else {}),
    }


def count(step: int, rank: int) -> int:
    """Rows of a shard."""
    return 3 + (5 * step + rank) % 4


def write(run: Path, log: Path, first: int, attempt: int) -> None:
    """Write one step after another, and log each shard once it is written."""
    with open(log, "ab", buffering=0) as lines:
        for step in range(first, 10**6):
            for rank in range(RANKS):
                rows = [row(step, rank, attempt, i) for i in range(count(step, rank))]
                store.write_shard(run, rows, kind="train", step=step, rank=rank)
                os.write(lines.fileno(), f"{step} {rank} {attempt}\n".encode())


def rewind(run: Path, step: int) -> None:
    """Forget what came after `step`."""
    store.rewind(run, step)


if __name__ == "to_be_killed":
    ready.set()  # type: ignore[name-defined]  # noqa: F821
    {"write": write, "rewind": rewind}[work](*arguments)  # type: ignore[name-defined]  # noqa: F821
