"""Reflections that check what stands against reflections that try another way, and what either leads to.

The claim: of all reflective steps 40 to 58 % only recheck a result, and 85 to 95 % of the rechecks confirm it. Source:
Long et al., Self-Verification Dilemma, arXiv 2602.03485. There a step of the reasoning is a reflection by the judgement
of a language model, `recheck` where it verifies a result and `rethink` where it revises the approach; a recheck is
corrective where it finds and mends an error, and else confirmatory.

Ours departs: no judge is asked. A recheck is a goal test ("target 22 got 21 no", "that's correct") or a strict marker
of the kind `verify` ("let me check"); a rethink is a strict marker of the kind `retry` ("try again", "another way").
Interruptions and admissions ("wait", "that's wrong", "I made a mistake") say neither and are counted as `other`. Of a
marker inside a goal test only the test counts. What a reflection leads to is told by the attempts around it, in the
words of `aha.detect.markers.labelled`: effective (wrong, then right), harmful (right, then wrong), confirmatory (right
again, or the same wrong value again), idle (another wrong value, or no attempt on one side). So a check that rightly
says "no" is idle where the next attempt misses as well: whether checks are true, `verify_precision` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast, get_args

from r1rl.aha.detect.markers import Label, labelled
from r1rl.aha.figures.figures import Figure, Unit
from r1rl.aha.measures.samples import Measure, Prompts, Sample, Span, Term, every

_SECTION: Final = "recheck or rethink"
_CLASS_OF: Final = {"verify": "recheck", "retry": "rethink"}  # kind of a marker -> class
_LABELS: Final[Sequence[str]] = get_args(Label)


def _figure(key: str, label: str, above: str, below: str, unit: Unit = "share") -> Figure:
    return Figure(key, label, above, below, f"{above} / {below}", unit, "markers: strict", section=_SECTION)


_FIGURES: Final = (
    _figure("rechecks", "rechecks per rollout", "rechecks", "rollouts", "count"),
    _figure("rethinks", "rethinks per rollout", "rethinks", "rollouts", "count"),
    _figure("recheck_share", "rechecks among reflections", "rechecks", "rechecks, rethinks and others"),
    *(
        _figure(f"{name}_{label}", f"{name}s: {label}", f"{label} {name}s", f"{name}s")
        for name in ("recheck", "rethink")
        for label in _LABELS
    ),
)


def count(prompts: Prompts) -> Iterator[Term]:
    """The terms of every figure; a rollout without a reflection counts as a rollout."""
    for prompt, step, sample in every(prompts):
        found = reflections(sample)
        classes = [name for name, _ in found]
        checks = classes.count("recheck")
        yield Term(prompt, step, "rechecks", checks, 1)
        yield Term(prompt, step, "rethinks", classes.count("rethink"), 1)
        yield Term(prompt, step, "recheck_share", checks, len(found))
        if sample.attempts is None:  # then it is not known what a reflection leads to
            continue
        for name in ("recheck", "rethink"):
            for label in _LABELS:
                yield Term(prompt, step, f"{name}_{label}", found.count((name, label)), classes.count(name))


def reflections(sample: Sample) -> list[tuple[str, str]]:
    """Class (`recheck`, `rethink`, `other`) and label of every reflection of the reasoning, in order."""
    tests = sample.goal_tests
    loose = [
        marker
        for marker in sample.markers
        if not any(test.start < marker.end and marker.start < test.end for test in tests)
    ]
    spans: list[tuple[Span, str]] = [(test, "recheck") for test in tests]
    spans += [(marker, _CLASS_OF.get(marker.kind, "other")) for marker in loose]
    spans.sort(key=lambda pair: pair[0].start)
    labels = labelled(cast(Any, [span for span, _ in spans]), cast(Any, sample.attempts or ()))
    return [(name, label) for (_, name), label in zip(spans, labels, strict=True)]


MEASURE: Final = Measure("recheck", "arXiv 2602.03485", _FIGURES, count)
