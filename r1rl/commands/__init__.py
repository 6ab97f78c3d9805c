"""One module a command, named as the command: SUMMARY, EXAMPLES, `add_arguments`, `run`.

The modules are imported for every command's help, so each imports what is heavy in `run`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from r1rl.recipe_values import RecipeError


@contextmanager
def user_errors() -> Iterator[None]:
    """What the user got wrong, said by a ValueError, as one line and exit code 2."""
    try:
        yield
    except ValueError as error:
        raise RecipeError(str(error)) from error


def print_table(rows: Mapping[str, str]) -> None:
    """Names and texts in two columns."""
    width = max(map(len, rows))
    sys.stdout.writelines(f"{name:<{width}}  {text}\n" for name, text in rows.items())
