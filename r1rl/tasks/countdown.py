"""Countdown: reach a target from given numbers, each used exactly once.

Problems are generated, solvable by construction, and need no download. The same `(seed, split, index)` is
always the same problem, and the two splits share no problem: a stable hash of (sorted numbers, target)
decides the split, so a base model can be pretrained on the training side alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.tasks import Row

HELDOUT_SHARE = 0.1
_OPERATORS = "+-*/"
_MAX_DRAWS = 10_000


def apply(operator: str, a: Fraction, b: Fraction) -> Fraction | None:
    """`a operator b` as an exact fraction, None for a division by zero."""
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    return a / b if b else None


def is_heldout(numbers: list[int], target: int, share: float = HELDOUT_SHARE) -> bool:
    """Whether this problem, whatever the order of its numbers, belongs to the held-out split."""
    return tasks.is_heldout(f"{sorted(numbers)}>{target}", share)


@dataclass(frozen=True)
class Countdown:
    """The task and its options.

    Args:
        numbers: how many numbers a problem gives (2 to 6).
        low, high: smallest and largest given number, both included.
        target_low, target_high: smallest and largest target, both included.
        operators: which of `+-*/` a solution may need. The verifier accepts all four.
        style: `plain` states the rules in words; `short` is "Use 3, 5, 7 to make 22." for the tiny base.
        heldout_share: share of the problems that are held out; more than the default where two small numbers make few
            problems. The tiny base was pretrained on all but the default's.
        seed: seed of the problem stream.
    """

    numbers: int = 3
    low: int = 1
    high: int = 9
    target_low: int = 1
    target_high: int = 50
    operators: str = _OPERATORS
    style: str = "plain"
    heldout_share: float = HELDOUT_SHARE
    seed: int = 0

    name = "countdown"
    verifier = "countdown"

    def __post_init__(self) -> None:
        if not 2 <= self.numbers <= 6:
            raise RecipeError(f"task_options.numbers={self.numbers}: need 2 to 6; 3 or 4 are usual")
        if not 0 < self.low <= self.high:
            raise RecipeError(f"task_options.low={self.low}, high={self.high}: need 0 < low <= high")
        if not 0 < self.target_low <= self.target_high:
            raise RecipeError(
                f"task_options.target_low={self.target_low}, target_high={self.target_high}: "
                "need 0 < target_low <= target_high"
            )
        if not self.operators or set(self.operators) - set(_OPERATORS):
            raise RecipeError(f"task_options.operators={self.operators!r}: need a non-empty part of '+-*/'")
        if self.style not in ("plain", "short"):
            raise RecipeError(f"task_options.style={self.style!r}: need 'plain' or 'short'")
        if not 0 < self.heldout_share < 1:
            raise RecipeError(f"task_options.heldout_share={self.heldout_share}: need more than 0, less than 1")

    def question(self, numbers: list[int], target: int | str) -> str:
        """The question's text."""
        listed = ", ".join(map(str, numbers))
        if self.style == "short":
            return f"Use {listed} to make {target}."
        return (
            f"Using the numbers [{listed}], create an expression that equals {target}. You can use the basic "
            "arithmetic operations (+, -, *, /) and parentheses, and each number must be used exactly once."
        )

    def problem(self, rng: random.Random) -> tuple[list[int], int] | None:
        """One draw: numbers and the value of a random expression over them, None when it is no valid target."""
        numbers = [rng.randint(self.low, self.high) for _ in range(self.numbers)]
        values = [Fraction(n) for n in rng.sample(numbers, len(numbers))]
        while len(values) > 1:
            a = values.pop(rng.randrange(len(values)))
            b = values.pop(rng.randrange(len(values)))
            value = apply(rng.choice(self.operators), a, b)
            # The generated solution stays within whole, non-negative numbers; other solutions may not.
            if value is None or value.denominator != 1 or value < 0:
                return None
            values.append(value)
        target = int(values[0])
        return (numbers, target) if self.target_low <= target <= self.target_high else None

    def row(self, split: str, index: int) -> Row:
        """Row `index` of `split`.

        Raises:
            RecipeError: the options admit (almost) no problem of that split.
        """
        rng = random.Random(f"countdown|{self.seed}|{split}|{index}")
        for _ in range(_MAX_DRAWS):
            drawn = self.problem(rng)
            if drawn is not None and is_heldout(*drawn, self.heldout_share) == (split == "heldout"):
                numbers, target = drawn
                prompt_id = "countdown:" + "-".join(map(str, numbers)) + f">{target}"
                return Row(prompt_id, self.question(numbers, target), str(target), {"numbers": numbers})
        raise RecipeError(
            f"task_options of countdown admit no {split} problem in {_MAX_DRAWS} draws: "
            "widen low..high, target_low..target_high or operators"
        )

    def rows(self, split: str, count: int) -> list[Row]:
        """`count` distinct problems where the space is large enough, else repeats after every distinct one.

        Held-out rows never repeat: there, too few distinct problems raise RecipeError.
        """
        return tasks.generated(self.row, split, count, instead="widen the ranges, or raise heldout_share")
