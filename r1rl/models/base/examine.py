"""Whether a base has the skills that retrying stands on: arithmetic, the goal test, and not to repeat itself."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1rl.ground.errors import RunFailedError
from r1rl.models.base.corpus import calculate, expressions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from r1rl.models.base.pretrain import PretrainConfig

REQUIRED = 0.95
PROBLEMS, SAMPLES = 100, 8
CAP = 112  # tokens: five attempts, one more than the longest document of the corpus makes
_EQUATION = re.compile(r"\b(\d+) ([-+*]) (\d+) = (\d+)\b")
_RESULT = re.compile(r"= \d+ , \d+ [-+*] \d+ = (\d+)")
_CHECK = re.compile(r"\btarget (\d+) got (\d+) (yes|no)\b")


@dataclass(frozen=True)
class Skills:
    """Shares over samples at temperature 1 on held-out problems, with the counts they stand on.

    Args:
        facts: equations whose result is right.
        yes_after_hit, no_after_miss: checks of a value that equals the target and says yes, or does not and says no.
        restated: checks that restate the target correctly.
        new: later attempts, as long as a new result is left, whose result no earlier attempt of the completion had.
    """

    facts: float
    facts_count: int
    yes_after_hit: float
    hits: int
    no_after_miss: float
    misses: int
    restated: float
    new: float
    later: int

    @property
    def sufficient(self) -> bool:
        """Whether every skill reaches REQUIRED."""
        return min(self.facts, self.yes_after_hit, self.no_after_miss, self.restated, self.new) >= REQUIRED

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.facts:.1%} of {self.facts_count} equations right, yes after {self.yes_after_hit:.1%} of "
            f"{self.hits} hits, no after {self.no_after_miss:.1%} of {self.misses} misses, "
            f"target restated in {self.restated:.1%} of checks, {self.new:.1%} of {self.later} later attempts new"
        )

    def require(self) -> None:
        """Raise RunFailedError unless `sufficient`."""
        if not self.sufficient:
            raise RunFailedError(
                f"the base is refused: {self.text()}; {REQUIRED:.0%} is needed of each, because retrying cannot pay "
                "without them: pretrain for more steps, or give --may-lack where the corpus does not show one"
            )


def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[str]) -> list[str]:
    """One completion at temperature 1 for every question, of CAP tokens at most."""
    given = tokenizer(questions, return_tensors="pt")  # all of one length: every number is one token
    tokens = model.generate(**given, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=CAP)
    return tokenizer.batch_decode(tokens[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


def examine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: PretrainConfig) -> Skills:
    """Sample completions for held-out problems at temperature 1 and check every equation, goal test and retry."""
    import torch

    torch.manual_seed(config.seed)
    rows = config.corpus.task.rows("heldout", PROBLEMS)
    texts = [text for _ in range(SAMPLES) for text in sample(model, tokenizer, [row.question for row in rows])]
    seen: Counter[str] = Counter()
    for row, text in zip(rows * SAMPLES, texts, strict=True):
        for a, operator, b, value in _EQUATION.findall(text):
            seen["facts"] += 1
            seen["facts right"] += calculate(int(a), operator, int(b)) == int(value)
        ways = expressions(tuple(row.meta["numbers"]), config.corpus.task.operators)
        results = _RESULT.findall(text)[: len(ways)]  # after as many attempts as there are ways, nothing new is left
        seen["later"] += len(results[1:])
        seen["later right"] += len(set(results)) - len(results[:1])
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
        new=share("later", seen["later"]),
        later=seen["later"],
    )
