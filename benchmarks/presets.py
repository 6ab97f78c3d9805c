"""The settings that are measured, by name: a recipe of this repository and what is changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from r1rl.ground.errors import nearest

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SMOLLM2, TINY = "smollm2-135m/mawps.yaml", "tiny/countdown.yaml"
DATA_FILE = "mawps_singleop.jsonl"
NO_SIGNAL_LOST = "benchmarks.signal:characters"

# Held fixed, so that every repeat samples from (almost) the same policy and both sides get the same lengths.
_FIXED: dict[str, Any] = {
    "learning_rate": 1e-7,
    "max_steps": 100_000,
    "max_wasted_steps": 0,
    "eval_steps": 0,
    "heldout_size": 1,
    "train_size": 256,
    "report_to": "none",
}
_WITHOUT = ("save_steps", "save_total_limit", "num_generations_eval")

# Countdown in words, which needs no data, under the model's own chat template: about 66 tokens a prompt.
_SHORT: dict[str, Any] = {
    "task": "countdown",
    "task_options": {},
    "prompt_template": "chat",
    "prompt_options": {"system": "Solve the problem.", "stop": []},
    "temperature": 1.0,
    "prompts_per_step": 8,
    "num_generations": 8,
    "max_completion_length": 128,
}
_FEW_SHOT: dict[str, Any] = {"prompts_per_step": 8, "num_generations": 8, "max_completion_length": 128}


@dataclass(frozen=True)
class Preset:
    """One setting.

    Args:
        recipe: file below recipes/.
        changes: keys of the recipe that are replaced.
        note: what the reader must know of it.
        micro_batches: what plain TRL is tried with; the fastest is measured.
        needs_data: the recipe reads a file of problems.
        without_stops: stop strings, which plain TRL's `generate` cannot take, are switched off for us too.
    """

    recipe: str
    changes: Mapping[str, Any]
    note: str
    micro_batches: tuple[int, ...] = (8, 16, 64)
    needs_data: bool = False
    without_stops: bool = False


PRESETS: dict[str, Preset] = {
    "smollm2-short": Preset(
        SMOLLM2,
        _SHORT,
        "SmolLM2-135M, 8 prompts x 8, Countdown in words under the chat template, cap 128, the recipe's own reward",
    ),
    "smollm2-signal": Preset(
        SMOLLM2,
        _SHORT | {"reward_funcs": [NO_SIGNAL_LOST], "reward_weights": [1.0]},
        "the same, rewarded by the number of characters, so that every group has signal and no row is skipped",
    ),
    "smollm2-fewshot": Preset(
        SMOLLM2,
        _FEW_SHOT,
        "SmolLM2-135M, 8 prompts x 8, the recipe's worked examples and its stop strings (which plain "
        "TRL lacks: its generate has no tokenizer to find them with), cap 128",
        needs_data=True,
    ),
    "smollm2-fewshot-nostop": Preset(
        SMOLLM2,
        _FEW_SHOT,
        "the same without stop strings, so that both sides write completions of the same lengths",
        needs_data=True,
        without_stops=True,
    ),
    "smollm2-longtail": Preset(
        SMOLLM2,
        _SHORT | {"max_completion_length": 1024},
        "as smollm2-short with cap 1024: most completions end before 200 tokens, some run to the cap",
    ),
    "tiny": Preset(
        TINY, {}, "the tiny recipe's own step: 12 prompts x 16, cap 112, its base model", micro_batches=(16, 64, 192)
    ),
}


@dataclass(frozen=True)
class Setting:
    """A preset made ready: the recipe's keys, and the name that its rows carry."""

    name: str
    keys: dict[str, Any] = field(hash=False)
    micro_batches: tuple[int, ...]
    note: str

    def write(self, path: Path) -> Path:
        """Write the recipe."""
        path.write_text(yaml.safe_dump(self.keys, sort_keys=False), encoding="utf-8")
        return path


def setting(
    name: str,
    *,
    dtype: str,
    seed: int = 0,
    data: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Setting:
    """The preset `name` in a number format, further keys replaced by `changes`.

    Args:
        dtype: `fp32` or `bf16` (TRL's `bf16: true`: float32 weights, autocast), on both sides.
        data: the folder with the problems, or the file.

    Raises:
        ValueError: unknown preset, or its data or recipe is missing.
    """
    if name not in PRESETS:
        raise ValueError(f"preset={name!r}: known are {', '.join(PRESETS)}{nearest(name, PRESETS)}")
    preset = PRESETS[name]
    source = RECIPES / preset.recipe
    if not source.is_file():
        raise ValueError(f"preset={name!r}: {source} is missing; benchmarks need a clone of the repository")
    keys: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    keys |= dict(preset.changes) | _FIXED | {"bf16": dtype == "bf16", "seed": seed} | dict(changes or {})
    keys = {key: value for key, value in keys.items() if key not in _WITHOUT}
    if preset.without_stops:
        keys["prompt_options"] = keys.get("prompt_options", {}) | {"stop": []}
    if preset.needs_data:
        keys["task_options"] = keys["task_options"] | {"path": str(_data_file(name, data))}
    return Setting(f"{name} {dtype}", keys, preset.micro_batches, preset.note)


def _data_file(preset: str, data: Path | None) -> Path:
    if data is None:
        raise ValueError(f"data=None: preset {preset!r} reads {DATA_FILE}; give its folder with --data")
    file = data / DATA_FILE if data.is_dir() else data
    if not file.is_file():
        raise ValueError(f"data={str(data)!r}: no {DATA_FILE} there; try the folder that has it")
    return file.resolve()
