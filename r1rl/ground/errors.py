"""What goes wrong, told to people: a mistake of theirs, or a failure whose message says everything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RecipeError(ValueError):
    """Something the user has to correct; the message names the key, the value and what is allowed."""


class RunFailedError(RuntimeError):
    """A failure whose message says everything: shown as one line, exit code 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
