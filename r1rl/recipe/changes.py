"""What a resumed run's recipe may say otherwise than the run's own: what changes nothing of what is computed."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from r1rl.ground.errors import RecipeError
from r1rl.ground.values import read_yaml
from r1rl.recipe.keys import Recipe

if TYPE_CHECKING:
    from r1rl.recipe.load import LoadedRecipe

Changes = dict[str, tuple[Any, Any]]
"""What the run's recipe says, and what is said now, by key; of mappings by `key.sub`."""

_FREE: Final = frozenset((
    "runs_dir", "name", "resume", "resume_changed", "launcher", "watchdog_seconds", "max_wasted_steps", "guards",
    "max_hours", "max_tokens", "max_cost", "price", "on_alarm", "on_end", "keep_rollouts",
    "kv_cache_gb", "bad_gold", "eval_steps", "report_to", "disable_tqdm", "project", "run_name",
    "push_to_hub", "ddp_timeout", "dataloader_num_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "dataloader_persistent_workers", "log_completions",
    "num_completions_to_print", "use_cpu", "vllm_server_host", "vllm_server_port", "vllm_server_base_url",
    "vllm_server_timeout", "vllm_gpu_memory_utilization", "vllm_group_port", "skip_memory_metrics",
    "include_num_input_tokens_seen", "debug", "log_level", "log_level_replica", "log_on_each_node",
))  # fmt: skip
_FREE_BEGINNINGS: Final = ("logging_", "save_", "hub_", "trackio_", "log_")
_FIXED: Final = frozenset((
    "model_name_or_path", "model_revision", "dtype", "trust_remote_code", "optim", "optim_args",
    "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "use_peft",
    "load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant",
))  # fmt: skip
_FIXED_BEGINNINGS: Final = ("lora_",)
_SHOWN: Final = 12


def check(loaded: LoadedRecipe) -> Changes:
    """What a recipe that resumes a run changes of its meaning, where `resume_changed` allows it.

    Raises:
        RecipeError: it changes something and is not allowed to, or what no run can change; nothing was written.
    """
    run = loaded.folder.recipe
    if not loaded.recipe.resume or not run.is_file():
        return {}
    said = yaml.safe_load(yaml.safe_dump(loaded.content()))
    found = between(read_yaml(run, "the run's recipe"), said)
    fixed = {key: pair for key, pair in found.items() if _is(key, _FIXED, _FIXED_BEGINNINGS)}
    if fixed:
        raise RecipeError(
            f"resume: {_shown(fixed)}: no run can change this on its way; give the value of {run}, or train under "
            "another --name"
        )
    if found and not loaded.recipe.resume_changed:
        raise RecipeError(
            f"resume: this recipe is not that of {run}: {_shown(found)}. Give the run's own values, or another --name, "
            "or --resume_changed true, which goes on with the change and notes it in events.jsonl"
        )
    return found


def between(run: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What changes from a run's recipe to another one, less what may change."""
    defaults = _defaults()
    found: Changes = {}
    for key in sorted({*run, *now}):
        old, new = (content.get(key, defaults.get(key)) for content in (run, now))
        if old == new or _is(key, _FREE, _FREE_BEGINNINGS):
            continue
        if key == "max_steps" and isinstance(old, int) and isinstance(new, int) and new > old > 0:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            parts = sorted({*old, *new}, key=str)
            found |= {
                f"{key}.{part}": (old.get(part), new.get(part)) for part in parts if old.get(part) != new.get(part)
            }
        else:
            found[key] = (old, new)
    return found


def check_resumed_name(name: str | None, runs_dir: str, stem: str) -> str | None:
    """What to warn of where a run is to be resumed and there is none of this name.

    Raises:
        RecipeError: no name was given; the message lists the runs that it could be.
    """
    folder = Path(runs_dir)
    runs = sorted(path.name for path in folder.iterdir() if (path / "recipe.yaml").is_file()) if folder.is_dir() else []
    if name is None:
        own = [run for run in runs if re.fullmatch(rf"{re.escape(stem)}(-\d+)?", run)] or runs
        listed = f"in {runs_dir} are {', '.join(own[:_SHOWN])}" if own else f"there is none in {runs_dir}"
        raise RecipeError(f"resume: which run? Give its --name; {listed}")
    if name in runs:
        return None
    near = difflib.get_close_matches(name, runs, 1, cutoff=0.6)
    return f"no run {name!r} in {runs_dir} to resume, it begins" + (f"; did you mean {near[0]!r}?" if near else "")


def _is(key: str, names: frozenset[str], beginnings: tuple[str, ...]) -> bool:
    return key in names or key.startswith(beginnings)


def _defaults() -> dict[str, Any]:
    """What a key is where a recipe does not say it."""
    from trl import GRPOConfig, ModelConfig

    found = {}
    for kind in (GRPOConfig, ModelConfig, Recipe):
        for item in dataclasses.fields(kind):
            if item.default is not dataclasses.MISSING:
                found[item.name] = item.default
            elif item.default_factory is not dataclasses.MISSING:
                found[item.name] = item.default_factory()
    return found


def _shown(changes: Changes) -> str:
    lines = [f"{key}: {_short(old)} → {_short(new)}" for key, (old, new) in list(changes.items())[:_SHOWN]]
    more = len(changes) - len(lines)
    return "; ".join(lines) + (f" and {more} more" if more else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
