"""How often each question was answered rightly in stored rollouts: the policy's own measure of difficulty."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from r1rl.ground import whole_files
from r1rl.store import store
from r1rl.store.shard_files import read


def count(runs: Sequence[Path], *, kind: str | None = None, steps: Sequence[int] | None = None) -> dict[str, list[int]]:
    """By question, its rollouts and those that were right, over the shards of all runs, one shard in memory at a time.

    Rollouts whose gold answer could not be used do not count. Raises ValueError where a folder is no run.
    """
    found: dict[str, list[int]] = {}
    for run in runs:
        for shard in store.shards(run, kind=kind, steps=steps):
            table = read(shard.path, columns=["prompt_id", "verdict"])
            grouped = table.group_by(["prompt_id", "verdict"]).aggregate([([], "count_all")]).to_pylist()
            for row in grouped:
                if row["verdict"] in (None, "bad_gold"):
                    continue
                counts = found.setdefault(row["prompt_id"], [0, 0])
                counts[0] += row["count_all"]
                counts[1] += row["count_all"] if row["verdict"] == "correct" else 0
    return found


def write(counts: dict[str, list[int]], path: Path) -> None:
    """One JSON object a line: prompt_id, samples, correct, rate."""
    with whole_files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for prompt_id, (samples, correct) in counts.items():
            line = {"prompt_id": prompt_id, "samples": samples, "correct": correct, "rate": correct / samples}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def bands(counts: dict[str, list[int]]) -> list[tuple[str, int]]:
    """How many questions are never, sometimes and always answered rightly."""
    rates = [correct / samples for samples, correct in counts.values()]
    found = [("never", rates.count(0.0))]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8)):
        found.append((f"up to {100 * high:.0f} %", sum(low < rate <= high for rate in rates)))
    return [*found, ("more", sum(0.8 < rate < 1 for rate in rates)), ("always", rates.count(1.0))]
