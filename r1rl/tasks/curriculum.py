"""Levels of difficulty: a task that has them asks for harder problems as a run's recent pass rate rises.

reasoning-gym says what a generator's levels are; here stands when a run moves between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from r1rl.ground.errors import RecipeError, check_known
from r1rl.ground.values import coerce

if TYPE_CHECKING:
    from r1rl.tasks import Row

_KEYS = {"first": int, "last": int, "raise_at": float, "lower_at": float, "window": int}


@dataclass(frozen=True)
class Levels:
    """The levels of one task, or of one part of a mix, and the rule by which a run moves on them.

    Args:
        first, last: the level of the first step, below which a run never falls, and the highest.
        raise_at, lower_at: from this share of right answers on one level up, and below that one one level down.
        window: over at least so many of the last questions of the level.
        rows: (level, count) -> that many training problems, or as many as there are; the same ones every time.
        words: what a level is, for people.
    """

    first: int
    last: int
    raise_at: float
    lower_at: float
    window: int
    rows: Callable[[int, int], list[Row]]
    words: Callable[[int], str]

    def after(self, level: int, rate: float) -> int:
        """The level that follows a pass rate."""
        if rate >= self.raise_at:
            return min(level + 1, self.last)
        return max(level - 1, self.first) if rate < self.lower_at else level

    def __str__(self) -> str:
        down = f", one down below {self.lower_at:.0%}" if self.lower_at else ""
        return (
            f"level {self.first} ({self.words(self.first)}) to {self.last} ({self.words(self.last)}); one up from "
            f"{self.raise_at:.0%} right in the last {self.window} questions{down}"
        )


def rule(given: Mapping[str, Any], highest: int) -> dict[str, Any]:
    """The rule as a recipe states it under `curriculum`, checked and filled in.

    Raises:
        RecipeError: an unknown key, or a value out of range.
    """
    where = "task_options.curriculum"
    check_known(given, _KEYS, f" of a curriculum, which takes {', '.join(_KEYS)}", prefix=f"{where}.")
    defaults = {"first": 0, "last": highest, "raise_at": 0.7, "lower_at": 0.2, "window": 64}
    found = {key: coerce(f"{where}.{key}", given.get(key, default), _KEYS[key]) for key, default in defaults.items()}
    if not 0 <= found["first"] <= found["last"] <= highest:
        raise RecipeError(f"{where}: first={found['first']}, last={found['last']}: the levels are 0 to {highest}")
    if not 0 <= found["lower_at"] < found["raise_at"] <= 1:
        raise RecipeError(
            f"{where}: lower_at={found['lower_at']:g}, raise_at={found['raise_at']:g}: need 0 <= lower_at < "
            "raise_at <= 1"
        )
    if found["window"] < 1:
        raise RecipeError(f"{where}.window={found['window']}: need at least 1 question")
    return found


def of(task: Any) -> Mapping[str, Levels]:
    """The levels of a task's parts by how the prompt_ids of a part begin ("" where the task is one); most have none."""
    return getattr(task, "levels", {})
