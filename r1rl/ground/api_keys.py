"""Keys of endpoints, which come from the environment alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from r1rl.ground.errors import RecipeError

OF_MODELS: Final = ("R1RL_EVAL_KEY", "OPENAI_API_KEY")
"""Of endpoints that are measured, for `from_environment`; the judge has its own."""


def from_environment(names: Sequence[str]) -> str | None:
    """The key in the first of these variables that is set; None where none is.

    Raises:
        RecipeError: no header can hold it; the message does not have its value.
    """
    for name in names:
        if value := os.environ.get(name, "").strip():
            if not re.fullmatch(r"[!-~]+", value):
                raise RecipeError(f"{name}: holds a blank or a character that no key has; set it anew")
            return value
    return None
