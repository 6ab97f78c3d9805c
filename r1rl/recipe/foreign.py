"""A GRPO recipe of open-r1 or of TRL's scripts as one of r1rl: `r1rl init --from FILE`.

Both are flat YAML files over TRL's GRPOConfig and ModelConfig, so most keys stay. What changed its name, is derived or
has no counterpart is said, a line for each key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from r1rl.ground.errors import RecipeError, one_line
from r1rl.recipe.keys import DERIVED, Recipe

_RENAMED: Final = {"torch_dtype": "dtype", "warmup_ratio": "warmup_steps", "run_name": "name"}
# Names of open-r1's rewards where r1rl's are others.
_REWARDS: Final = {
    "accuracy": "accuracy", "format": "format", "tag_count": "tag-count", "soft_format": "format-soft", "code": "code",
    "cosine": "cosine", "repetition_penalty": "repetition", "reasoning_steps": "reasoning-steps",
    "length": "kimi-length",
    "soft_overlong_punishment": "soft-overlong",
}  # fmt: skip
_OPEN_R1_REWARDS: Final = ("accuracy", "format", "tag_count")
_BOXED: Final = r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
_WHY: Final = {
    "hub": "the run folder is not pushed; checkpoints/final is a folder that transformers reads",
    "push": "the run folder is not pushed; checkpoints/final is a folder that transformers reads",
    "wandb": "set WANDB_PROJECT and its like in the environment",
    "callbacks": "r1rl evaluates held-out problems itself",
    "benchmarks": "r1rl evaluates held-out problems itself",
    "max_prompt_length": "prompts are never cut; plan names those that are too long",
    "chat_template": "the tokenizer's own is used; save another one with the model",
    "overwrite_output_dir": "every run gets a folder of its own",
    "num_processes": "given by accelerate or --launcher; used for prompts_per_step",
    "do_eval": "held-out problems are evaluated where eval_steps is not 0",
    "vllm_device": "not in this TRL",
}
_PROCESSES: Final = 8  # where a recipe does not say: one node of eight GPUs


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a key may stand twice, as in some of open-r1's, and then the last one counts.

    Raises:
        RecipeError: no such file, not YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"from={str(path)!r}: cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RecipeError(f"from={str(path)!r}: need a YAML mapping of names to values")
    return content


def translated(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The recipe, and a line for every key that changed its name, is derived or has no counterpart.

    Raises:
        RecipeError: it names no model or no data set.
    """
    left, said = dict(content), list[str]()
    for key in ("model_name_or_path", "dataset_name"):
        if not left.get(key):
            raise RecipeError(f"from: no {key}; is this a GRPO recipe of open-r1 or TRL?")
    recipe: dict[str, Any] = {"model_name_or_path": left.pop("model_name_or_path")}
    recipe |= _data(left, said)
    recipe |= _prompt(left, said)
    recipe |= _rewards(left, said)
    recipe |= _batch(left, said)
    if left.pop("do_eval", None) is False or str(left.get("eval_strategy")).lower() in ("no", "false"):
        recipe["eval_steps"] = 0
        left.pop("eval_steps", None)
        said.append("do_eval, eval_strategy: eval_steps: 0")
    name = left.pop("run_name", None) or Path(str(left.pop("output_dir", ""))).name
    left.pop("output_dir", None)
    if name:
        recipe["name"] = name
        said.append(f"output_dir, run_name: name: {name}")
    known = _known()
    for key, value in left.items():
        new = _RENAMED.get(key, key)
        if key in DERIVED:
            said.append(f"{key}: left out, {DERIVED[key]}")
        elif key in known or (key in _RENAMED and new in known):
            recipe[new] = _value(new, value)
            if new != key or recipe[new] != value:
                said.append(f"{key}: {new}: {recipe[new]}")
        else:
            why = next((reason for start, reason in _WHY.items() if key.startswith(start)), "no counterpart")
            said.append(f"{key}: left out, {why}")
    return recipe, said


def _known() -> set[str]:
    """The keys of a recipe."""
    from trl import GRPOConfig, ModelConfig

    return {field.name for kind in (Recipe, GRPOConfig, ModelConfig) for field in dataclasses.fields(kind)}


def _value(key: str, value: Any) -> Any:
    if key == "scale_rewards" and isinstance(value, bool):
        return "group" if value else "none"
    return value


def _data(left: dict[str, Any], said: list[str]) -> dict[str, Any]:
    """The data set; open-r1's rewards read the gold from the column `solution`, where it is boxed or the whole."""
    options: dict[str, Any] = {"dataset": left.pop("dataset_name")}
    configs = left.pop("dataset_configs", None)
    config = left.pop("dataset_config", None) or (configs[0] if configs else None)
    if config and config != "default":
        options["config"] = config
    if configs and len(configs) > 1:
        said.append(f"dataset_configs: the first of {', '.join(configs)}")
    if split := left.pop("dataset_train_split", None):
        options["split"] = split
    left.pop("dataset_test_split", None)
    options |= {"question_column": left.pop("dataset_prompt_column", None) or "problem", "answer_column": "solution"}
    options["answer_pattern"] = _BOXED
    said.append(
        "dataset_…: task: file with task_options; gold is what is boxed in the column solution, so see that "
        "question_column, answer_column and answer_pattern fit the data"
    )
    return {"task": "file", "task_options": options}


def _prompt(left: dict[str, Any], said: list[str]) -> dict[str, Any]:
    system = left.pop("system_prompt", None)
    if not system:
        return {"prompt_template": "chat"}
    said.append("system_prompt: prompt_options.system, with prompt_template: chat")
    return {"prompt_template": "chat", "prompt_options": {"system": system}}


def _rewards(left: dict[str, Any], said: list[str]) -> dict[str, Any]:
    """The rewards under r1rl's names. Weights stay with those that have a counterpart."""
    names = list(left.pop("reward_funcs", None) or _OPEN_R1_REWARDS)
    weights = left.pop("reward_weights", None) or [1.0] * len(names)
    if len(weights) != len(names):
        raise RecipeError(f"from: {len(weights)} reward_weights for {len(names)} reward_funcs")
    kept = [(_REWARDS.get(name, name), weight) for name, weight in zip(names, weights, strict=True)]
    lost = [name for name, _ in kept if name not in _REWARDS.values() and ":" not in name and "." not in name]
    kept = [(name, weight) for name, weight in kept if name not in lost]
    if lost:
        said.append(f"reward_funcs: no counterpart of {', '.join(lost)}; give your own as file.py:function")
    if not kept:
        raise RecipeError(
            f"from: none of its rewards ({', '.join(names)}) is r1rl's; give your own as file.py:function"
        )
    renamed = [f"{old} is {new}" for old, new in _REWARDS.items() if old in names and old != new]
    said += [f"reward_funcs: {one}" for one in renamed]
    found: dict[str, Any] = {"reward_funcs": [name for name, _ in kept]}
    if len({weight for _, weight in kept}) > 1 or kept[0][1] != 1.0:
        found["reward_weights"] = [weight for _, weight in kept]
    for key in [key for key in left if key.startswith(("cosine_", "repetition_", "code_"))]:
        said.append(f"{key}: left out, say it in reward_options (r1rl rewards shows them): {left.pop(key)}")
    return found


def _batch(left: dict[str, Any], said: list[str]) -> dict[str, Any]:
    """Prompts that are sampled at once, over all processes, and the optimizer steps that share them out."""
    processes = left.get("num_processes") or _PROCESSES
    group = left.get("num_generations") or 8
    accumulated = left.get("gradient_accumulation_steps") or 1
    rollouts = (left.get("per_device_train_batch_size") or 8) * accumulated * processes  # of one optimizer step
    sampled = left.pop("generation_batch_size", None)
    steps = sampled / rollouts if sampled else (left.pop("steps_per_generation", None) or accumulated) / accumulated
    if steps != int(steps):
        raise RecipeError(f"from: samples for {steps:g} optimizer steps at once; r1rl needs a whole number of them")
    rollouts *= int(steps)
    prompts = max(1, round(rollouts / group / processes)) * processes  # a prompt's rollouts stay on one process
    exact = "" if prompts * group == rollouts else f", {rollouts} rollouts rounded"
    keys = "per_device_train_batch_size, gradient_accumulation_steps"
    said.append(f"{keys}: prompts_per_step: {prompts}{exact}, on {processes} processes")
    if steps == 1:
        return {"prompts_per_step": prompts}
    said.append(f"steps_per_generation, generation_batch_size: steps_per_generation: {int(steps)}")
    return {"prompts_per_step": prompts, "steps_per_generation": int(steps)}
