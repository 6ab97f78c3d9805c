"""How uncertain the policy was before it reflected, and whether reflections help more when it was.

The claim: shifts in mid-reasoning do not help on the whole, and help where the policy is uncertain. Source: d'Aliberti
and Ribeiro, The Illusion of Insight in Reasoning Models, arXiv 2601.00514. There uncertainty is the entropy of the
next-token distributions, and shifts are found by word cues and a language model. (Its abstract and summaries were
read, not its text: where exactly it cuts between high and low entropy is not known here.)

Ours departs: of each token only the log-probability of the token that was drawn is stored, no distribution, so no
entropy is known. What is measured is surprise, -log p of the drawn tokens, in nats under the sampling distribution (so
at the sampling temperature). The mean surprise of a token is the entropy of its distribution, so over many tokens the
two agree; for a single reflection it is a noisy stand-in. It is taken over the last WINDOW tokens before a strict
marker. A reflection counts as made in doubt if that is in the uppermost fifth of all reflections of its step: so the
two are to be compared at one step, and not over steps. Greedy rollouts are never surprised in that sense, so nothing is
said of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from r1rl.aha.figures.figures import Figure
from r1rl.aha.measures.samples import Measure, Prompts, Sample, Term, every

WINDOW: Final = 8
"""Tokens before a marker: about a clause."""

DOUBT: Final = 0.8
"""The share of reflections that are not counted as made in doubt."""

_SECTION: Final = "surprise before a reflection"
_FIGURES: Final = (
    Figure("surprise_before", "nats a token before a marker", f"surprise of the {WINDOW} tokens before", "tokens",
           f"-log p of the {WINDOW} tokens before a strict marker / tokens", "nats", section=_SECTION),
    Figure("surprise_elsewhere", "nats a token elsewhere", "surprise of the others", "tokens",
           "-log p of the other tokens of the reasoning / tokens", "nats", section=_SECTION),
    Figure("surprise_of_marker", "nats of a marker's first token", "surprise of the first token", "markers",
           "-log p of the token that begins a strict marker / markers", "nats", section=_SECTION),
    Figure("effective_in_doubt", "effective, made in doubt", "effective ones", "reflections in doubt",
           "markers followed by wrong → right / markers in the uppermost fifth of their step by surprise before",
           detector="markers: strict", section=_SECTION),
    Figure("effective_otherwise", "effective, otherwise", "effective ones", "other reflections",
           "markers followed by wrong → right / the other markers", detector="markers: strict", section=_SECTION),
)  # fmt: skip


class _Reflection(NamedTuple):
    prompt: str
    step: int
    before: float  # mean surprise of the window
    effective: bool


def count(prompts: Prompts) -> Iterator[Term]:
    """The terms of the five figures, over rollouts whose tokens and log-probabilities are known."""
    found: list[_Reflection] = []
    for prompt, step, sample in every(prompts):
        surprises = _surprises(sample)
        if surprises is None:
            continue
        window: set[int] = set()
        for marker in sample.markers:
            ends = [i for i, (_, end, _) in enumerate(surprises) if end <= marker.start]
            before = ends[-WINDOW:]
            begins = next((one for start, end, one in surprises if end > marker.start), None)
            if begins is not None:
                yield Term(prompt, step, "surprise_of_marker", begins, 1)
            if not before:
                continue
            window |= set(before)
            nats = sum(surprises[i][2] for i in before)
            yield Term(prompt, step, "surprise_before", nats, len(before))
            found.append(_Reflection(prompt, step, nats / len(before), marker.label == "effective"))
        others = [one for i, (_, _, one) in enumerate(surprises) if i not in window]
        yield Term(prompt, step, "surprise_elsewhere", sum(others), len(others))
    bounds = {
        step: float(np.quantile([one.before for one in found if one.step == step], DOUBT))
        for step in {one.step for one in found}
    }
    for one in found:
        key = "effective_in_doubt" if one.before > bounds[one.step] else "effective_otherwise"
        yield Term(one.prompt, one.step, key, one.effective, 1)


def _surprises(sample: Sample) -> list[tuple[int, int, float]] | None:
    """Start, end and surprise of the reasoning's tokens; None where they are not known or the rollout is greedy."""
    if sample.row["temperature"] == 0 or sample.tokens is None:
        return None
    start, end = sample.reasoning
    known = [token for token in sample.tokens if start < token.end <= end]
    if any(token.logprob is None or not math.isfinite(token.logprob) for token in known):
        return None
    return [(token.start, token.end, -(token.logprob or 0.0)) for token in known]


MEASURE: Final = Measure("surprise", "arXiv 2601.00514", _FIGURES, count)
