"""What a reward returns, held to its contract: TRL takes a NaN for None, and trains with a loss of 0 on infinity."""

import math
from collections.abc import Sequence
from typing import Any

from r1rl.ground.errors import RecipeError

_LARGEST = 3.4e38  # that a float32, in which rewards are kept, can hold


def values(
    name: str, returned: Any, count: int, *, where: str = "", problems: Sequence[Any] = ()
) -> list[float | None]:
    """The values as floats and Nones; None is for a row that cannot be judged.

    Args:
        name: the reward's name.
        returned: what it returned.
        count: the completions that it was given.
        where: in an error, such as " in step 3".
        problems: names of the problems, for an error.

    Raises:
        RecipeError: anything but one finite number or None for each completion.
    """
    told = f"reward={name!r}: returned {{}}{where}; need a list with one number, or None, for each completion"
    try:
        given = None if isinstance(returned, str | bytes) else list(returned)
    except TypeError:
        given = None
    if given is None:
        one = ", one value" if _number(returned) is not None else ""
        raise RecipeError(told.format(f"{_shown(returned)}{one} for {count} completions"))
    if len(given) != count:
        raise RecipeError(told.format(f"{len(given)} values for {count} completions"))
    found: list[float | None] = []
    for i, value in enumerate(given):
        number = None if value is None else _number(value)
        if value is not None and (number is None or not -_LARGEST <= number <= _LARGEST):  # not true of NaN
            problem = f"problem {problems[i]!r:.200}" if problems else "a completion"
            raise RecipeError(
                f"reward={name!r}: returned {_shown(value)} for {problem}{where}; a reward is a finite number, or None "
                "where a row cannot be judged and is to be left out"
            )
        found.append(number)
    return found


def _number(value: Any) -> float | None:
    """A number as a float, NumPy's and torch's scalars included; None: it is none."""
    if isinstance(value, str | bytes | complex) or getattr(value, "ndim", None):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def _shown(value: Any) -> str:
    text = " ".join(f"{value!r:.500}".split())
    return text if len(text) <= 60 else text[:59] + "…"
