"""What goes wrong, told to people: a mistake of theirs, or a failure whose message says everything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RecipeError(ValueError):
    """Something the user has to correct; the message names the key, the value and what is allowed."""


class MissingDataError(RecipeError):
    """The problems are not here; a plan can do without them."""


class RunFailedError(RuntimeError):
    """A failure whose message says everything: shown as one line, exit code 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    near = _nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def check_known(given: Iterable[str], known: Iterable[str], where: str, *, prefix: str = "") -> None:
    """Raise one RecipeError for all keys that are not known, each with the nearest one that is.

    Args:
        where: the end of the sentence "unknown key …", such as "in recipe.yaml".
        prefix: what stands before each key where it is shown, such as "--".
    """
    known = list(known)
    unknown = [key for key in given if key not in known]
    if len(unknown) == 1:
        raise RecipeError(f"{prefix}{unknown[0]}: unknown key{where}{nearest(unknown[0], known)}")
    if unknown:
        shown = [f"{prefix}{key}" + (f" (did you mean {near!r}?)" if (near := _nearest(key, known)) else "")
                 for key in unknown]  # fmt: skip
        raise RecipeError(f"unknown keys{where}: {', '.join(shown)}")


def one_line(error: BaseException, longest: int = 300) -> str:
    """What an exception says, in one line; its kind as well where that is not a plain ValueError or OSError."""
    text = " ".join(str(error).split()) or "no reason given"
    kind = "" if isinstance(error, OSError) or type(error) is ValueError else f"{type(error).__name__}: "
    return (kind + text)[:longest].rstrip(" :")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff=0.6)), None)
