"""Checks of a whole recipe: ranges, names that must exist, and values that must agree with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl import tasks
from r1rl.ground.errors import RecipeError, nearest
from r1rl.models import fit
from r1rl.models import resolve as models
from r1rl.recipe import launchers
from r1rl.recipe.keys import DERIVED, LIMITS, Recipe
from r1rl.run import folder as run_folder
from r1rl.tasks import prompts

if TYPE_CHECKING:
    from r1rl.recipe.load import LoadedRecipe


def check_values(stated: Mapping[str, Any]) -> None:
    """Keys that are not to be stated, and values out of range."""
    for key, instead in DERIVED.items():
        if key in stated:
            raise RecipeError(f"{key}={stated[key]!r}: is not a recipe's to say: {instead}")
    for key, (allowed, text) in LIMITS.items():
        if stated.get(key) is not None and not allowed(stated[key]):
            raise RecipeError(f"{key}={stated[key]!r}: {text}")


def check_names(recipe: Recipe, stated: Mapping[str, Any], source: Path) -> tasks.Task:
    """Names that must exist and values that must agree; returns the task, which checks its own options."""
    task = tasks.get(recipe.task, **recipe.task_options)
    prompts.check(recipe.prompt_template, recipe.prompt_options)
    if recipe.name is not None:
        run_folder.check_name(recipe.name, recipe.runs_dir, resume=True)
    if recipe.launcher is not None:
        launchers.find(recipe.launcher, source.parent)
    _check_rewards(recipe)
    weights = stated.get("reward_weights")
    if weights is not None and len(weights) != len(recipe.reward_funcs):
        raise RecipeError(
            f"reward_weights={weights}: {len(weights)} weights for {len(recipe.reward_funcs)} rewards "
            f"({', '.join(recipe.reward_funcs)}); give one each"
        )
    _check_model(stated.get("model_name_or_path"))
    _check_rows(recipe, task)
    return task


def check_model(
    loaded: LoadedRecipe, tokenizer: Any, config: Any, ends: Sequence[int], questions: Sequence[str]
) -> None:
    """The model can be paid for what it writes, and has room for it; needs no weights.

    Args:
        config, ends: as `models.fit.configuration` found them.
        questions: those whose prompts are held against the model's positions.

    Raises:
        RecipeError: a reward would never pay, or the model has too few positions.
    """
    paying = loaded.paying_rewards()
    fit.check_tags(tokenizer, ends, {name: getattr(reward, "tags", ()) for name, reward in paying.items()})
    render = loaded.prompt(tokenizer).render
    opened = prompts.opened(render(questions[0]))
    for name, reward in paying.items():
        # Thoughts that the prompt closes are not the model's to write.
        reason = (
            reward.failure(f"{opened}<answer>x</answer>") if "</think>" in opened and hasattr(reward, "failure") else ""
        )
        if reason:
            raise RecipeError(
                f"reward_funcs: {name!r} never pays behind a prompt that ends in {opened!r} ({reason}); leave it out, "
                "or take a prompt_template, or a chat template, that does not close <think>"
            )
    longest = fit.longest_prompt(tokenizer, render, questions)
    fit.check_positions(fit.positions(config), longest, int(loaded.grpo.max_completion_length))


def _check_rows(recipe: Recipe, task: tasks.Task) -> None:
    """The task can deliver: a full step of training problems and every held-out one."""
    task.rows("heldout", recipe.heldout_size)
    found = len(task.rows("train", min(recipe.train_size, recipe.prompts_per_step)))
    if found < recipe.prompts_per_step:
        raise RecipeError(
            f"prompts_per_step={recipe.prompts_per_step}: only {found} training problems "
            f"(train_size={recipe.train_size}); one step needs more than there are"
        )
    if recipe.dynamic_sampling and len(task.rows("train", min(recipe.train_size, found + 1))) == found:
        raise RecipeError(
            f"dynamic_sampling=True: needs other prompts than a step's own, but there are only {found} training "
            f"problems (prompts_per_step={recipe.prompts_per_step}, train_size={recipe.train_size}); raise train_size"
        )


def _check_rewards(recipe: Recipe) -> None:
    import rewards

    if len(set(recipe.reward_funcs)) != len(recipe.reward_funcs) or not recipe.reward_funcs:
        raise RecipeError(f"reward_funcs={recipe.reward_funcs}: need at least one reward, each once")
    for name in recipe.reward_options:
        if name not in recipe.reward_funcs:
            raise RecipeError(
                f"reward_options.{name}: no such name in reward_funcs{nearest(name, recipe.reward_funcs)}"
            )
    for name in recipe.reward_funcs:
        chosen = recipe.reward_options.get(name) or {}
        if not isinstance(chosen, Mapping):
            raise RecipeError(f"reward_options.{name}={chosen!r}: expected a mapping of options")
        try:
            rewards.get(name, **chosen)
        except (ValueError, ImportError) as error:
            where = f"reward_options.{name}={dict(chosen)!r}" if chosen else "reward_funcs"
            raise RecipeError(f"{where}: {error}") from None


def _check_model(name: str | None) -> None:
    if not name:
        raise RecipeError("model_name_or_path: missing; give a folder, a hub name, base:NAME or package:NAME")
    models.check(name)
    if name.startswith(("/", "./", "../", "~")) and not Path(name).expanduser().is_dir():
        raise RecipeError(f"model_name_or_path={name!r}: no such folder")
