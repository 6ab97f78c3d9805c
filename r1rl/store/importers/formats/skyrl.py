"""SkyRL's evaluations: EXPORT_PATH/dumped_evals/global_step_20_evals/DATA_SOURCE.jsonl, by `dump_eval_results`.

Read in SkyRL at commit a9564572 (`dump_per_dataset_eval_results`): input_prompt and output_response as decoded with
special tokens, score (a number, or one for each token), stop_reason, env_class, env_extras, data_source. `global_step`
counts the updates made before; `eval_only` has none. Its training batches, `dumped_data/*.pkl`, are pickles.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from r1rl.store.importers.formats.base import FINISHED, Format, Record, Seen, step_of_name


def _fits(file: Path, record: Record) -> bool:
    return record.keys() >= {"input_prompt", "output_response", "score"}


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    score = record.get("score")
    if isinstance(score, list):  # one for each token
        score = sum(value for value in score if isinstance(value, int | float))
    extras = record.get("env_extras")
    spec: Any = extras.get("reward_spec") if isinstance(extras, dict) else None
    row = {
        "prompt": record.get("input_prompt"),
        "completion": record.get("output_response"),
        "reward": score,
        "finish_reason": FINISHED.get(str(record.get("stop_reason"))),
        "gold": spec.get("ground_truth") if isinstance(spec, dict) else None,
        "task": record.get("data_source") or record.get("env_class"),
    }
    step = step_of_name(file.parent.name)
    return [row if step is None else row | {"step": step}]


FORMAT: Final = Format("skyrl", _fits, rollouts=_rollouts, kind=lambda files: "eval", flat=False)
