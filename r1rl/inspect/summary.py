"""What the summary of a run shows: facts, figures as `r1rl aha` measures them, reward and outcomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from r1rl.aha.detect.text_kind import COUNTDOWN
from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.conclusion import change, conclude, number, onset_words, percent
from r1rl.aha.figures.figures import FIGURES, Figure
from r1rl.aha.figures.suite import Row
from r1rl.aha.figures.terminal import UNVALIDATED, detector_scores, figures_json, p_words
from r1rl.aha.validate import validation
from r1rl.inspect.run_data import Rollout, RunData, load, numbers
from r1rl.verify.verdict import OUTCOMES

SHOWN: Final = ("accuracy", "tokens", "retried", "retry_after_miss", "first_accuracy", "wrong_to_right",
                "right_to_wrong", "retry_lift", "marker_strict_rate", "marker_strict_per_1k")  # fmt: skip
"""The figures of the summary; `r1rl aha` has more."""

DETECTORS: Final = tuple(dict.fromkeys(found for key in SHOWN if (found := FIGURES[key].detector) is not None))
"""What the figures rest on."""

CUT_FROM: Final = 0.05
"""From this share of rollouts cut at the length cap on, a run's readers are told."""

_REWARD: Final = Figure(
    "reward",
    "reward, training steps",
    numerator="reward",
    denominator="(reward IS NOT NULL)::INT",
    definition="mean reward of all rollouts of the first and of the last training step",
    unit="reward",
    section="task",
)


def figures(data: RunData) -> list[Row]:
    """The figures of the summary, that of the greedy rollouts before that of the sampled ones."""
    greedy = []
    if data.greedy is not None:
        row = data.greedy.rows["accuracy"]
        greedy.append(replace(row, figure=replace(row.figure, key="accuracy_greedy", label="right answers, greedy")))
    return [*greedy, *(data.measured.rows[key] for key in SHOWN)]


def table_rows(data: RunData) -> list[Row]:
    """The figures for readers; where steps are compared, the reward of training's first and last before them."""
    if not data.compared:
        return figures(data)
    first, last = _reward(data).values()
    moved = None if first is None or last is None else last - first
    return [Row(_REWARD, (Estimate(first), Estimate(last)), Estimate(moved)), *figures(data)]


def short_reach(detector: str | None, text_kind: str = "") -> str:
    """Precision and recall of a detector on hand-labelled text of a kind as a cell of a table: "0.97 / 0.91"."""
    return "" if detector is None else detector_scores(text_kind).get(detector, UNVALIDATED)


def cells(row: Row) -> dict[str, Any]:
    """A figure as the cells of a page's table, in words."""
    unit = row.figure.unit
    return {
        "key": row.figure.key,
        "label": row.figure.label,
        "definition": row.figure.definition,
        "first": number(row.first.value, unit),
        "last": number(row.last.value, unit),
        "change": change(row.change, unit),
        "way": "rose" if row.rose else "fell" if row.fell else "",
        "p": p_words(row),
        "onset": onset_words(row.onsets) if row.onset else "",
        "detector": row.figure.detector or "",
        "reach": short_reach(row.figure.detector, row.text_kind),
    }


def reach(data: RunData, detector: str) -> list[tuple[str, str]]:
    """Precision and recall of a detector on hand-labelled text: where they were measured, and the figures.

    On all labelled rollouts of this project, and on text of the run's own kind, as free text is harder to read than
    Countdown's arithmetic, and long free text harder than short.
    """
    found = [("on hand-labelled rollouts", validation.figure(detector))]
    kind = next(iter(data.measured.rows.values())).text_kind
    if kind != COUNTDOWN:
        corpus = validation.CORPUS_OF_KIND.get(kind, kind)
        found.append((f"on {kind or 'free text'}", validation.figure(detector, corpus)))
    return found


def summarise(run: Path | str | RunData) -> dict[str, Any]:
    """One JSON-ready object with stable keys: facts of the run, and its figures.

    `steps` counts updates made, `rollouts` the training rollouts stored, `reward` the mean reward of the first
    and the last stored training step. `figures` and `conclusion` are those of `r1rl aha`, of the rollouts that `kind`
    and `greedy` say; `accuracy_greedy` is the accuracy of the greedy ones. null is "cannot be computed".
    Without held-out prompts the figures are those of training rollouts, without change, as each step has prompts of
    its own. `warnings` are sentences on what a reader should know before the figures. `outcomes` has the shares
    of the measured rollouts by why they were right or not, `detectors` the hits,
    misses, precision and recall of what the figures rest on, on hand-labelled rollouts; null is "not measured".
    `not_measured` says which figures are null because their detector was not measured on the run's kind of text.

    Raises:
        ValueError: as `run_data.load`.
    """
    data = run if isinstance(run, RunData) else load(run)
    conclusion = conclude(data.measured)
    ends = {"first": data.steps[0], "last": data.steps[-1]}
    return {
        "run": data.name,
        "task": str(data.last_rollouts[0].row["task"]),
        "model": data.recipe.get("model_name_or_path"),
        "seed": data.recipe.get("seed"),
        "steps": _updates(data),
        "rollouts": sum(step["rollouts"] for step in data.train),
        "wall_seconds": _wall_seconds(data),
        "first_step": ends["first"],
        "last_step": ends["last"],
        "heldout_prompts": 0 if data.training_only else data.measured.prompts,
        "kind": data.measured.selection.kind,
        "greedy": data.measured.selection.greedy,
        "reward": _reward(data),
        "figures": figures_json(figures(data)),
        "emerged": conclusion.emerged,
        "conclusion": [conclusion.figures, *conclusion.words],
        "warnings": _cut(data),
        "outcomes": {end: _outcomes(data.rollouts[step]) for end, step in ends.items()},
        "detectors": {detector: validation.shipped_score(detector) for detector in DETECTORS},
        "not_measured": list(data.measured.hidden),
    }


def _updates(data: RunData) -> int:
    if isinstance(data.result.get("steps"), int):
        return int(data.result["steps"])
    # A run that was killed left no result: a step is logged once its update is made.
    return max(*(int(line["step"]) for line in data.metrics), data.steps[-1], 0)


def _wall_seconds(data: RunData) -> float | None:
    if isinstance(data.result.get("wall_seconds"), int | float):
        return float(data.result["wall_seconds"])
    ends = [(step["first_time"], step["last_time"]) for step in data.train if step["first_time"] is not None]
    return max(last for _, last in ends) - min(first for first, _ in ends) if ends else None


def _outcomes(rollouts: list[Rollout]) -> dict[str, float]:
    """The share of rollouts by `verdict.OUTCOMES`: why they were right or not."""
    counted = Counter(rollout.outcome for rollout in rollouts if rollout.outcome is not None)
    return {name: counted[name] / counted.total() for name in OUTCOMES} if counted else {}


def _cut(data: RunData) -> list[str]:
    """That many rollouts of the last measured or of the last training step ended at the length cap, or nothing."""
    row, kind = data.measured.rows["truncated"], "training" if data.training_only else "held-out"
    before = f" ({percent(row.first.value)} at step {data.steps[0]})" if data.compared else ""
    shares = [(row.last.value, f"{kind} rollouts at step {data.steps[-1]}{before}")]
    if not data.training_only:
        logged = numbers(line.get("completions/clipped_ratio") for line in data.metrics)
        trained = [(value, line["step"]) for value, line in zip(logged, data.metrics, strict=True) if value is not None]
        shares += [(value, f"training rollouts at step {step}") for value, step in trained[-1:]]
    if not any(share is not None and share >= CUT_FROM for share, _ in shares):
        return []
    cap = data.last_rollouts[0].row["cap"]
    told = " and ".join(f"{percent(share)} of {which}" for share, which in shares if share is not None)
    return [
        f"Cut at the length cap{'' if cap is None else f' of {cap:,} tokens'}: {told}. "
        "A rollout that is cut cannot answer any more; raise max_completion_length, or read its figures with care."
    ]


def _reward(data: RunData) -> dict[str, float | None]:
    """Mean reward of the first and the last training step; rollouts that could not be judged are left out."""
    if not data.train:
        return {"first": None, "last": None}
    return {"first": data.train[0]["reward"], "last": data.train[-1]["reward"]}


def duration(seconds: float) -> str:
    """`3725` -> `1 h 2 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
