"""Steps and attempts of a Countdown text alone, without a rollout row around it."""

from __future__ import annotations

from typing import Any

from r1rl.aha.detect import countdown_trace
from r1rl.aha.detect.attempts import Attempt, countdown_problem, from_steps
from r1rl.aha.detect.countdown_sources import Step
from r1rl.aha.detect.equations import Value
from r1rl.aha.detect.markers import fold
from r1rl.aha.detect.reasoning import reasoning_spans


def trace(completion: str, numbers: list[int], target: Value, *, prefill: str = "") -> list[Step]:
    of_reasoning = countdown_trace.pieces(completion, reasoning_spans(completion, prefill))
    return countdown_trace.trace(fold(completion), numbers, target, of_reasoning)


def find_attempts(completion: str, *, gold: str, meta: dict[str, Any], prefill: str = "") -> list[Attempt]:
    problem = countdown_problem(gold, meta)
    if problem is None:
        return []
    numbers, target = problem
    return from_steps(completion, trace(completion, numbers, target, prefill=prefill), target)
