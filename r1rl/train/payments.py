"""What rewards return, held to their contract: TRL takes a NaN for None, and trains with a loss of 0 on infinity."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from r1rl.ground.errors import RunFailedError
from rewards import Reward
from rewards.external import is_async

_LARGEST = 3.4e38  # that a float32, in which rewards are kept, can hold


def checked(reward: Reward) -> Callable[..., Any]:
    """The reward under its own name; it raises `RunFailedError` where it returns anything but one number a completion.

    None is allowed for a row that cannot be judged. A coroutine function stays one.
    """
    if is_async(reward):

        @functools.wraps(reward, updated=())
        async def judged(completions: Any, **columns: Any) -> list[float | None]:
            return _values(reward.__name__, await reward(completions=completions, **columns), completions, columns)  # type: ignore[misc]
    else:

        @functools.wraps(reward, updated=())
        def judged(completions: Any, **columns: Any) -> list[float | None]:
            return _values(reward.__name__, reward(completions=completions, **columns), completions, columns)

    return judged


def _values(name: str, returned: Any, completions: Any, columns: dict[str, Any]) -> list[float | None]:
    """The values as floats and Nones."""
    state = columns.get("trainer_state")
    where = "" if state is None else f" in step {state.global_step + 1}"
    try:
        given = [] if isinstance(returned, str) else list(returned)
    except TypeError:
        given = []
    if len(given) != len(completions):
        got = f"{len(given)} values" if given else f"{returned!r:.80}"
        raise RunFailedError(
            f"reward={name!r}: returned {got} for {len(completions)} completions{where}; need a list with one number, "
            "or None, for each"
        )
    return [_value(name, value, i, where, columns) for i, value in enumerate(given)]


def _value(name: str, value: Any, index: int, where: str, columns: dict[str, Any]) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, Real) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0)
    number = float(value) if is_number else math.nan
    if not -_LARGEST <= number <= _LARGEST:  # not true of NaN
        problems = columns.get("prompt_id")
        problem = f" for problem {problems[index]!r:.200}" if problems else ""
        raise RunFailedError(
            f"reward={name!r}: returned {value!r:.80}{problem}{where}; a reward is a finite number, or None where a "
            "row cannot be judged and is to be left out"
        )
    return number
