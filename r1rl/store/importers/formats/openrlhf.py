"""OpenRLHF's files of `batch_inference`: input and output, and reward once `--eval_task rm` scored them.

Read in OpenRLHF 0.8.11, the last release that has `openrlhf.cli.batch_inference`; later ones write no rollouts to disk.
Its post-processor `iter_dpo` keeps the best and the worst rollout of a prompt in one record. No gold, no step: one
model's answers, which are an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from r1rl.store.importers.formats.base import Format, Record, Seen

_PAIR: Final = {"prompt", "chosen", "chosen_reward", "rejected", "rejected_reward"}


def _fits(file: Path, record: Record) -> bool:
    return {"input", "output"} <= record.keys() <= {"input", "output", "reward"} or record.keys() == _PAIR


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    if record.keys() != _PAIR:
        return [{"prompt": record.get("input"), "completion": record.get("output"), "reward": record.get("reward")}]
    return [
        {"prompt": record["prompt"], "completion": record[which], "reward": record[f"{which}_reward"]}
        for which in ("chosen", "rejected")
    ]


FORMAT: Final = Format("openrlhf", _fits, rollouts=_rollouts, kind=lambda files: "eval", flat=False)
