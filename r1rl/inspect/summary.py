"""The figures of a run: the last probe of the held-out prompts against the first, with paired intervals.

Every comparison is the policy at the last probed step against the policy at the first (before its first update),
on the same prompts, n and temperature. Intervals are 95 % of a bootstrap that draws prompts, with the same draw on
both sides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from r1rl.aha.detect import transitions
from r1rl.aha.figures.statistics import Comparison, RatioSample, compare
from r1rl.aha.validate import validation
from r1rl.inspect.run_data import ProbeRollout, RunData, load
from r1rl.verify.verdict import OUTCOMES, outcome

_OUTCOME_COLUMNS = ("verdict", "verdict_reason", "finish_reason")

FREE_TEXT = "smollm2"
"""The corpus of `aha.validation` whose rollouts are free text."""

TRAIN_ACCURACY = "train_accuracy"
"""Key of the accuracy in the summary of a run without held-out prompts, and only there."""

Measure = Callable[[ProbeRollout], tuple[float, float]]
"""A rollout's share of a ratio: (numerator, denominator)."""


@dataclass(frozen=True)
class Figure:
    """One figure of the summary.

    Args:
        key: its name in the summary.
        label: its name for readers.
        definition: what is divided by what.
        measure: a rollout's numerator and denominator.
        greedy: taken from the greedy rollouts instead of the sampled ones.
        unit: `share`, `tokens` or `per 1,000 tokens`.
        detector: what finds what is counted, a name of `aha.validation`; None where nothing is detected.
    """

    key: str
    label: str
    definition: str
    measure: Measure
    greedy: bool = False
    unit: str = "share"
    detector: str | None = None


def _accuracy(r: ProbeRollout) -> tuple[float, float]:
    return (float(r.correct and r.judged), float(r.judged))


def _length(r: ProbeRollout) -> tuple[float, float]:
    tokens = r.row["n_tokens"]  # an imported rollout may not say
    return (0.0, 0.0) if tokens is None else (float(tokens), 1.0)


def _reflection(key: str, label: str, definition: str, detector: str, unit: str = "share") -> Figure:
    ratio = transitions.FIGURES[key]
    return Figure(key, label, definition, lambda r: ratio(r.reflection), unit=unit, detector=detector)


FIGURES = (
    Figure(
        "heldout_accuracy_greedy", "held-out accuracy, greedy",
        "share of the held-out prompts answered correctly at temperature 0", _accuracy, greedy=True,
    ),
    Figure(
        "heldout_accuracy_sampled", "held-out accuracy, sampled",
        "share of the sampled held-out rollouts answered correctly", _accuracy,
    ),
    Figure(
        "mean_length", "completion length", "tokens per sampled held-out rollout, cut ones included", _length,
        unit="tokens",
    ),
    _reflection(
        "marker_rate", "rollouts with a marker",
        "share of held-out rollouts with at least one marker of the strict lexicon in their reasoning",
        "markers: strict",
    ),
    _reflection(
        "marker_per_1k_tokens", "markers per 1,000 tokens",
        "markers of the strict lexicon in the reasoning per 1,000 tokens of completion",
        "markers: strict",
        unit="per 1,000 tokens",
    ),
    _reflection(
        "first_attempt_accuracy", "first attempt right",
        "of the held-out rollouts with an attempt, the share whose first one is right",
        "attempts",
    ),
    _reflection(
        "retry_after_miss", "retry after a miss",
        "of the held-out rollouts whose first attempt is wrong, the share with another attempt",
        "attempts",
    ),
    _reflection(
        "wrong_to_right", "wrong → right",
        "share of all held-out rollouts in which a wrong attempt is directly followed by a right one",
        "transitions",
    ),
    _reflection(
        "right_to_wrong", "right → wrong",
        "share of all held-out rollouts in which a right attempt is directly followed by a wrong one",
        "transitions",
    ),
)  # fmt: skip


def figures(data: RunData) -> tuple[Figure, ...]:
    """The figures that the run can have: FIGURES, or without held-out prompts the same of training rollouts."""
    if not data.training_only:
        return FIGURES
    return tuple(
        replace(
            figure,
            key=TRAIN_ACCURACY if figure.key == "heldout_accuracy_sampled" else figure.key,
            label=figure.label.replace("held-out accuracy, sampled", "accuracy of training rollouts"),
            definition=figure.definition.replace("held-out", "training"),
        )
        for figure in FIGURES
        if not figure.greedy
    )


DETECTORS = tuple(dict.fromkeys(figure.detector for figure in FIGURES if figure.detector is not None))
"""What the figures rest on."""


def reach(data: RunData, detector: str) -> list[tuple[str, str]]:
    """Precision and recall of a detector on hand-labelled rollouts: where they were measured, and the figures.

    On free text, which detectors find harder than Countdown's arithmetic, also on the labelled free text alone.
    """
    found = [("on hand-labelled rollouts", validation.figure(detector))]
    if data.last_probe[0].verifier != "countdown":
        found.append(("of these, on free text", validation.figure(detector, FREE_TEXT)))
    return found


@dataclass(frozen=True)
class Point:
    """A figure at one step with its 95 % interval; None where the ratio has nothing to divide by."""

    step: int
    value: float | None
    low: float | None
    high: float | None


def summarise(run: Path | str | RunData) -> dict[str, Any]:
    """One JSON-ready object with stable keys: facts of the run, and first and last of every figure.

    `steps` counts updates made, `rollouts` the training rollouts stored, `reward` the mean reward of the first
    and the last stored training step. A figure is {first, last, diff, ci_low, ci_high}; null is "cannot be computed".
    Without held-out prompts the figures are those of training rollouts (accuracy: `train_accuracy`), without interval,
    as each step has prompts of its own. `outcomes` has the shares of sampled rollouts by why they were right or not,
    `detectors` the hits, misses, precision and recall of what the figures rest on, on hand-labelled rollouts; null is
    "not measured".

    Raises:
        ValueError: as `run_data.load`.
    """
    data = run if isinstance(run, RunData) else load(run)
    prompts = {r.prompt_id for r in data.last_probe}
    summary: dict[str, Any] = {
        "run": data.name,
        "task": str(data.last_probe[0].row["task"]),
        "model": data.recipe.get("model_name_or_path"),
        "seed": data.recipe.get("seed"),
        "steps": _updates(data),
        "rollouts": len(data.train["step"]),
        "wall_seconds": _wall_seconds(data),
        "first_step": data.steps[0],
        "last_step": data.steps[-1],
        "heldout_prompts": 0 if data.training_only else len(prompts),
        "reward": _reward(data),
    }
    summary |= {figure.key: dict.fromkeys(("first", "last", "diff", "ci_low", "ci_high")) for figure in FIGURES}
    for figure in figures(data):
        summary[figure.key] = _compare(data, figure)
    ends = {"first": data.steps[0], "last": data.steps[-1]}
    summary["outcomes"] = {end: _outcomes(data.probes.get(step, [])) for end, step in ends.items()}
    summary["detectors"] = {detector: validation.shipped_score(detector) for detector in DETECTORS}
    return summary


def series(data: RunData, figure: Figure) -> list[Point]:
    """The figure at every probed step, with the interval of its level (not of its difference)."""
    points = []
    for step, rollouts in (data.evals if figure.greedy else data.probes).items():
        level = _level(rollouts, figure)
        points.append(Point(step, level["last"], level["ci_low"], level["ci_high"]))
    return points


def _level(rollouts: list[ProbeRollout], figure: Figure) -> dict[str, float | None]:
    sample = _sample(rollouts, figure)
    # Against a numerator of zero the paired difference is the level itself.
    zero = {prompt: (0.0, denominator) for prompt, (_, denominator) in sample.items()}
    return _json(compare(zero, sample))


def _sample(rollouts: list[ProbeRollout], figure: Figure) -> RatioSample:
    sums: dict[str, tuple[float, float]] = {}
    for rollout in rollouts:
        numerator, denominator = sums.get(rollout.prompt_id, (0.0, 0.0))
        more, of = figure.measure(rollout)
        sums[rollout.prompt_id] = (numerator + more, denominator + of)
    return sums


def _compare(data: RunData, figure: Figure) -> dict[str, float | None]:
    source = data.evals if figure.greedy else data.probes
    if not source:
        return dict.fromkeys(("first", "last", "diff", "ci_low", "ci_high"))
    if data.training_only:
        start, end = (_level(source[step], figure)["last"] for step in (data.steps[0], data.steps[-1]))
        change = None if start is None or end is None else end - start
        return {"first": start, "last": end, "diff": change, "ci_low": None, "ci_high": None}
    first, last = (_sample(source[step], figure) for step in (data.steps[0], data.steps[-1]))
    return _json(compare(first, last))


def _json(comparison: Comparison) -> dict[str, float | None]:
    return {
        key: float(value) if value is not None and math.isfinite(value) else None
        for key, value in asdict(comparison).items()
    }


def _updates(data: RunData) -> int:
    if isinstance(data.result.get("steps"), int):
        return int(data.result["steps"])
    # A run that was killed left no result: a step is logged once its update is made.
    return max([int(line["step"]) for line in data.metrics] + data.steps[-1:])


def _wall_seconds(data: RunData) -> float | None:
    if isinstance(data.result.get("wall_seconds"), int | float):
        return float(data.result["wall_seconds"])
    times = [t for t in data.train["wall_time"] if t is not None]
    return max(times) - min(times) if times else None


def _outcomes(rollouts: list[ProbeRollout]) -> dict[str, float]:
    """The share of sampled held-out rollouts by `verdict.OUTCOMES`: why they were right or not."""
    rollouts = [r for r in rollouts if r.row["verdict"] is not None]
    counted = Counter(outcome(*(str(r.row[key] or "") for key in _OUTCOME_COLUMNS)) for r in rollouts)
    return {name: counted[name] / len(rollouts) for name in OUTCOMES} if rollouts else {}


def _reward(data: RunData) -> dict[str, float | None]:
    """Mean reward of the first and the last training step; rollouts that could not be judged are left out."""
    if not data.train["step"]:
        return {"first": None, "last": None}
    ends = {}
    for end, step in (("first", min(data.train["step"])), ("last", max(data.train["step"]))):
        pairs = zip(data.train["step"], data.train["reward"], strict=True)
        rewards = [reward for at, reward in pairs if at == step and reward is not None]
        ends[end] = sum(rewards) / len(rewards) if rewards else None
    return ends
