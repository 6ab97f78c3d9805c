"""Checks of a whole recipe: ranges, names that must exist, and values that must agree with each other."""

from __future__ import annotations

import asyncio
import inspect
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl import tasks
from r1rl.ground.errors import MissingDataError, RecipeError, nearest, one_line
from r1rl.models import fit
from r1rl.models import resolve as models
from r1rl.recipe import launchers
from r1rl.recipe.keys import DERIVED, LIMITS, Recipe
from r1rl.run import budget, guards, tell
from r1rl.run import folder as run_folder
from r1rl.store import retention
from r1rl.tasks import dataset, prompts

if TYPE_CHECKING:
    from trl import GRPOConfig, ModelConfig

    from r1rl.recipe.load import LoadedRecipe


def check_values(stated: Mapping[str, Any]) -> None:
    """Keys that are not to be stated, and values out of range."""
    for key, instead in DERIVED.items():
        if key in stated:
            raise RecipeError(f"{key}={stated[key]!r}: is not a recipe's to say: {instead}")
    for key, limit in LIMITS.items():
        if stated.get(key) is not None and not limit.allows(stated[key]):
            raise RecipeError(f"{key}={stated[key]!r}: {limit.text}")
    trackers(stated.get("report_to"))


def located_rewards(recipe: Recipe, folder: Path) -> None:
    """Give every reward of a file the file's whole path, in `reward_funcs` and `reward_options`."""
    import rewards

    try:
        places = {name: rewards.located(name, folder) for name in [*recipe.reward_funcs, *recipe.reward_options]}
    except ValueError as error:
        raise RecipeError(f"reward_funcs: {error}") from None
    recipe.reward_funcs = [places[name] for name in recipe.reward_funcs]
    recipe.reward_options = {places[name]: options for name, options in recipe.reward_options.items()}


def check_names(recipe: Recipe, stated: Mapping[str, Any], source: Path, *, need_data: bool = True) -> tasks.Task:
    """Names that must exist and values that must agree; returns the task, which checks its own options."""
    prompts.check(recipe.prompt_template, recipe.prompt_options)
    if recipe.name is not None:
        run_folder.check_name(recipe.name, recipe.runs_dir, resume=True)
    run_folder.check_place(recipe.runs_dir)
    _check_guards(recipe, stated)
    limits(recipe)
    for key in ("on_alarm", "on_end"):
        tell.check(key, getattr(recipe, key))
    try:
        retention.share(recipe.keep_rollouts)
    except ValueError as error:
        raise RecipeError(str(error)) from None
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
    try:
        recipe.task_options = tasks.located(recipe.task, recipe.task_options, source.parent)
        task = tasks.get(recipe.task, **recipe.task_options)
        _check_rows(recipe, task)
    except MissingDataError:
        if need_data:
            raise
        return tasks.Unread(recipe.task)
    return task


def check_reference(grpo: GRPOConfig, model: ModelConfig) -> None:
    """Raise RecipeError where `sync_ref_model` has no reference model of its own to refresh."""
    if grpo.sync_ref_model and grpo.beta == 0:
        raise RecipeError("sync_ref_model=True: beta is 0, so there is no reference model; give beta, or leave it out")
    if grpo.sync_ref_model and model.use_peft:
        raise RecipeError(
            "sync_ref_model=True: with use_peft the reference is the model without its adapter; leave one out"
        )


def trackers(names: str | Sequence[str] | None) -> list[str]:
    """The trackers that `report_to` names. Raises RecipeError for one that transformers does not have."""
    listed = [names] if isinstance(names, str) else list(names or [])
    if listed in (["all"], ["none"]):
        return []
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK as KNOWN

    for name in listed:
        if name in ("all", "none"):
            raise RecipeError(f"report_to={listed!r}: {name} stands alone; leave the others out")
        if name not in KNOWN:
            raise RecipeError(
                f"report_to={name!r}: unknown, known are {', '.join(sorted(KNOWN))}, all, none{nearest(name, KNOWN)}"
            )
    return listed


def trackers_installed(names: Sequence[str]) -> None:
    """Raise RecipeError for a tracker whose package is not installed."""
    from transformers.integrations import integration_utils

    installed = integration_utils.get_available_reporting_integrations()
    for name in names:
        if name not in installed and not (name == "flyte" and integration_utils.is_flytekit_available()):
            raise RecipeError(f"report_to={name!r}: is not installed; try pip install {name}, or report_to: none")


def try_rewards(recipe: Recipe, task: tasks.Task, prompt: prompts.Prompt) -> None:
    """Ask every reward that is not r1rl's own for its values of two problems, with a right and an empty completion.

    The first process asks for all of them: a reward may be a service.

    Raises:
        RecipeError: one fails, or returns something else than one number or None per completion.
    """
    import rewards
    from rewards import external, returned

    if isinstance(task, tasks.Unread) or os.environ.get("RANK", "0") != "0":
        return
    found = task.rows("train", 2)
    texts = [f"{'' if prompt.prefill else '<think>'} so </think> <answer> {row.gold} </answer>" for row in found]
    completions = [text for right in texts for text in (right, "")]
    inputs = [row for row in dataset.dataset_rows(found, task, prompt) for _ in range(2)]
    columns = {key: [row[key] for row in inputs] for key in inputs[0] if key != "prompt"}
    for name in recipe.reward_funcs:
        if name in rewards.names():
            continue
        reward = rewards.get(name, **recipe.reward_options.get(name) or {})
        try:
            given: Any = reward(
                prompts=[row["prompt"] for row in inputs],
                completions=list(completions),
                completion_ids=[[0] * len(text.split()) for text in completions],
                trainer_state=_start(),
                log_extra=lambda column, values: None,
                log_metric=lambda column, value: None,
                **columns,
            )
            if inspect.isawaitable(given):
                given = asyncio.run(_awaited(given))
            returned.values(reward.__name__, given, len(completions))
        except RecipeError as error:
            raise RecipeError(f"reward_funcs: {error}") from error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            theirs = frame.filename not in (external.__file__, __file__)
            where = f" ({Path(frame.filename).name}:{frame.lineno})" if theirs else ""
            given = f"; the columns are {', '.join(sorted(columns))}" if isinstance(error, TypeError | KeyError) else ""
            said = traceback.format_exception_only(error)[-1].strip()[:300]
            raise RecipeError(f"reward_funcs: {name!r} fails on a sample: {said}{where}{given}") from error


def _start() -> Any:
    """The trainer's state before the first step."""
    from transformers import TrainerState

    return TrainerState()


async def _awaited(values: Any) -> Any:
    return await values


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
    if "temperature" in loaded.schedules and (reason := _fixed_temperature(loaded.grpo, config)):
        raise RecipeError(f"temperature: cannot change at a step {reason}, which TRL scores; give one number")
    longest = fit.longest_prompt(tokenizer, render, questions)
    fit.check_positions(fit.positions(config), longest, int(loaded.grpo.max_completion_length))


def _fixed_temperature(grpo: GRPOConfig, config: Any) -> str:
    """Why TRL scores the tokens, which divides by the temperature that it was built with; empty where r1rl does."""
    from r1rl.update import scoring  # brings torch

    text = config.get_text_config()
    if grpo.entropy_coef != 0 or grpo.use_adaptive_entropy:
        return "with an entropy bonus"
    if hasattr(text, "output_router_logits") and grpo.router_aux_loss_coef != 0:
        return "with router_aux_loss_coef"
    return "" if scoring.plain_head(text) else f"for a {text.model_type} model"


def limits(recipe: Recipe) -> budget.Limits:
    """What the run may spend."""
    return budget.Limits(recipe.max_hours, recipe.max_tokens, recipe.max_cost, recipe.price)


def _check_guards(recipe: Recipe, stated: Mapping[str, Any]) -> None:
    """The guards are known, and one that rolls the run back can."""
    for guard in guards.chosen(recipe.guards):
        if guard.action != "roll_back":
            continue
        if stated.get("save_strategy", "steps" if "save_steps" in stated else "no") == "no":
            raise RecipeError(f"guards.{guard.name}: roll_back needs checkpoints to go back to; give save_steps")
        if stated.get("use_vllm") and stated.get("vllm_mode", "colocate") == "colocate":
            raise RecipeError(
                f"guards.{guard.name}: roll_back loads the model again, which colocated vLLM leaves no room for; "
                "try stop, and --resume by hand"
            )


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
        except Exception as error:  # a reward from elsewhere may raise anything
            where = f"reward_options.{name}={dict(chosen)!r}" if chosen else "reward_funcs"
            said = one_line(error, 1000)
            raise RecipeError(f"{where}: {said if name in said else f'{name!r}: {said}'}") from error
    called = [rewards.get(name, **recipe.reward_options.get(name) or {}).__name__ for name in recipe.reward_funcs]
    for name in called:
        if called.count(name) > 1:
            raise RecipeError(
                f"reward_funcs={recipe.reward_funcs}: {name!r} twice; the store has one column of a name, rename one"
            )


def _check_model(name: str | None) -> None:
    if not name:
        raise RecipeError("model_name_or_path: missing; give a folder, a hub name, base:NAME or package:NAME")
    models.check(name)
    if name.startswith(("/", "./", "../", "~")) and not Path(name).expanduser().is_dir():
        raise RecipeError(f"model_name_or_path={name!r}: no such folder")
