"""The settings that are measured, by name: a recipe of this repository and what is changed in it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from r1rl.ground.machine import has_bf16_kernels, usable_cores

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SMOLLM2, TINY = "smollm2-135m/mawps.yaml", "tiny/countdown.yaml"
DATA_FILE = "mawps_singleop.jsonl"
SIGNAL = {"reward_funcs": ["benchmarks.presets:characters"], "reward_weights": [1.0]}
"""A reward under which no group is without signal."""

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
_BATCH: dict[str, Any] = {"prompts_per_step": 8, "num_generations": 8, "max_completion_length": 128}
# Countdown in words, which needs no data, under the model's own chat template: about 66 tokens a prompt.
_SHORT = _BATCH | {
    "task": "countdown",
    "task_options": {},
    "prompt_template": "chat",
    "prompt_options": {"system": "Solve the problem.", "stop": []},
    "temperature": 1.0,
}


def characters(completions: list[str], **columns: Any) -> list[float]:
    """The completion's number of characters, in thousands: a reward that tells nearly any two completions apart."""
    return [len(text) / 1000 for text in completions]


@dataclass(frozen=True)
class Preset:
    """One setting.

    Args:
        recipe: file below recipes/.
        changes: keys of the recipe that are replaced.
        note: what the reader must know of it.
        micro_batches: what plain TRL is tried with; the fastest is measured.
        reads_data: the recipe reads problems from the data folder. Its stop strings, which plain TRL's `generate`
            cannot take, are switched off for us too.
    """

    recipe: str
    changes: Mapping[str, Any]
    note: str
    micro_batches: tuple[int, ...] = (8, 16, 64)
    reads_data: bool = False


PRESETS: dict[str, Preset] = {
    "smollm2-short": Preset(
        SMOLLM2,
        _SHORT,
        "SmolLM2-135M, 8 prompts x 8, Countdown in words under the chat template, cap 128, the recipe's own reward",
    ),
    "smollm2-signal": Preset(
        SMOLLM2,
        _SHORT | SIGNAL,
        "as smollm2-short, rewarded by the number of characters, so that every group has signal and no row is skipped",
    ),
    "smollm2-fewshot-nostop": Preset(
        SMOLLM2,
        _BATCH,
        "SmolLM2-135M, 8 prompts x 8, cap 128, the recipe's worked examples without stop strings (plain TRL's generate "
        "has no tokenizer to find them with), so that both sides write completions of the same lengths",
        reads_data=True,
    ),
    "smollm2-longtail": Preset(
        SMOLLM2,
        _SHORT | {"max_completion_length": 1024},
        "as smollm2-short with cap 1024: most completions end before 200 tokens, some run to the cap",
    ),
    "smollm2-many": Preset(
        SMOLLM2,
        _SHORT | {"prompts_per_step": 64},
        "as smollm2-short with 64 prompts: 512 completions at once",
    ),
    "tiny": Preset(
        TINY, {}, "the tiny recipe's own step: 12 prompts x 16, cap 112, its base model", micro_batches=(16, 64, 192)
    ),
}


@dataclass(frozen=True)
class Setting:
    """A preset made ready: the name that its rows carry, the recipe's keys, what plain TRL is tried with, its note."""

    name: str
    keys: dict[str, Any]
    micro_batches: tuple[int, ...]
    note: str

    def write(self, folder: Path) -> Path:
        """Write the recipe; returns its path."""
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(self.keys, sort_keys=False), encoding="utf-8")
        return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a part that measures a preset."""
    parser.add_argument("--preset", default="tiny", choices=list(PRESETS), help="(default: tiny)")
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16"), help="number format (default: what the recipe trains in on this processor)"
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help=f"folder with {DATA_FILE}, for few-shot presets")
    add_turn_arguments(parser)


def add_turn_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every part whose sides take turns."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns of each side (default: 3)")
    parser.add_argument("--warmup", type=int, default=0, metavar="N", help="turns before them (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of problems and sampling (default: 0)")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), metavar="N", help="of torch, on both sides (default: all cores)"
    )


def check(parsed: argparse.Namespace, **least: int) -> None:
    """Raises ValueError where an option that is a number, or several, is below its least value."""
    for key, value in {"repeats": 1, "warmup": 0, "threads": 1, **least}.items():
        given = getattr(parsed, key, value)
        if min(given if isinstance(given, list) else [given]) < value:
            raise ValueError(f"{key}={given}: need at least {value}")


def setting(
    name: str,
    *,
    dtype: str | None = None,
    seed: int = 0,
    data: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Setting:
    """The preset `name` in a number format, further keys replaced by `changes`.

    Args:
        dtype: `fp32` or `bf16` (TRL's `bf16: true`: float32 weights, autocast), on both sides; None: the recipe's
            on this processor.
        data: the folder with the problems.

    Raises:
        ValueError: no such number format here, or the preset's data is missing.
    """
    preset = PRESETS[name]
    keys: dict[str, Any] = yaml.safe_load((RECIPES / preset.recipe).read_text(encoding="utf-8"))
    if dtype == "bf16" and not has_bf16_kernels():
        raise ValueError("dtype=bf16: this processor has no bf16 instructions, r1rl trains in float32 on it; try fp32")
    dtype = dtype or ("bf16" if keys.get("bf16") and has_bf16_kernels() else "fp32")
    keys |= {**preset.changes, **_FIXED, "bf16": dtype == "bf16", "seed": seed, **(changes or {})}
    keys = {key: value for key, value in keys.items() if key not in _WITHOUT}
    if preset.reads_data:
        if data is None or not (data / DATA_FILE).is_file():
            raise ValueError(
                f"data={data and str(data)!r}: preset {name!r} reads {DATA_FILE}; give its folder with --data"
            )
        keys["prompt_options"] = keys.get("prompt_options", {}) | {"stop": []}
        keys["task_options"] = keys["task_options"] | {"path": str((data / DATA_FILE).resolve())}
    return Setting(f"{name} {dtype}", keys, preset.micro_batches, preset.note)
