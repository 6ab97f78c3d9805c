"""A first recipe from a model, a data file and rewards: `r1rl init`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.models import resolve as models
from r1rl.recipe import foreign
from r1rl.recipe import load as recipes
from r1rl.tasks import prompts
from r1rl.tasks.files import FileTask

_HEAD = """\
# Written by r1rl init; r1rl train --help lists r1rl's keys, TRL's GRPOConfig and ModelConfig are the others.
#   r1rl plan {name}      # memory, time and the first prompt, before anything runs
#   r1rl train {name}
"""
_SYSTEM = "Think first, between <think> and </think>. Then give the final answer alone, between <answer> and </answer>."
_PROMPTS, _GENERATIONS, _HELDOUT, _LONGEST = 8, 8, 64, 512


def write(
    target: Path, model: str, data: str, rewards: Sequence[str], *, columns: dict[str, str] | None = None
) -> recipes.LoadedRecipe:
    """Write a recipe that `r1rl plan` accepts, and return it as it was loaded; nothing is written where it would not.

    Args:
        model: as `model_name_or_path`.
        data: a file with questions and answers, or the name of a task, as `countdown`.
        rewards: as `reward_funcs`.
        columns: the data's `question_column` and `answer_column`, where they are not recognised.

    Raises:
        RecipeError: the file exists, or the model, the data or a reward cannot be used.
    """
    _check_free(target)
    content: dict[str, Any] = {"model_name_or_path": _beside(model, target) if Path(model).is_dir() else model}
    heldout, train = _HELDOUT, _PROMPTS
    if data in tasks.names() and data != "file":
        content["task"] = data
    else:
        try:
            task = tasks.get("file", path=data, **(columns or {}))
            assert isinstance(task, FileTask)
            heldout = min(_HELDOUT, max(1, round(0.2 * len(task.every_row()))))
            train = len(task.rows("train", _PROMPTS))
        except RecipeError as error:  # r1rl init has options of its own for these
            raise RecipeError(re.sub(r"task_options\.(question|answer)_column", r"--\1-column", str(error))) from error
        content |= {"task": "file", "task_options": {"path": _beside(data, target)} | _as_found(task)}
    content |= {
        **_prompt(model),
        "reward_funcs": list(rewards),
        "prompts_per_step": train,
        "num_generations": _GENERATIONS,
        "max_completion_length": _longest(model),
        "learning_rate": 1e-6,
        "max_steps": 100,
        "heldout_size": heldout,
        "eval_steps": 25,
    }
    return _saved(target, _HEAD.format(name=target.name), content, here=True)


def translate(target: Path, source: Path) -> tuple[recipes.LoadedRecipe, list[str]]:
    """Write the GRPO recipe `source` of open-r1 or TRL as one of r1rl; also what changed, a line for each key.

    Raises:
        RecipeError: the file exists, or the recipe cannot be said in r1rl's keys.
    """
    _check_free(target)
    content, said = foreign.translated(foreign.read(source))
    head = _HEAD.format(name=target.name) + "# From a recipe of another trainer:\n"
    return _saved(target, head + "".join(f"#   {line}\n" for line in said), content, here=False), said


def _check_free(target: Path) -> None:
    if target.exists():
        raise RecipeError(f"to={str(target)!r}: exists; give another name, or remove it")
    if not target.parent.is_dir():
        raise RecipeError(f"to={str(target)!r}: no folder {target.parent}")


def _saved(target: Path, head: str, content: dict[str, Any], *, here: bool) -> recipes.LoadedRecipe:
    """The recipe as it is loaded, written. `here`: whether the machine that writes it must be able to train it."""
    trial = target.with_name(f".{target.stem}.trial.yaml")
    try:
        trial.write_text(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        loaded = recipes.load(trial, check_only=True, need_data=here)
        if here:
            loaded.check_here()
        os.replace(trial, target)
    except OSError as error:
        raise RecipeError(f"to={str(target)!r}: cannot be written: {error.strerror}") from error
    finally:
        trial.unlink(missing_ok=True)
    return loaded


def _beside(path: str, target: Path) -> str:
    """A path as it is seen from the recipe's folder, if it lies below that; else the whole path."""
    whole = Path(path).expanduser().resolve()
    try:
        return f"./{whole.relative_to(target.resolve().parent)}"
    except ValueError:
        return str(whole)


def _as_found(task: FileTask) -> dict[str, Any]:
    """The options by which the rows were read, where they are not the defaults."""
    options = ("question_column", "answer_column", "numbers_column", "verifier")
    defaults = {"question_column": "question", "answer_column": "answer", "numbers_column": None, "verifier": "math"}
    return {name: getattr(task, name) for name in options if getattr(task, name) != defaults[name]}


def _prompt(model: str) -> dict[str, Any]:
    """The tokenizer's chat template, with the tags asked for, where it has one that takes a system message."""
    tokenizer = models.tokenizer(model, to_train=False)
    if getattr(tokenizer, "chat_template", None):
        with suppress(RecipeError):
            prompts.get("chat", tokenizer=tokenizer, system=_SYSTEM).render("1 + 1 = ?")
            return {"prompt_template": "chat", "prompt_options": {"system": _SYSTEM}}
    return {"prompt_template": "r1-zero"}


def _longest(model: str) -> int:
    """The greatest length of a completion that leaves half of the model's positions to the prompt."""
    from transformers import AutoConfig

    place = models.folder(model)
    if place is None:
        return _LONGEST
    text = AutoConfig.from_pretrained(place, local_files_only=True).get_text_config()
    return min(_LONGEST, (getattr(text, "max_position_embeddings", None) or 2 * _LONGEST) // 2)
