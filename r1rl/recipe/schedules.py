"""Settings that change at a step: a mapping from optimizer steps to values where a recipe may give a number.

`max_completion_length: {0: 32768, 8200: 65536}` is R1-Zero's. The value of a step is that of the largest key up to
it, counted in optimizer steps that have been made. What sampling depends on (all but the learning rate) changes at the
first sampling from that step on: rollouts that wait in a buffer belong to the settings that they were sampled under.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from r1rl.ground.errors import RecipeError
from r1rl.ground.values import coerce
from r1rl.recipe.keys import LIMITS

SCHEDULED = ("max_completion_length", "temperature", "learning_rate", "beta")


@dataclass(frozen=True)
class Schedule:
    """The values of a key by the step from which each holds, in ascending order; one holds from step 0.

    Example: of `{0: 160, 20: 320}`, `at(19)` is 160 and `at(20)` is 320.
    """

    key: str
    values: Mapping[int, float]

    def at(self, step: int) -> float:
        """The value that holds after `step` optimizer steps."""
        return self.values[max(known for known in self.values if known <= step)]

    @property
    def largest(self) -> float:
        """The value to make room for."""
        return max(self.values.values())

    def parts(self, steps: int) -> list[tuple[int, float]]:
        """How many of so many steps have which value."""
        ends = [*list(self.values)[1:], steps]
        return [(min(end, steps) - start, self.values[start]) for start, end in zip(self.values, ends, strict=True)]

    def check(self, *, max_steps: int, every: int) -> None:
        """Raise RecipeError where its last value never holds in a run that samples at every `every`-th step."""
        last = max(self.values)
        begins = last if self.key == "learning_rate" else -(-last // every) * every
        if 0 < max_steps <= begins:
            at = f", and samples for the last time at step {(max_steps - 1) // every * every}" if every > 1 else ""
            raise RecipeError(
                f"{self.key}.{last}={self.values[last]!r}: step {last} is never reached, the run makes {max_steps} "
                f"steps (max_steps){at}; leave it out, or raise max_steps"
            )

    def __str__(self) -> str:
        first, *later = self.values.items()
        return ", ".join([f"{first[1]:g}", *(f"{value:g} from step {step} on" for step, value in later)])


def split(stated: Mapping[str, Any], hints: Mapping[str, Any]) -> tuple[dict[str, Schedule], dict[str, Any]]:
    """The schedules among a recipe's keys, and the keys with one number for each: the largest, or that of step 0.

    Memory, positions and the reference model are for the largest `max_completion_length` and `beta`.

    Raises:
        RecipeError: a mapping that is no schedule; the message says what one is.
    """
    found, plain = dict[str, Schedule](), dict(stated)
    for key in SCHEDULED:
        value = stated.get(key)
        if isinstance(value, str) and value.strip().startswith("{"):
            try:
                value = yaml.safe_load(value)
            except yaml.YAMLError:
                continue  # is told as any other text
        if isinstance(value, Mapping):
            schedule = found[key] = _schedule(key, value, hints[key], stated)
            plain[key] = schedule.largest if key in ("max_completion_length", "beta") else schedule.at(0)
    return found, plain


def at_most(key: str, value: Any) -> Any:
    """One number for a key of a resolved recipe: the largest of a mapping's, of temperatures the first."""
    if not isinstance(value, Mapping):
        return value
    return value[min(value)] if key == "temperature" else max(value.values())


def _schedule(key: str, value: Mapping[Any, Any], hint: Any, stated: Mapping[str, Any]) -> Schedule:
    def refused(why: str) -> RecipeError:
        return RecipeError(f"{key}={dict(value)!r}: {why}; a setting that changes is {{0: FIRST, STEP: NEXT, …}}")

    values = {}
    for step, each in value.items():
        try:
            number = coerce("step", step, int)
        except RecipeError:
            number = -1
        if number < 0:
            raise refused(f"{step!r} is no optimizer step, a whole number from 0 on")
        if number in values:
            raise refused(f"step {number} is given twice")
        values[number] = coerce(f"{key}.{number}", each, hint)
        if values[number] is None:
            raise refused("null is no value")
        if key in LIMITS and not LIMITS[key].allows(values[number]):
            raise RecipeError(f"{key}.{number}={each!r}: {LIMITS[key].text}")
    if 0 not in values:
        raise refused("nothing is said of step 0")
    if key == "learning_rate" and str(stated.get("lr_scheduler_type")) in ("reduce_lr_on_plateau", "greedy"):
        raise refused(f"does not go with lr_scheduler_type={stated['lr_scheduler_type']}")
    return Schedule(key, dict(sorted(values.items())))
