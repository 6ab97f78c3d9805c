"""Saved results of verifiers before its traces: outputs/evals/ENV--MODEL/ID/results.jsonl beside metadata.json.

Read in verifiers 0.1.14 (`save_utils.state_to_output`) and at commit 39f0675 (`vf-eval --save-dataset`): prompt and
completion as messages, answer, reward, metrics once as a mapping and once as columns. An evaluation of one model.
prime-rl 0.6 writes such lines while it trains: RUN/rollouts/step_0/train_rollouts.jsonl and eval_rollouts_ENV.jsonl
(`save_rollouts` of `FinishedRollout.to_dict`), where a step counts the updates made before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from r1rl.ground import whole_files
from r1rl.store.importers.formats.base import Format, Record, Seen, step_of_name

_WHILE_TRAINING: Final = ("train_rollouts", "eval_rollouts")
_FACTS: Final = {"generation_ms", "scoring_ms", "total_ms", "id", "example_id"}  # numbers that are no rewards


def _fits(file: Path, record: Record) -> bool:
    now, before = {"example_id", "is_completed", "timing"}, {"id", "generation_ms", "scoring_ms"}
    return record.keys() >= {"prompt", "completion", "reward"} and (record.keys() >= now or record.keys() >= before)


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    settings = _metadata(file.parent)
    sampling = settings.get("sampling_args")
    sampling = sampling if isinstance(sampling, dict) else {}
    metrics = record.get("metrics")
    if not isinstance(metrics, dict):
        metrics = {name: value for name, value in record.items() if isinstance(value, float) and name not in _FACTS}
    usage: Any = record.get("token_usage")
    metrics.pop("reward", None)
    row = {
        **metrics,
        "prompt": record.get("prompt"),
        "completion": record.get("completion") or None,
        "gold": record.get("answer"),
        "meta": record.get("info"),
        "reward": record.get("reward"),
        "task": record.get("task") if isinstance(record.get("task"), str) else settings.get("env_id"),
        "n_tokens": usage.get("output_tokens") if isinstance(usage, dict) else None,
        "temperature": sampling.get("temperature"),
        "top_p": sampling.get("top_p"),
        "cap": sampling.get("max_tokens"),
    }
    if isinstance(record.get("is_truncated"), bool):
        row["finish_reason"] = "length" if record["is_truncated"] else "stop"
    if file.name.startswith(_WHILE_TRAINING):
        row |= {
            "kind": "train" if file.name.startswith("train") else "eval",
            "step": step_of_name(file.parent.name),
            "policy_step": record.get("policy_version"),
            "group": record.get("group_id"),
            "advantage": record.get("advantage"),
            "task": record.get("env_name") or row["task"],
        }
    return [row]


@functools.lru_cache(maxsize=1)
def _metadata(folder: Path) -> dict[str, Any]:
    return whole_files.read_json(folder / "metadata.json") or {}


FORMAT: Final = Format("verifiers", _fits, rollouts=_rollouts, kind=lambda files: "eval", flat=False)
