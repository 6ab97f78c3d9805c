"""TRL's tables: OUTPUT_DIR/completions/completions_00001.parquet, by `log_completions=True`.

Read in TRL 1.16: `GRPOTrainer.log` writes step, prompt, completion, one column a reward function, what `log_extra` was
given, and advantage; the distillation trainers the first three. The same table in W&B's folder is
`media/table/completions_*.table.json`. Images are left out of them already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from r1rl.store.importers.formats.base import Format, Record

_EXPORTED: Final = {"kind", "prompt_id", "policy_step", "completion"}  # columns that TRL's tables lack
_TABLE: Final = {"step", "prompt", "completion"}


def _fits(file: Path, record: Record) -> bool:
    if file.suffix == ".parquet":
        return not record.keys() >= _EXPORTED
    return file.name.endswith(".table.json") and record.keys() >= _TABLE


FORMAT: Final = Format(
    "trl",
    _fits,
    names={"gold": ("gold", "solution", "answer", "ground_truth")},
    first_steps={"train": 1, "eval": 0},
)
