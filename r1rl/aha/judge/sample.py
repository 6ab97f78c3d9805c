"""Which rollouts a judge sees, in which order, and what the exact detectors say of them.

The draw is a ranking of (prompt, sample) by a digest of the seed and their names, the same at every step. So each step
has about as many, mostly of the same prompts; a larger sample holds the smaller one, whose answers are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from r1rl.aha.detect.annotation import KEY
from r1rl.aha.figures.annotations import connection
from r1rl.store import store
from r1rl.store.schema import SAMPLED_SQL

DETECTORS: Final[Mapping[str, tuple[str, str]]] = {
    "self_verification": ("a goal test", "len(goal_tests) > 0"),
    "retry": ("more than one attempt", "n_attempts > 1"),
    "superficial": (
        "a marker, no goal test, one attempt at most",
        "CASE WHEN n_attempts IS NOT NULL AND goal_tests IS NOT NULL "
        "THEN marker_strict > 0 AND n_attempts <= 1 AND len(goal_tests) = 0 END",
    ),
    "any": ("a marker", "marker_strict > 0"),
}
"""Label of a judge -> its counterpart in words, and in DuckDB's SQL on a row of annotations; null: not looked for."""


@dataclass(frozen=True, slots=True)
class Item:
    """One rollout: what a judge sees (`question`, `completion`), and what it does not."""

    step: int
    prompt_id: str
    sample_idx: int
    question: str
    completion: str
    detected: Mapping[str, bool | None]


def draw(run_dir: Path | str, *, kind: str = "eval", where: str = "true", size: int = 200, seed: int = 0) -> list[Item]:
    """`size` rollouts of a run, as many at each step as can be, in an order that mixes the steps.

    Annotations must be there. Raises ValueError for no run, a condition that DuckDB does not take, or no rollouts.
    """
    if size < 1:
        raise ValueError(f"sample={size}: need >= 1")
    possible = f"kind = '{kind}' AND {SAMPLED_SQL} AND ({where}\n)"
    # What the size leaves over after so many of each step goes to steps in an order of the seed's.
    drawn = f"""SELECT step, prompt_id, sample_idx FROM rollouts WHERE {possible} ORDER BY
        row_number() OVER (PARTITION BY step ORDER BY sha256(concat_ws(' ', {seed}, sample_idx, prompt_id))),
        sha256(concat_ws(' ', {seed}, 'step', step)) LIMIT {size}"""
    rows = store.find(
        run_dir,
        f"{possible} AND (step, prompt_id, sample_idx) IN ({drawn})",
        limit=size,
        columns=[*KEY, "prompt", "prefill", "completion"],
    ).to_pylist()
    if not rows:
        raise ValueError(f"where={where!r}: no {kind} rollouts of {str(run_dir)!r} fit; try another --where or --kind")
    rows.sort(key=lambda row: hashlib.sha256(repr((seed, _names(row))).encode("utf-8", "surrogatepass")).digest())
    detected = _detected(run_dir, kind, sorted({row["step"] for row in rows}))
    return [
        Item(
            row["step"],
            row["prompt_id"],
            row["sample_idx"],
            row["prompt"].removesuffix(row["prefill"] or ""),  # what the prompt opens of the answer is no question
            row["completion"],
            detected.get(_names(row), dict.fromkeys(DETECTORS)),
        )
        for row in rows
    ]


def _detected(run_dir: Path | str, kind: str, steps: Sequence[int]) -> dict[tuple[Any, ...], dict[str, bool | None]]:
    columns = ", ".join(f'({sql}) AS "{name}"' for name, (_, sql) in DETECTORS.items())
    with connection(run_dir, kind=kind, steps=steps) as database:
        rows = database.execute(f"SELECT {', '.join(KEY)}, {columns} FROM annotations").fetchall()
    split = len(KEY)
    return {tuple(map(str, row[:split])): dict(zip(DETECTORS, row[split:], strict=True)) for row in rows}


def _names(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)
