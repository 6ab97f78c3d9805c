"""verl's dumps: DIR/1.jsonl, by `trainer.rollout_data_dir` and, of validation, `trainer.validation_data_dir`.

Read in verl 0.9.1 (`RayPPOTrainer._dump_generations`): input, output, gts, score, step, and each list of the reward
function's extra information that has a value for every row. Training dumps begin with 1.jsonl, those of validation with
0.jsonl, before training. Its reward functions say in `acc` whether the answer was right.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from r1rl.store.importers.formats.base import Format, Record, Seen, step_of_name


def _fits(file: Path, record: Record) -> bool:
    has_step = "step" in record or step_of_name(file.name) is not None
    return record.keys() >= {"input", "output", "score"} and has_step


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    if "reward" in record and record["reward"] == record.get("score"):
        record.pop("reward")  # in its validation dumps, `score` once more
    return [record]


def _kind(files: list[Path]) -> str:
    return "eval" if any(step_of_name(file.name) == 0 for file in files) else "train"


FORMAT: Final = Format(
    "verl",
    _fits,
    names={"prompt": ("input",), "completion": ("output",), "gold": ("gts",), "reward": ("score",)},
    rollouts=_rollouts,
    kind=_kind,
    first_steps={"train": 1, "eval": 0},
)
