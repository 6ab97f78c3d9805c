"""Whether a base has the two skills that retrying stands on: arithmetic and the goal test."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1rl.ground.errors import RunFailedError
from r1rl.models.base.corpus import calculate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from r1rl.models.base.pretrain import PretrainConfig

REQUIRED = 0.95
PROBLEMS, SAMPLES = 100, 8
CAP = 112  # tokens: five attempts, one more than the longest document of the corpus makes
_EQUATION = re.compile(r"\b(\d+) ([-+*]) (\d+) = (\d+)\b")
_CHECK = re.compile(r"\btarget (\d+) got (\d+) (yes|no)\b")


@dataclass(frozen=True)
class Skills:
    """Shares over samples at temperature 1 on held-out problems, with the counts they stand on.

    Args:
        facts: equations whose result is right.
        yes_after_hit, no_after_miss: checks of a value that equals the target and says yes, or does not and says no.
        restated: checks that restate the target correctly.
    """

    facts: float
    facts_count: int
    yes_after_hit: float
    hits: int
    no_after_miss: float
    misses: int
    restated: float

    @property
    def sufficient(self) -> bool:
        """Whether every skill reaches REQUIRED."""
        return min(self.facts, self.yes_after_hit, self.no_after_miss, self.restated) >= REQUIRED

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.facts:.1%} of {self.facts_count} equations right, yes after {self.yes_after_hit:.1%} of "
            f"{self.hits} hits, no after {self.no_after_miss:.1%} of {self.misses} misses, "
            f"target restated in {self.restated:.1%} of checks"
        )

    def require(self) -> None:
        """Raise RunFailedError unless `sufficient`."""
        if not self.sufficient:
            raise RunFailedError(
                f"the base is refused: {self.text()}; {REQUIRED:.0%} is needed of each, because retrying cannot pay "
                "without them: pretrain for more steps"
            )


def examine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: PretrainConfig) -> Skills:
    """Sample completions for held-out problems at temperature 1 and check every equation and goal test in them."""
    from r1rl.rollout.engine import Engine
    from r1rl.rollout.sampling import Sampling, row_key

    rows = [row for row in config.corpus.task.rows("heldout", PROBLEMS) for _ in range(SAMPLES)]
    completions = Engine(tokenizer, [tokenizer.eos_token_id]).generate(
        model,
        tokenizer([row.question for row in rows])["input_ids"],
        [row_key(config.seed, "examine", i) for i in range(len(rows))],
        Sampling(max_completion_length=CAP, stop=("</answer>",)),
    )
    seen: Counter[str] = Counter()
    for row, completion in zip(rows, completions, strict=True):
        text = tokenizer.decode(completion.token_ids)
        for a, operator, b, value in _EQUATION.findall(text):
            seen["facts"] += 1
            seen["facts right"] += calculate(int(a), operator, int(b)) == int(value)
        for target, got, verdict in _CHECK.findall(text):
            hit = got == row.gold
            seen["hits" if hit else "misses"] += 1
            seen["hits right" if hit else "misses right"] += verdict == ("yes" if hit else "no")
            seen["restated right"] += target == row.gold

    def share(what: str, count: int) -> float:
        return seen[f"{what} right"] / count if count else 0.0

    return Skills(
        facts=share("facts", seen["facts"]),
        facts_count=seen["facts"],
        yes_after_hit=share("hits", seen["hits"]),
        hits=seen["hits"],
        no_after_miss=share("misses", seen["misses"]),
        misses=seen["misses"],
        restated=share("restated", seen["hits"] + seen["misses"]),
    )
