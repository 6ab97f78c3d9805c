"""Training rollouts of a run without held-out prompts, as an imported one is: rates of every step, rollouts of some."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from r1rl.store import store
from r1rl.store.schema import REWARD_PREFIX

STEPS: Final = 12
ROLLOUTS: Final = 256
"""Rollouts in which attempts and markers are looked for: at most so many a step, of at most STEPS steps."""

_RATES: Final = """
SELECT step + 1 AS step, avg(reward) AS reward, avg(n_tokens) AS "completions/mean_length",
    avg((verdict = 'correct')::DOUBLE) FILTER (verdict <> 'bad_gold') AS train_accuracy,
    avg((finish_reason = 'length')::DOUBLE) AS "completions/clipped_ratio"{parts}
FROM rollouts WHERE kind = 'train' GROUP BY step ORDER BY step"""


def rates(run: Path) -> list[dict[str, Any]]:
    """What a run of r1rl logs and its rollouts tell: a dict a step, named as in metrics.jsonl; null where unknown.

    As there, `step` counts the updates made once the step is over.
    """
    columns = store.query(run, "SELECT * FROM rollouts LIMIT 0").column_names
    quoted = [name.replace('"', '""') for name in columns if name.startswith(REWARD_PREFIX)]
    parts = "".join(f', avg("{name}") AS "rewards/{name.removeprefix(REWARD_PREFIX)}/mean"' for name in quoted)
    found: list[dict[str, Any]] = store.query(run, _RATES.format(parts=parts)).to_pylist()
    return found


def drawn(run: Path, columns: Sequence[str], seed: int = 0) -> dict[int, list[dict[str, Any]]]:
    """Rollouts by step: of the first, the last and evenly many between, ROLLOUTS each, drawn by `seed`."""
    every = store.query(run, "SELECT DISTINCT step FROM rollouts WHERE kind = 'train' ORDER BY step")
    steps = every.column("step").to_pylist()
    few = min(STEPS, len(steps))
    found = {}
    for step in [steps[i * (len(steps) - 1) // max(1, few - 1)] for i in range(few)]:
        table = store.read(run, kind="train", steps=[step], columns=columns)
        if len(table) > ROLLOUTS:
            table = table.take(sorted(random.Random(f"training|{step}|{seed}").sample(range(len(table)), ROLLOUTS)))
        found[step] = table.to_pylist()
    return found
