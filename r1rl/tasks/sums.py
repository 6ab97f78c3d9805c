"""Sums: add (and subtract) whole numbers, how many and of how many digits being options.

Problems are generated and need no download. The same `(seed, split, index)` is always the same problem, and the two
splits share no numbers: a stable hash of a problem's numbers, in any order, decides the split.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.tasks import Row

HELDOUT_SHARE = 0.1
MOST_TERMS, MOST_DIGITS = 8, 8


@dataclass(frozen=True)
class Sums:
    """The task and its options.

    Args:
        terms: how many numbers there are (2 to 8).
        digits: how many digits each number has (1 to 8); the first is never 0.
        operators: what stands between them, `+`, `-` or both; no result on the way is below 0.
        seed: seed of the problem stream.
    """

    terms: int = 2
    digits: int = 2
    operators: str = "+"
    seed: int = 0

    name = "sums"
    verifier = "math"

    def __post_init__(self) -> None:
        for key, most in (("terms", MOST_TERMS), ("digits", MOST_DIGITS)):
            least = 2 if key == "terms" else 1
            if not least <= (value := getattr(self, key)) <= most:
                raise RecipeError(f"task_options.{key}={value}: need {least} to {most}")
        if not self.operators or set(self.operators) - set("+-"):
            raise RecipeError(f"task_options.operators={self.operators!r}: need '+', '-' or '+-'")

    def row(self, split: str, index: int) -> Row:
        """Row `index` of `split`."""
        rng = random.Random(f"sums|{self.seed}|{split}|{index}")
        while True:
            numbers = [rng.randrange(10 ** (self.digits - 1), 10**self.digits) for _ in range(self.terms)]
            signs = [rng.choice(self.operators) for _ in numbers[1:]]
            signed = [numbers[0], *(n if sign == "+" else -n for n, sign in zip(numbers[1:], signs, strict=True))]
            if min(accumulate(signed)) < 0:
                continue
            if tasks.is_heldout(str(sorted(numbers)), HELDOUT_SHARE) == (split == "heldout"):
                break
        written = str(numbers[0]) + "".join(f" {sign} {n}" for n, sign in zip(numbers[1:], signs, strict=True))
        # Right only when worked out: `23 + 45` is no answer to itself.
        meta = {"numbers": numbers, "final_value": True}
        return Row(f"sums:{written}", f"What is {written}?", str(sum(signed)), meta)

    def rows(self, split: str, count: int) -> list[Row]:
        """`count` problems, none twice (in any order) before nearly all were given; held-out ones never repeat.

        Raises:
            RecipeError: fewer than `count` held-out problems were found.
        """
        return tasks.generated(self.row, split, count, instead="or more digits or terms")
