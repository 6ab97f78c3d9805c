"""Up to 1 for visible steps: numbered lines, bullets, "Step 2:", "First," and the like."""

import re

from rewards.completions import TextReward

_STEP = re.compile(
    r"^[ \t]{0,8}(?:[0-9]{1,3}[.)][ \t]|[-*\u2022][ \t])"  # a list item, whatever it begins with
    r"|\bStep [0-9]{1,4}:"
    r"|\b(?:First|Second|Next|Finally),",
    re.MULTILINE,
)


class ReasoningSteps(TextReward):
    """A third for each visible step, 1 from three on: open-r1's reward for step-by-step text.

    Equation: r = min(1, steps / wanted). Range [0, 1]. Source: `reasoning_steps_reward` of open-r1, with two slips
    put right: a numbered item counts on every line, not on the text's first alone, and needs a blank after its dot
    (`1.5` is no step). It pays for a look, not for reasoning, and is easily gamed: meant for cold starts, or weight 0.

    Args:
        wanted: steps for the full reward, at least 1.
    """

    def __init__(self, wanted: int = 3) -> None:
        if wanted < 1:
            raise ValueError(f"wanted={wanted!r}: need a whole number of steps, at least 1; try 3")
        self.wanted = wanted

    def of(self, text: str) -> float:
        """The reward of one text."""
        return min(1.0, sum(1 for _ in _STEP.finditer(text)) / self.wanted)
