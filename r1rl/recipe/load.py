"""Recipes: one flat YAML file, read into r1rl's own `Recipe`, TRL's `GRPOConfig` and `ModelConfig`.

A key is a field of one of the three; TRL's documentation is the reference for what `r1rl.recipe.keys` does not list.
`load` checks the file before any model is touched; `LoadedRecipe.write` writes what was used.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import yaml

from r1rl import tasks
from r1rl.ground import machine, whole_files
from r1rl.ground.errors import RecipeError, check_known, one_line
from r1rl.ground.values import coerce, merge, parse_overrides, read_yaml
from r1rl.models import resolve as models
from r1rl.recipe import changes
from r1rl.recipe import checks as recipe_checks
from r1rl.recipe.keys import CHOICES, DEFAULTS, Recipe
from r1rl.recipe.schedules import Schedule, split
from r1rl.run import folder as run_folder
from r1rl.tasks import prompts

if TYPE_CHECKING:
    from trl import GRPOConfig, ModelConfig

    import rewards

logger = logging.getLogger(__name__)

# Written into the resolved recipe even when TRL's default was used: a later TRL may choose another.
_ALWAYS_WRITTEN = (
    "num_generations", "max_completion_length", "temperature", "learning_rate", "loss_type", "scale_rewards", "epsilon",
    "max_steps", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """How the rollouts that are sampled at once are cut.

    Args:
        rollouts: sampled at once, on one process: `steps * accumulation_steps * micro_batch`.
        steps: optimizer steps that share them out, `steps_per_generation`.
        micro_batch: rollouts of one forward and backward pass.
        accumulation_steps: micro-batches of one optimizer step.

    Example: R1-Zero samples 512 prompts x 16 and makes 16 steps of 512 rollouts each. On 512 processes `rollouts` is
    16, `steps` 16, and a micro-batch is one rollout.
    """

    rollouts: int
    steps: int
    micro_batch: int
    accumulation_steps: int


def derive_batch(
    prompts_per_step: int, num_generations: int, world_size: int, wanted: int | None = None, steps: int = 1
) -> Batch:
    """Cut the rollouts that are sampled at once over processes so that every group stays whole on one of them.

    Args:
        prompts_per_step: distinct prompts that are sampled at once, over all processes.
        num_generations: rollouts per prompt.
        world_size: number of processes.
        wanted: largest micro-batch in rollouts; None: everything at once.
        steps: optimizer steps that share the rollouts out.

    Raises:
        RecipeError: they cannot be shared out evenly; the message says which numbers would fit.
    """
    if prompts_per_step % world_size:
        below = prompts_per_step // world_size * world_size
        fitting = " or ".join(str(number) for number in (below, below + world_size) if number)
        processes = [str(n) for n in range(1, prompts_per_step + 1) if prompts_per_step % n == 0]
        raise RecipeError(
            f"prompts_per_step={prompts_per_step}: cannot be shared by {world_size} processes, a prompt's "
            f"rollouts stay together; try prompts_per_step={fitting}, "
            f"or as many processes as one of {', '.join(processes)}"
        )
    rollouts = prompts_per_step // world_size * num_generations
    if rollouts % steps:
        divisors = [str(n) for n in range(1, rollouts + 1) if rollouts % n == 0]
        raise RecipeError(
            f"steps_per_generation={steps}: the {rollouts} rollouts of a process cannot be shared out over so many "
            f"optimizer steps; try one of {', '.join(divisors)}"
        )
    each = rollouts // steps
    largest = each if wanted is None else min(wanted, each)
    micro_batch = next(size for size in range(largest, 0, -1) if each % size == 0)
    return Batch(rollouts, steps, micro_batch, each // micro_batch)


@dataclass
class LoadedRecipe:
    """A checked recipe: the three groups of keys, and what follows from them."""

    recipe: Recipe
    grpo: GRPOConfig
    model: ModelConfig
    task: tasks.Task  # its rows are not read yet
    batch: Batch  # of one process
    world_size: int  # the number of processes that the batch is for
    source: Path  # the recipe file
    stated: dict[str, Any]  # TRL's keys as the file, the command line and r1rl's defaults for this machine say them
    tokenizer: Any = None  # of a model whose folder is here
    schedules: dict[str, Schedule] = dataclasses.field(default_factory=dict)  # of keys that change at a step

    @property
    def generate_every(self) -> int:
        """Optimizer steps from one sampling to the next."""
        return self.batch.steps * int(self.grpo.num_iterations)

    @property
    def folder(self) -> run_folder.RunFolder:
        """The run folder (which `run_folder.create` makes)."""
        return run_folder.RunFolder(Path(self.recipe.runs_dir) / str(self.recipe.name))

    def prompt(self, tokenizer: Any = None) -> prompts.Prompt:
        """The prompt template with its options; `chat` needs the tokenizer."""
        return prompts.get(self.recipe.prompt_template, tokenizer=tokenizer, **self.recipe.prompt_options)

    def check_here(self) -> None:
        """What depends on the Python that trains: installed trackers, and what rewards from elsewhere return.

        Raises:
            RecipeError: a tracker is missing or a reward fails; see `checks`.
        """
        recipe_checks.trackers_installed(recipe_checks.trackers(self.stated.get("report_to")))
        known = self.tokenizer is not None or self.recipe.prompt_template != "chat"
        prompt = self.prompt(self.tokenizer) if known else prompts.Prompt("chat")
        recipe_checks.try_rewards(self.recipe, self.task, prompt)

    @cached_property
    def problems(self) -> tuple[list[tasks.Row], list[tasks.Row]]:
        """The training and the held-out problems."""
        own = self.recipe
        return self.task.rows("train", own.train_size), self.task.rows("heldout", own.heldout_size)

    def paying_rewards(self) -> dict[str, rewards.Reward]:
        """The rewards by their names; those of weight 0 only measure."""
        import rewards

        options, names = self.recipe.reward_options, self.recipe.reward_funcs
        weights = self.grpo.reward_weights or [1.0] * len(names)
        paying = [name for name, weight in zip(names, weights, strict=True) if weight]
        return {name: rewards.get(name, **(options.get(name) or {})) for name in paying}

    def content(self) -> dict[str, Any]:
        """The resolved recipe by key; loading it again gives the same recipe."""
        passing = ("resume", "resume_changed")  # of one start
        content = {key: value for key, value in dataclasses.asdict(self.recipe).items() if key not in passing}
        content |= self.stated
        content |= {key: getattr(self.grpo, key) for key in _ALWAYS_WRITTEN}
        return content | {key: dict(schedule.values) for key, schedule in self.schedules.items()}

    def write(self, path: Path) -> None:
        """Write the resolved recipe."""
        head = "# The resolved recipe of a run. To run it again: r1rl train THIS_FILE --name ANOTHER\n"
        text = yaml.safe_dump(self.content(), sort_keys=False, allow_unicode=True, width=100)
        whole_files.write_text(path, head + text)


def split_arguments(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """`--config RECIPE --key value …` as (recipe path, overrides).

    Raises:
        ValueError: no `--config`, or more than one.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[], nargs="?", const="")
    parsed, rest = parser.parse_known_args(list(arguments))
    if len(parsed.config) != 1 or not parsed.config[0]:
        raise RecipeError("give one recipe: --config RECIPE [--key value …]")
    return Path(parsed.config[0]), rest


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    world_size: int | None = None,
    check_only: bool = False,
    need_data: bool = True,
) -> LoadedRecipe:
    """Read, override, check and resolve a recipe. Loads no model and makes no folder.

    Args:
        path: the YAML file.
        overrides: `--key value` words; `--dict_key.sub value` sets one entry of a mapping.
        world_size: number of processes to derive the batch for; default: that of this launch (`WORLD_SIZE`).
        check_only: for a process that will not train itself: leave accelerators alone.
        need_data: whether the problems must be here; without them the task is `tasks.Unread`.

    Raises:
        RecipeError: one message with the key, the value, what is allowed and the nearest known name.
    """
    source = Path(path)
    in_file = read_yaml(source)
    processes = int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else world_size
    hints = known_keys()
    check_known(in_file, hints, f" in {source}")
    schedules, stated = split(merge(in_file, parse_overrides(list(overrides), hints)), hints)
    stated = {key: coerce(key, value, hints[key]) for key, value in stated.items()}
    for key in ("task_options", "prompt_options"):  # as in all other keys
        if key in stated:
            stated[key] = {name.replace("-", "_"): value for name, value in stated[key].items()}
    recipe_checks.check_values(stated)
    if stated.get("loss_type") == "gspo":  # arXiv 2507.18071, which TRL says in two keys
        if stated.get("importance_sampling_level", "sequence") != "sequence":
            raise RecipeError("loss_type='gspo': weighs sequences, so importance_sampling_level cannot be 'token'")
        stated |= {"loss_type": "grpo", "importance_sampling_level": "sequence"}
    own = {item.name for item in dataclasses.fields(Recipe)}
    recipe = Recipe(**{key: value for key, value in stated.items() if key in own})
    recipe_checks.located_rewards(recipe, source.parent)
    task = recipe_checks.check_names(recipe, stated, source, need_data=need_data)
    tokenizer = models.tokenizer(str(stated["model_name_or_path"]), to_train=not check_only)
    if stated.get("use_vllm") and not check_only and importlib.util.find_spec("vllm") is None:
        raise RecipeError(
            "use_vllm=True: vLLM is not installed; try pip install 'r1rl[vllm]' (Linux with a GPU), or leave the key "
            "out: r1rl's own engine needs no server"
        )
    on_cpu = stated["use_cpu"] if "use_cpu" in stated else machine.visible_gpus() == 0
    trl_values = _defaults(stated, on_cpu=on_cpu) | {key: value for key, value in stated.items() if key not in own}
    # With fp16 as well, TRL says what is wrong.
    wants_bf16 = trl_values.get("bf16") and not trl_values.get("fp16")
    if on_cpu and wants_bf16 and not check_only and not machine.has_bf16_kernels():
        trl_values["bf16"] = False
        if os.environ.get("RANK", "0") == "0":
            logger.warning(
                "bf16: true: this processor (%s) has no bf16 instructions, its products would be many times slower; "
                "training in float32 instead", machine.processor(),
            )  # fmt: skip
    batch = derive_batch(
        recipe.prompts_per_step,
        stated.get("num_generations") or _trl_default("num_generations"),
        processes,
        stated.get("per_device_train_batch_size"),
        recipe.steps_per_generation,
    )
    grpo, model = _trl_configs(trl_values, batch, check_only=check_only)
    unknown = changes.check_resumed_name(recipe.name, recipe.runs_dir, source.stem) if recipe.resume else None
    if unknown and not check_only and os.environ.get("RANK", "0") == "0":
        logger.warning(unknown)
    if recipe.name is None:
        recipe.name = _agreed(run_folder.free_name(source.stem, recipe.runs_dir), processes, check_only=check_only)
    loaded = LoadedRecipe(recipe, grpo, model, task, batch, processes, source, trl_values, tokenizer, schedules)
    for schedule in schedules.values():
        schedule.check(max_steps=grpo.max_steps, every=loaded.generate_every)
    recipe_checks.check_reference(grpo, model)
    grpo.output_dir, grpo.run_name = str(loaded.folder.checkpoints), recipe.name
    if tokenizer is not None:
        loaded.prompt(tokenizer).render("1 + 1 = ?")  # a chat template may refuse
    if not check_only:
        loaded.check_here()
    return loaded


def known_keys() -> dict[str, Any]:
    """Every key that a recipe may have, with its type."""
    from trl import GRPOConfig, ModelConfig

    known: dict[str, Any] = {}
    for kind in (GRPOConfig, ModelConfig, Recipe):  # what a recipe says in its own way wins
        types = get_type_hints(kind)
        known |= {item.name: types[item.name] for item in dataclasses.fields(kind) if item.init}
    return known | {key: choices for key, choices in CHOICES.items() if key in known}


def _trl_default(key: str) -> Any:
    from trl import GRPOConfig

    return next(item.default for item in dataclasses.fields(GRPOConfig) if item.name == key)


def _defaults(stated: Mapping[str, Any], *, on_cpu: bool) -> dict[str, Any]:
    """The rows of `DEFAULTS` that apply here and that the recipe does not state itself."""
    chosen = {row.key: row.value for row in DEFAULTS if row.key not in stated and (on_cpu or not row.cpu_only)}
    if "save_steps" in stated and "save_strategy" in chosen:
        chosen["save_strategy"] = "steps"
    if "activation_checkpointing" in stated:  # the newer name of the same setting
        chosen.pop("gradient_checkpointing", None)
    if stated.get("fp16"):
        chosen.pop("bf16", None)
    return chosen


def _trl_configs(values: Mapping[str, Any], batch: Batch, *, check_only: bool) -> tuple[GRPOConfig, ModelConfig]:
    """TRL's two groups from checked values."""
    from trl import GRPOConfig, ModelConfig

    final = dict(values)
    final["per_device_train_batch_size"] = batch.micro_batch
    final["gradient_accumulation_steps"] = batch.accumulation_steps
    final["steps_per_generation"] = batch.steps * batch.accumulation_steps  # TRL counts micro-batches
    if "gradient_checkpointing" in final and hasattr(GRPOConfig, "activation_checkpointing"):
        # transformers 5.23 renamed it and warns about the old name.
        final.setdefault("activation_checkpointing", final.pop("gradient_checkpointing"))
    if check_only:
        # GRPOConfig looks for its device as soon as it is made; a watching process must not occupy a GPU.
        final |= {"use_cpu": True, "tf32": None, "deepspeed": None}
    model_keys = {item.name for item in dataclasses.fields(ModelConfig)}
    try:
        grpo = GRPOConfig(**{key: value for key, value in final.items() if key not in model_keys})
        model = ModelConfig(**{key: value for key, value in final.items() if key in model_keys})
    except Exception as error:  # transformers checks with whatever its libraries raise
        raise RecipeError(f"TRL refuses these settings: {one_line(error)}") from error
    targets = model.lora_target_modules
    if isinstance(targets, str) and targets.isidentifier():
        # TRL makes a list of one name that name, for `all-linear`; PEFT takes a text for a regular expression.
        model.lora_target_modules = [targets]
    return grpo, model


def _agreed(name: str, world_size: int, *, check_only: bool) -> str:
    """The first process's choice of a name: the others may see its folder already."""
    if world_size == 1 or check_only:
        return name
    import torch

    if not torch.distributed.is_initialized():
        return name
    box = [name]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
