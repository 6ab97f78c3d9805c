"""Tasks by name: where questions and gold answers come from.

A task is one file in this folder and one line in `_REGISTRY` (see CONTRIBUTING.md). Its fields are its options.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from r1rl.ground.errors import RecipeError, check_known, nearest
from r1rl.ground.values import coerce
from r1rl.ground.values import describe as describe_type
from r1rl.tasks.presets import PRESETS


@dataclass(frozen=True)
class Row:
    """One problem.

    Args:
        prompt_id: the problem's stable name; statistics cluster by it.
        question: the text put into the prompt template.
        gold: the expected answer, always text.
        meta: what the verifier needs besides, JSON-able; Countdown: `{"numbers": [3, 5, 7]}`.
        columns: the data's own columns, which rewards are given.
        verifier: who judges it, "" for the task's verifier.
    """

    prompt_id: str
    question: str
    gold: str
    meta: dict[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    verifier: str = ""


class Task(Protocol):
    """What every task offers; splits are `train` and `heldout` and share no problem."""

    @property
    def name(self) -> str:
        """The task's registered name."""

    @property
    def verifier(self) -> str:
        """The name of the verifier that judges its answers."""

    def rows(self, split: str, count: int) -> list[Row]:
        """At most `count` rows of a split; the same (options, split, index) is always the same row.

        Raises:
            ValueError: fewer than `count` held-out rows exist, or the task's options admit none.
        """


@dataclass(frozen=True)
class Unread:
    """A task whose problems are not here, for plans: as many as are asked for, all the same."""

    name: str
    verifier: str = "exact"

    def rows(self, split: str, count: int) -> list[Row]:
        """`count` rows without an answer."""
        return [Row(f"{split}:{i}", "(a problem of the data, which is not here)", "", {}) for i in range(count)]


_REGISTRY = {
    "countdown": "r1rl.tasks.countdown:Countdown",
    "file": "r1rl.tasks.files:FileTask",
    "gym": "r1rl.tasks.gym:Gym",
    "mix": "r1rl.tasks.mix:Mix",
    "sums": "r1rl.tasks.sums:Sums",
}


def names() -> list[str]:
    """The registered tasks."""
    return list(_REGISTRY)


def describe(name: str) -> str:
    """The first line of the documentation of a task's module."""
    module = inspect.getmodule(task_class(name))
    return (inspect.getdoc(module) or "").partition("\n")[0]


def task_class(name: str) -> Any:
    """The dataclass behind a name of a task or a preset.

    Raises:
        RecipeError: unknown task.
    """
    known = [*_REGISTRY, *PRESETS]
    if name not in known:
        raise RecipeError(f"task={name!r}: unknown task, known are {', '.join(known)}{nearest(name, known)}")
    name = "file" if name in PRESETS else name
    module, _, attribute = _REGISTRY[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def get(name: str, **options: Any) -> Task:
    """The task `name`, or a preset, with its options, checked against the dataclass fields; nothing is downloaded here.

    Raises:
        RecipeError: unknown task or option, wrong type, or a value that the task refuses.
    """
    kind = task_class(name)
    if name in PRESETS:
        options = PRESETS[name].file_options(name, options) | {"name": name}
    hints = get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind) if item.init]
    check_known(options, known, f" of the task {name!r}, which takes {', '.join(known)}", prefix="task_options.")
    for key in required(kind):
        if key not in options:
            raise RecipeError(f"task_options.{key}: missing; the task {name!r} needs {describe_type(hints[key])}")
    typed = {key: coerce(f"task_options.{key}", value, hints[key]) for key, value in options.items()}
    task: Task = kind(**typed)
    return task


def required(kind: Any) -> list[str]:
    """The options of a task's dataclass that have no default."""
    missing = dataclasses.MISSING
    return [
        item.name for item in dataclasses.fields(kind) if item.init and item.default is item.default_factory is missing
    ]


def located(name: str, options: dict[str, Any], recipe_folder: Path) -> dict[str, Any]:
    """The options with files found from the recipe's folder too, where the task has files (`FileTask.located`)."""
    locate = getattr(task_class(name), "located", None)
    return locate(options, recipe_folder) if locate else options


def is_heldout(problem: str, share: float) -> bool:
    """Whether a stable hash puts a problem, told by a text, on the held-out side: the splits share none."""
    return int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big") < share * 2**64


def generated(row: Callable[[str, int], Row], split: str, count: int, *, instead: str) -> list[Row]:
    """`count` distinct problems of a stream where there are as many, else repeats after every distinct one.

    Problems with the same `meta["numbers"]`, in any order, and gold are one. Held-out ones never repeat.

    Args:
        row: row `index` of a split.
        instead: what may be changed where too few held-out problems exist, for the message.

    Raises:
        RecipeError: fewer than `count` held-out problems were found.
    """
    rows: list[Row] = []
    seen: set[tuple[tuple[int, ...], str]] = set()
    index = misses = 0
    while len(rows) < count:
        made = row(split, index)
        index += 1
        key = (tuple(sorted(made.meta["numbers"])), made.gold)
        if key in seen:
            misses += 1
            if misses < 10 * (len(seen) + 20):
                continue
            if split == "heldout":
                raise RecipeError(
                    f"heldout_size={count}: only about {len(rows)} distinct held-out problems exist with these "
                    f"task_options; ask for fewer, {instead}"
                )
            seen.clear()
            misses = 0
        seen.add(key)
        rows.append(made)
    return rows
