"""What rewards return while a run trains, held to their contract."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from r1rl.ground.errors import RecipeError, RunFailedError
from rewards import Reward, returned
from rewards.external import is_async


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


def _values(name: str, given: Any, completions: Any, columns: dict[str, Any]) -> list[float | None]:
    """The values as floats and Nones."""
    state = columns.get("trainer_state")
    where = "" if state is None else f" in step {state.global_step + 1}"
    try:
        return returned.values(name, given, len(completions), where=where, problems=columns.get("prompt_id") or ())
    except RecipeError as error:
        raise RunFailedError(str(error)) from error
