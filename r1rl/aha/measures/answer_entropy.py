"""Entropy of a problem's answers over its samples, beside the entropy of a token.

The claim: training may raise the entropy of tokens and still lowers that of answers: paths that look less certain end
at fewer answers. Source: Wu et al., The Invisible Leash, arXiv 2507.14843, which takes Shannon's entropy of the
distinct final answers of a problem's samples, and of the next-token distributions.

Ours departs: answers are told apart by the form that equal ones share (`Sample.answer`), wrong ones count, and a sample
without an answer counts as one more answer, so that every problem has the same number of samples. The estimate of the
entropy of n samples is the plain one, which is too low, and at most ln n: compare steps of one run, which have the
same n, and no runs of different n. The entropy of a token is estimated by the mean surprise of the drawn tokens under
the sampling distribution, as no other log-probabilities are stored; it is not known of greedy rollouts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

from r1rl.aha.figures.figures import Figure
from r1rl.aha.measures.samples import Measure, Prompts, Sample, Term

_SECTION: Final = "answers of a problem"
_FIGURES: Final = (
    Figure("answer_entropy", "entropy of answers, nats", "entropy of a problem's answers", "problems",
           "Shannon entropy of the distinct answers of a problem's samples / problems", "nats", section=_SECTION),
    Figure("distinct_answers", "distinct answers", "distinct answers", "problems",
           "distinct answers of a problem's samples / problems", "count", section=_SECTION),
    Figure("token_surprise", "entropy of a token, nats", "surprise of the drawn tokens", "tokens",
           "-log p of the drawn tokens / tokens, an estimate of the mean entropy of a token", "nats",
           section=_SECTION),
)  # fmt: skip


def count(prompts: Prompts) -> Iterator[Term]:
    """The terms of the three figures; of problems with one sample nothing is said of answers."""
    for prompt, steps in prompts.items():
        for place, samples in enumerate(steps):
            if len(samples) > 1:
                answers = Counter(sample.answer for sample in samples)
                shares = [times / len(samples) for times in answers.values()]
                yield Term(prompt, place, "answer_entropy", -sum(share * math.log(share) for share in shares), 1)
                yield Term(prompt, place, "distinct_answers", len(answers), 1)
            for sample in samples:
                known = _surprises(sample)
                yield Term(prompt, place, "token_surprise", sum(known), len(known))


def _surprises(sample: Sample) -> list[float]:
    if sample.row["temperature"] == 0:
        return []
    return [-one for one in sample.row.get("logprobs") or () if math.isfinite(one)]


MEASURE: Final = Measure("answer_entropy", "arXiv 2507.14843", _FIGURES, count)
