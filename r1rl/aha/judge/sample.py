"""Which rollouts a judge sees, in which order, and what the exact detectors say of them.

The draw is a ranking of (prompt, sample) by a digest of the seed and their names, the same at every step. So each step
has about as many, mostly of the same prompts; a larger sample holds the smaller one, whose answers are known.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from r1rl.aha.detect.annotation import KEY
from r1rl.aha.figures.annotations import connection
from r1rl.store import store
from r1rl.store.schema import KINDS, SAMPLED_SQL

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
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: need one of {', '.join(KINDS)}")
    if size < 1 or seed < 0:
        raise ValueError(f"sample={size}, seed={seed}: need a sample >= 1 and a seed >= 0")
    if not where.strip():
        raise ValueError("where='': need an SQL condition; try \"step IN (0, 100)\"")
    keys = store.query(
        run_dir, f"SELECT {', '.join(KEY)} FROM rollouts WHERE kind = '{kind}' AND {SAMPLED_SQL} AND ({where}\n)"
    ).to_pylist()
    if not keys:
        raise ValueError(f"where={where!r}: no {kind} rollouts of {str(run_dir)!r} fit; try another --where or --kind")
    by_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in keys:
        by_step[row["step"]].append(row)
    shares = allot({step: len(rows) for step, rows in by_step.items()}, size, seed)
    chosen = []
    for step, rows in by_step.items():
        rows.sort(key=lambda row: (_rank(seed, row["prompt_id"], row["sample_idx"]), _names(row)))
        chosen += rows[: shares[step]]
    chosen.sort(key=lambda row: (_rank(seed, "order", *_names(row)), _names(row)))
    texts, detected = _texts(run_dir, chosen), _detected(run_dir, kind, sorted(by_step))
    unknown = dict.fromkeys(DETECTORS)
    return [
        Item(row["step"], row["prompt_id"], row["sample_idx"], *texts[name], detected.get(name, unknown))
        for row in chosen
        if (name := _names(row)) in texts  # a resumed run may sample its last step again meanwhile
    ]


def allot(available: Mapping[int, int], size: int, seed: int = 0) -> dict[int, int]:
    """How many rollouts of each step: as equal as can be, what one step lacks from the others, no more than `size`."""
    # What does not divide goes to steps in an order of the seed's.
    order = sorted(available, key=lambda step: _rank(seed, "step", step))
    slots = sorted((n, place) for place, step in enumerate(order) for n in range(available[step]))[:size]
    return {step: sum(order[place] == step for _, place in slots) for step in available}


def _texts(run_dir: Path | str, chosen: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], tuple[str, str]]:
    """Question and completion by key; only the shards that hold them are read in full."""
    listed = ", ".join(f"({row['step']}, '{_quoted(row['prompt_id'])}', {row['sample_idx']})" for row in chosen)
    where = f"kind = '{chosen[0]['kind']}' AND (step, prompt_id, sample_idx) IN ({listed})"
    found = store.find(run_dir, where, limit=1_000_000_000, columns=[*KEY, "prompt", "prefill", "completion"])
    # What the prompt opens of the answer is no part of the question.
    return {
        _names(row): (row["prompt"].removesuffix(row["prefill"] or ""), row["completion"]) for row in found.to_pylist()
    }


def _detected(run_dir: Path | str, kind: str, steps: Sequence[int]) -> dict[tuple[Any, ...], dict[str, bool | None]]:
    columns = ", ".join(f'({sql}) AS "{name}"' for name, (_, sql) in DETECTORS.items())
    with connection(run_dir, kind=kind, steps=steps) as database:
        rows = database.execute(f"SELECT {', '.join(KEY)}, {columns} FROM annotations").fetchall()
    split = len(KEY)
    return {tuple(map(str, row[:split])): dict(zip(DETECTORS, row[split:], strict=True)) for row in rows}


def _names(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _rank(seed: int, *names: object) -> bytes:
    return hashlib.sha256(repr((seed, *map(str, names))).encode("utf-8", "surrogatepass")).digest()


def _quoted(text: str) -> str:
    return text.replace("'", "''")
