"""Which training rollouts a run keeps on disk: all, none, or those of a share of its steps. Evaluations always stay."""

from __future__ import annotations

import math
import os
from typing import Final

from r1rl.store import shards as names

ALL: Final = "all"
EVALUATIONS: Final = "eval"


def share(keep: str) -> float:
    """A recipe's `keep_rollouts` as a share of the training steps.

    Raises:
        ValueError: it is none.
    """
    known = {ALL: 1.0, EVALUATIONS: 0.0}
    try:
        found = known[keep] if keep in known else float(keep)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise ValueError(f"keep_rollouts={keep!r}: need {ALL}, {EVALUATIONS}, or a share of the steps such as 0.1")
    return found


def keeps(keep: float, step: int) -> bool:
    """Whether a step's rollouts stay: evenly spread, step 0 among them."""
    return keep > 0 and (step == 0 or math.floor(step * keep) > math.floor((step - 1) * keep))


def drop(run_dir: str | os.PathLike[str], keep: float, before: int) -> None:
    """Delete the training shards of steps before `before` that do not stay. One process of a run calls it."""
    if keep >= 1:
        return
    for shard in names.listing(names.rollouts_of(run_dir)):
        if shard.kind == "train" and shard.step < before and not keeps(keep, shard.step):
            shard.path.unlink(missing_ok=True)
