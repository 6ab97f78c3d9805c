"""Where the first candidate answer stands, and how much of the reasoning comes after it.

The claim: reflections are what follows the first candidate answer, they seldom change it, and what training improves is
that first candidate. Source: Kang et al., First Try Matters, arXiv 2510.08308. There a language model marks the lines
of the reasoning that state a candidate answer, restatements too; the position of the first is its line over all lines.

Ours departs: candidates are the attempts of `aha.detect`, graded by the task's verifier, whose precision and recall are
known; a position is counted in stored tokens, and in characters where those are not known. The reasoning alone is
measured, not the answer behind it. A check of the candidate ("target 22 got 21 no") comes after it, as in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from r1rl.aha.figures.figures import Figure
from r1rl.aha.measures.samples import Measure, Prompts, Term, every

_SECTION: Final = "the first candidate"
_FIGURES: Final = tuple(
    Figure(key, label, above, below, f"{above} / {below}", detector="attempts", section=_SECTION)
    for key, label, above, below in (
        ("first_candidate_at", "first candidate ends at",
         "mean share of the reasoning up to the end of the first attempt", "rollouts with an attempt"),
        ("after_first_candidate", "reasoning after first candidate",
         "tokens of the reasoning after the first attempt", "tokens of the reasoning of rollouts with an attempt"),
        ("after_right_candidate", "reasoning after a right one",
         "tokens of the reasoning after the first right attempt",
         "tokens of the reasoning of rollouts with a right attempt"),
    )
)  # fmt: skip


def count(prompts: Prompts) -> Iterator[Term]:
    """The terms of the three figures."""
    for prompt, step, sample in every(prompts):
        if not sample.attempts:
            continue
        start, end = sample.reasoning
        whole = sample.length(start, end)
        if not whole:
            continue
        first = sample.attempts[0].end
        yield Term(prompt, step, "first_candidate_at", sample.length(start, first) / whole, 1)
        yield Term(prompt, step, "after_first_candidate", sample.length(first, end), whole)
        right = next((attempt.end for attempt in sample.attempts if attempt.right), None)
        if right is not None:
            yield Term(prompt, step, "after_right_candidate", sample.length(right, end), whole)


MEASURE: Final = Measure("first_candidate", "arXiv 2510.08308", _FIGURES, count)
