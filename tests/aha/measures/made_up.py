"""Samples of rollouts made up for a measure, annotated by the real detectors."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from r1rl.aha.detect.annotation import annotate
from r1rl.aha.measures.samples import Measure, Sample
from r1rl.store.tokens import Token
from tests.aha.annotated_runs import rollout

MISS = "6 + 1 = 7 , 17 - 7 = 10"
HIT = "6 - 1 = 5 , 17 - 5 = 12"


def sample(reasoning: str, answer: str = "17 - 6 + 1", *, correct: bool | None = True, **changes: Any) -> Sample:
    """A rollout of "Use 1, 6, 17 to make 12" without known tokens."""
    verdict = None if correct is None else "correct" if correct else "wrong"
    row = rollout(
        "p", 0, completion=f"<think> {reasoning} </think> <answer> {answer} </answer>", gold="12", verdict=verdict,
        meta=json.dumps({"numbers": [1, 6, 17]}), verifier="countdown",
    ) | changes  # fmt: skip
    found = Sample(row, annotate(row))
    found.__dict__["tokens"] = None
    return found


def with_tokens(found: Sample, surprises: Sequence[float]) -> Sample:
    """The same with its words as tokens, whose surprises these are, the last one for all that are left."""
    text = found.row["completion"]
    found = replace(found, in_tokens=True)
    tokens, at = [], 0
    for i, word in enumerate(text.split(" ")):
        end = at + len(word)
        tokens.append(Token(max(0, at - 1), end, -surprises[min(i, len(surprises) - 1)]))
        at = end + 1
    found.__dict__["tokens"] = tokens
    return found


def sums(measure: Measure, *steps: Sequence[Sample]) -> dict[str, list[tuple[float, float]]]:
    """Figure -> its two sums at each step, for one prompt with these samples."""
    found: dict[str, list[list[float]]] = defaultdict(lambda: [[0, 0] for _ in steps])
    for term in measure.count({"p": list(steps)}):
        found[term.key][term.step][0] += term.above
        found[term.key][term.step][1] += term.below
    return {key: [(above, below) for above, below in pairs] for key, pairs in found.items()}
