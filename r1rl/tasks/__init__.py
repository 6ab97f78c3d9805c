"""Tasks by name: where questions and gold answers come from.

A task is one file in this folder and one line in `_TASKS`. Its options are its dataclass fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints

from r1rl.ground.errors import RecipeError, nearest
from r1rl.ground.values import coerce


@dataclass(frozen=True)
class Row:
    """One problem.

    Args:
        prompt_id: the problem's stable name; statistics cluster by it.
        question: the text put into the prompt template.
        gold: the expected answer, always text.
        meta: what the verifier needs besides, JSON-able; Countdown: `{"numbers": [3, 5, 7]}`.
    """

    prompt_id: str
    question: str
    gold: str
    meta: dict[str, Any]


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


_TASKS = {"countdown": "r1rl.tasks.countdown:Countdown", "file": "r1rl.tasks.files:FileTask"}


def names() -> list[str]:
    """The registered tasks."""
    return list(_TASKS)


def describe(name: str) -> str:
    """The first line of the documentation of a task's module."""
    module = inspect.getmodule(task_class(name))
    return (inspect.getdoc(module) or "").partition("\n")[0]


def task_class(name: str) -> type:
    """The dataclass behind a name.

    Raises:
        ValueError: unknown task.
    """
    if name not in _TASKS:
        raise RecipeError(f"task={name!r}: unknown task, known are {', '.join(_TASKS)}{nearest(name, _TASKS)}")
    module, _, attribute = _TASKS[name].partition(":")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def get(name: str, **options: Any) -> Task:
    """The task `name` with its options, checked against the dataclass fields; nothing is downloaded here.

    Raises:
        ValueError: unknown task or option, wrong type, or a value that the task refuses.
    """
    kind = task_class(name)
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind) if field.init and not field.name.startswith("_")]
    for key in options:
        if key not in known:
            raise RecipeError(
                f"task_options.{key}: task {name!r} has no such option, it takes {', '.join(known)}"
                f"{nearest(key, known)}"
            )
    typed = {key: coerce(f"task_options.{key}", value, hints[key]) for key, value in options.items()}
    task: Task = kind(**typed)
    return task
