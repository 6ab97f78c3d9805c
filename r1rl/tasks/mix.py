"""Several tasks in one, each with a weight: every part keeps its questions, its held-out side and its verifier."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from r1rl import tasks
from r1rl.ground.errors import RecipeError, check_known
from r1rl.ground.values import coerce
from r1rl.tasks import Row, Task, curriculum
from r1rl.tasks.curriculum import Levels

logger = logging.getLogger(__name__)

_KEYS = ("task", "weight", "options")


@dataclass
class Mix:
    """The task and its options.

    Args:
        parts: each a mapping with `task` (a name of `r1rl tasks`), `weight` (default 1) and `options`. Of any first so
            many rows every part has its share, to within one row.
    """

    parts: list[dict[str, Any]]
    _made: list[tuple[Task, float]] = field(default_factory=list, init=False, repr=False, compare=False)

    name = "mix"

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise RecipeError("task_options.parts: need two parts or more, each {task: …, weight: …, options: {…}}")
        for number, part in enumerate(self.parts):
            where = f"task_options.parts[{number}]"
            check_known(part, _KEYS, f" of a part, which takes {', '.join(_KEYS)}", prefix=f"{where}.")
            if part.get("task") in (None, self.name):
                raise RecipeError(f"{where}.task={part.get('task')!r}: need the name of another task")
            weight = float(coerce(f"{where}.weight", part.get("weight", 1), float))
            if weight <= 0:
                raise RecipeError(f"{where}.weight={weight:g}: need more than 0; leave the part out")
            options = coerce(f"{where}.options", part.get("options") or {}, dict)
            try:
                self._made.append((tasks.get(str(part["task"]), **options), weight))
            except RecipeError as error:
                raise RecipeError(f"{where}: {error}") from error

    @cached_property
    def verifier(self) -> str:
        """The verifier of the first part; rows name their own."""
        return self._made[0][0].verifier

    @cached_property
    def levels(self) -> Mapping[str, Levels]:
        """The levels of the parts that have some, see `curriculum.of`."""
        return {
            f"{number}/{prefix}": replace(its, rows=partial(self._of_level, number, its))
            for number, (part, _) in enumerate(self._made)
            for prefix, its in curriculum.of(part).items()
        }

    def _of_level(self, number: int, its: Levels, level: int, count: int) -> list[Row]:
        return [self._mine(row, number) for row in its.rows(level, count)]

    @staticmethod
    def located(options: dict[str, Any], recipe_folder: Path) -> dict[str, Any]:
        """The options with the parts' files found from the recipe's folder too."""
        parts = options.get("parts")
        if not isinstance(parts, list):
            return options
        found = [
            part | {"options": tasks.located(str(part["task"]), part["options"], recipe_folder)}
            if isinstance(part, dict) and isinstance(part.get("options"), dict) and "task" in part
            else part
            for part in parts
        ]
        return options | {"parts": found}

    def rows(self, split: str, count: int) -> list[Row]:
        """At most `count` training rows, or exactly `count` held-out rows, the parts taking turns by their weights.

        A part that has no more training rows leaves its turns to the others.
        """
        most = [count] * len(self._made)
        while True:
            turns = _turns([weight for _, weight in self._made], most, count)
            wanted = Counter(turns)
            found = [self._of_part(number, split, wanted[number], count) for number in range(len(self._made))]
            short = [number for number, rows in enumerate(found) if len(rows) < wanted[number]]
            if not short:
                break
            for number in short:
                most[number] = len(found[number])
                name = self._made[number][0].name
                logger.warning("mix: part %d, %s, has only %d rows of %s", number, name, most[number], split)
        rest = [iter(rows) for rows in found]
        return [self._mine(next(rest[number]), number) for number in turns]

    def _of_part(self, number: int, split: str, wanted: int, count: int) -> list[Row]:
        try:
            return self._made[number][0].rows(split, wanted)
        except RecipeError as error:
            size = f"heldout_size={count}: " if split == "heldout" else ""
            raise RecipeError(f"{size}task_options.parts[{number}]: {error}") from error

    def _mine(self, row: Row, number: int) -> Row:
        """A part's row under a name of its own; two parts may be the same task."""
        verifier = row.verifier or self._made[number][0].verifier
        return replace(row, prompt_id=f"{number}/{row.prompt_id}", verifier=verifier)


def _turns(weights: Sequence[float], most: Sequence[int], count: int) -> list[int]:
    """Whose row comes next, each part at most so often: always who is furthest behind its share."""
    given, turns = [0] * len(weights), []
    for _ in range(count):
        waiting = [number for number in range(len(weights)) if given[number] < most[number]]
        if not waiting:
            break
        turns.append(min(waiting, key=lambda number: ((given[number] + 0.5) / weights[number], number)))
        given[turns[-1]] += 1
    return turns
