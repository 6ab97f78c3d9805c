"""Right solutions that the first step's policy found and the last one's does not, and the other way round.

The claim: reinforcement learning from verifiable rewards loses more right solutions than it finds. Source: Wu et al.,
The Invisible Leash, arXiv 2507.14843. The empirical support of a policy is there the right solutions whose probability
is above a small bound, which thousands of samples a problem tell; of it are kept (support retention rate) the share of
the base's that is still there, and new (net discovery rate) the share of the trained policy's that the base had not;
the net change is new minus lost over all of either.

Ours departs: a solution is in the support if one of the n samples of its problem found it, whatever its probability,
and n is that of the run's held-out evaluation: often 4. With so few, solutions come and go by chance alone. So each
share stands beside what chance would give: that of two draws of the same sizes from both steps' samples mixed, worked
out exactly (hypergeometric). Only the difference says anything. A solution is an answer in the form that equal ones
share: on Countdown the expression up to order; where a problem has one right answer its support is whether it was
solved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import comb
from typing import Final

from r1rl.aha.figures.figures import Figure
from r1rl.aha.measures.samples import Measure, Prompts, Term

_SECTION: Final = "support"
_FIGURES: Final = (
    Figure("support_kept", "right solutions kept", "found at both steps", "found at the first step",
           "distinct right solutions found at the first and the last step / found at the first", section=_SECTION),
    Figure("support_kept_by_chance", "  kept, if nothing changed", "found at both", "found at the first",
           "the same, expected of two draws from both steps' samples mixed", section=_SECTION),
    Figure("support_new", "right solutions that are new", "found at the last step alone", "found at the last step",
           "distinct right solutions found at the last step and not at the first / found at the last",
           section=_SECTION),
    Figure("support_new_by_chance", "  new, if nothing changed", "found at the last alone", "found at the last",
           "the same, expected of two draws from both steps' samples mixed", section=_SECTION),
    Figure("support_change", "new − lost", "new less lost", "found at either step",
           "solutions new at the last step minus those lost / found at either", "gap", section=_SECTION),
)  # fmt: skip


def count(prompts: Prompts) -> Iterator[Term]:
    """The terms of the figures at each step after the first, over problems sampled and judged at both."""
    for prompt, steps in prompts.items():
        judged = [[sample for sample in samples if sample.correct is not None] for samples in steps]
        found = [Counter(one.answer for one in samples if one.correct and one.answer is not None) for samples in judged]
        for place in range(1, len(steps)):
            if judged[0] and judged[place]:
                yield from _terms(prompt, place, found[0], found[place], len(judged[0]), len(judged[place]))


def _terms(prompt: str, place: int, before: Counter[str], after: Counter[str], first: int, last: int) -> Iterator[Term]:
    """The terms of one problem, of whose solutions `before` and `after` say how many samples found each."""
    both, either = len(before & after), len(before | after)
    yield Term(prompt, place, "support_kept", both, len(before))
    yield Term(prompt, place, "support_new", len(after) - both, len(after))
    yield Term(prompt, place, "support_change", len(after) - len(before), either)
    chances = [_chances(times, first, last) for times in (before + after).values()]
    in_first, in_last = (sum(pair[i] for pair in chances) for i in (0, 1))
    yield Term(prompt, place, "support_kept_by_chance", in_first + in_last - len(chances), in_first)
    yield Term(prompt, place, "support_new_by_chance", len(chances) - in_first, in_last)


def _chances(times: int, first: int, last: int) -> tuple[float, float]:
    """How likely a solution that is among `first` + `last` samples `times` times is in either part of a split."""
    every = first + last
    return (
        1 - comb(every - times, first) / comb(every, first),
        1 - comb(every - times, last) / comb(every, last),
    )


MEASURE: Final = Measure("support", "arXiv 2507.14843", _FIGURES, count)
