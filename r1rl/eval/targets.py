"""What is evaluated: a run's policies, any model, any endpoint; as words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from r1rl.aha.counterfactual import checkpoints
from r1rl.ground.errors import RecipeError
from r1rl.ground.values import read_yaml
from r1rl.models import resolve as models
from r1rl.run.folder import RunFolder


@dataclass(frozen=True)
class Target:
    """One policy or endpoint.

    Args:
        label: what people see, such as `zero @40`.
        folder: name of its run folder inside the evaluation's; a run's steps share one.
        kind, source: where it is: a run's folder, a model's name, or an address.
        step: of a run's policy, else 0.
        path: where a run's policy is, None for the model it began with.
    """

    label: str
    folder: str
    kind: Literal["run", "model", "url"]
    source: str
    step: int = 0
    path: Path | None = None


def parse(words: Sequence[str], steps: Sequence[int] | None = None) -> list[Target]:
    """The targets, a run's by ascending step; without `steps` a run is its base model and its last policy.

    Raises:
        RecipeError: a target twice, no such model or step, or steps of what has none.
    """
    found: list[Target] = []
    folders: dict[str, str] = {}
    for word in words:
        kind = kind_of(word)
        folder = _free(_slug(word, kind), word, folders)
        if kind == "run":
            found += _policies(word, folder, steps)
            continue
        if kind == "model":
            models.check(word)
        found.append(Target(word if kind == "model" else word.rpartition("#")[2] or word, folder, kind, word))
    if steps is not None and not any(target.kind == "run" for target in found):
        raise RecipeError("step: no target is a run, and only runs have steps")
    if len(set(words)) < len(words):
        raise RecipeError("targets: one is named twice")
    return _told_apart(found)


def kind_of(word: str) -> Literal["run", "model", "url"]:
    """Whether a word is an address, a run's folder or a model."""
    if word.startswith(("http://", "https://")):
        return "url"
    return "run" if RunFolder(Path(word)).recipe.is_file() else "model"


def task_of(run: str) -> tuple[str, dict[str, Any], int]:
    """A run's own task, its options, and how many held-out problems it has."""
    recipe = read_yaml(RunFolder(Path(run)).recipe)
    options = dict(recipe.get("task_options") or {})
    return str(recipe.get("task", "countdown")), options, int(recipe.get("heldout_size", 128))


def _policies(run: str, folder: str, steps: Sequence[int] | None) -> list[Target]:
    try:
        kept = checkpoints.kept(run)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    wanted = sorted({min(kept), max(kept)} if steps is None else set(steps))
    for step in wanted:
        if step not in kept:
            raise RecipeError(
                f"step={step}: {run} has no policy of it, it has those of {', '.join(map(str, kept))}; a run keeps "
                "more with save_steps and save_total_limit"
            )
    name = Path(run).resolve().name
    return [Target(f"{name} @{step}", folder, "run", run, step, kept[step]) for step in wanted]


def _slug(word: str, kind: str) -> str:
    name = Path(word).resolve().name if kind == "run" else word.split("//", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:80] or "target"


def _free(slug: str, word: str, folders: dict[str, str]) -> str:
    """The slug, or with a number where another target has it."""
    name, number = slug, 1
    while folders.setdefault(name, word) != word:
        number += 1
        name = f"{slug}-{number}"
    return name


def _told_apart(targets: list[Target]) -> list[Target]:
    """Labels that are the same become the whole source."""
    labels = [target.label for target in targets]
    by_source: Callable[[Target], str] = lambda t: f"{t.source} @{t.step}" if t.kind == "run" else t.source  # noqa: E731
    return [
        target
        if labels.count(target.label) == 1
        else Target(by_source(target), target.folder, target.kind, target.source, target.step, target.path)
        for target in targets
    ]
