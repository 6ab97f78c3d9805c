"""The questions of an evaluation: every one of a benchmark or file, or the held-out ones of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from r1rl import tasks
from r1rl.ground.errors import MissingDataError, RecipeError
from r1rl.tasks import Row, Task, gold
from r1rl.tasks.files import FileTask
from r1rl.tasks.presets import PRESETS
from r1rl.tasks.records import SUFFIXES

HELDOUT: Final = 128
"""Held-out problems of a task that makes its own, where no number is given."""

BREAKDOWN: Final = ("level", "subject", "type", "difficulty", "subfield", "source", "data_source")
"""Columns by which results are shown apart, where the data has them and they sort it into few kinds."""


@dataclass(frozen=True)
class Questions:
    """What is asked.

    Args:
        task: where they are from, with the name of the verifier.
        options: its options, as they were resolved.
        rows: the questions, in the order in which they are asked.
        left_out: how many have a gold answer that cannot be used.
    """

    task: Task
    options: dict[str, Any]
    rows: list[Row]
    left_out: int


def find(
    name: str,
    options: Mapping[str, Any],
    *,
    limit: int | None = None,
    heldout: int | None = None,
    progress: bool = False,
) -> Questions:
    """The questions of a preset, a task or a file.

    Args:
        name: a task or preset by name, or a file.
        options: task options.
        limit: ask only so many, the same ones every time; more of them hold the fewer.
        heldout: ask so many held-out problems alone, as where a run was trained on the others.

    Raises:
        RecipeError: unknown name, no such file, no usable question.
    """
    if limit is not None and limit < 1:
        raise RecipeError(f"limit={limit}: need at least 1")
    task, resolved = task_of(name, dict(options))
    most = min(limit or heldout or HELDOUT, heldout or limit or HELDOUT)
    rows = all_rows(task, most) if heldout is None else task.rows("heldout", most)
    if limit is not None and limit < len(rows):
        # By a hash of the question: the first of a file are often all of one kind.
        rows = sorted(rows, key=lambda row: hashlib.sha256(row.question.encode()).digest())[:limit]
    reasons = gold.check_task(task, rows, progress=progress)
    good = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    if not good:
        raise RecipeError(f"task={name!r}: no gold answer is usable, most often: {gold.most_common(reasons)[0]}")
    return Questions(task, resolved, good, len(rows) - len(good))


def all_rows(task: Task, heldout: int = HELDOUT) -> list[Row]:
    """Every row of a file or data set; of a task that makes its own, so many held-out problems."""
    return task.every_row() if isinstance(task, FileTask) else task.rows("heldout", heldout)


def task_of(name: str, options: dict[str, Any], *, train: bool = False) -> tuple[Task, dict[str, Any]]:
    """A preset, a task or a file, and its options; a preset's split is the one to evaluate on, or to train on.

    Raises:
        RecipeError: unknown name, or no such file.
    """
    wants_split = name in PRESETS and (not train or PRESETS[name].train_split is None)
    if wants_split and not {"path", "dataset", "split"} & options.keys():
        options["split"] = PRESETS[name].split
    if name not in PRESETS and name not in tasks.names():
        if Path(name).suffix.lower() in SUFFIXES:
            return tasks.get("file", path=name, **options), options | {"path": name}
        if Path(name).exists():
            raise MissingDataError(f"task={name!r}: need a file that ends in {', '.join(SUFFIXES)}")
    return tasks.get(name, **options), options


def kinds(rows: list[Row]) -> dict[str, dict[str, str]]:
    """By column, the kind of each question by its id, where the data sorts them into 2 to 40 kinds."""
    found = {}
    for column in BREAKDOWN:
        values = {row.prompt_id: row.columns.get(column) for row in rows}
        if all(isinstance(value, str | int) and str(value).strip() for value in values.values()):
            by_id = {prompt_id: str(value).strip() for prompt_id, value in values.items()}
            if 2 <= len(set(by_id.values())) <= min(40, len(rows) // 2):
                found[column] = by_id
    return found
