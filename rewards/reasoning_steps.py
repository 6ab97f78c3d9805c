"""Up to 1 for visible steps: numbered lines, bullets, "Step 2:", "First," and the like."""

import re
from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, text_of

_STEP = re.compile(
    r"^[ \t]{0,8}(?:[0-9]{1,3}[.)][ \t]|[-*\u2022][ \t])"  # a list item, whatever it begins with
    r"|\bStep [0-9]{1,4}:"
    r"|\b(?:First|Second|Next|Finally),",
    re.MULTILINE,
)


class ReasoningSteps:
    """A third for each visible step, 1 from three on: open-r1's reward for step-by-step text.

    Equation: r = min(1, steps / wanted). Range [0, 1]. Source: `reasoning_steps_reward` of open-r1, with two slips
    put right: a numbered item counts on every line, not on the text's first alone, and needs a blank after its dot
    (`1.5` is no step). It pays for a look, not for reasoning, and is easily gamed: meant for cold starts, or weight 0.

    Args:
        wanted: steps for the full reward, at least 1.
    """

    __name__ = "reasoning-steps"

    def __init__(self, wanted: int = 3) -> None:
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
            raise ValueError(f"wanted={wanted!r}: need a whole number of steps, at least 1; try 3")
        self.wanted = wanted

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion, never None."""
        counts = [sum(1 for _ in _STEP.finditer(text_of(completion))) for completion in completions]
        return [min(1.0, count / self.wanted) for count in counts]
