"""Two runs side by side: what their recipes differ in, and where they ended, on the same held-out problems.

The difference of held-out accuracy is paired: both runs are drawn anew with the same problems (the cluster bootstrap
of `r1rl.aha.figures.bootstrap`, percentile interval of 95 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import LEAST_PROMPTS, RESAMPLES
from r1rl.inspect.run_data import RunData, flat, hidden, load
from r1rl.inspect.summary import summarise

NO_SETTING: Final = frozenset({"name", "runs_dir", "output_dir", "logging_dir", "run_name", "resume"})


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        names: of the two runs.
        recipes: the keys whose values differ, with both values.
        figures: label, unit and both values, of each run's last evaluation.
        problems: held-out problems that both runs were evaluated on.
        difference: of held-out accuracy on these, the second run less the first, with its interval; None for fewer
            than `LEAST_PROMPTS` problems.
    """

    names: tuple[str, str]
    recipes: dict[str, tuple[Any, Any]]
    figures: list[tuple[str, str, float | None, float | None]]
    problems: int
    difference: tuple[float, float, float] | None


def compare(first: Path, second: Path) -> Comparison:
    """Compare two run folders.

    Raises:
        ValueError: one of them is no run, or has no complete evaluation yet.
    """
    runs = [load(run) for run in (first, second)]
    summaries = [summarise(run) for run in runs]
    recipes = [{key: value for key, value in flat(run.recipe) if not hidden(key, value)} for run in runs]
    keys = dict.fromkeys([*recipes[0], *recipes[1]])
    changed = {
        key: (recipes[0].get(key), recipes[1].get(key))
        for key in keys
        if key.partition(".")[0] not in NO_SETTING and recipes[0].get(key) != recipes[1].get(key)
    }
    found = [
        ("updates", "", *(summary["steps"] for summary in summaries)),
        ("reward, last step", "", *(summary["reward"]["last"] for summary in summaries)),
    ]
    for key, figure in summaries[0]["figures"].items():
        other = summaries[1]["figures"].get(key)
        values = (figure["last"]["value"], None if other is None else other["last"]["value"])
        if values != (None, None):
            found.append((figure["label"], figure["unit"], *values))
    accuracies = [_accuracies(run) for run in runs]
    shared = sorted(accuracies[0].keys() & accuracies[1].keys())
    pairs = np.array([[run[name] for run in accuracies] for name in shared], dtype=float).reshape(-1, 2)
    names = (summaries[0]["run"], summaries[1]["run"])
    return Comparison(names, changed, found, len(shared), _difference(pairs))


def _accuracies(run: RunData) -> dict[str, float]:
    """The share of right answers to each held-out problem, sampled, at the last evaluation."""
    right: dict[str, list[bool]] = {}
    if run.training_only or run.measured.selection.greedy:
        return {}
    for rollout in run.last_rollouts:
        if rollout.row["verdict"] is not None:
            right.setdefault(rollout.prompt_id, []).append(rollout.row["verdict"] == "correct")
    return {prompt: sum(found) / len(found) for prompt, found in right.items()}


def _difference(pairs: Any, seed: int = 0) -> tuple[float, float, float] | None:
    """The mean of the second column less the first, (problems, 2), with the interval of problems drawn anew."""
    if len(pairs) < LEAST_PROMPTS:
        return None
    counts = np.stack([pairs[:, 1] - pairs[:, 0], np.ones(len(pairs))], axis=1)[:, None]
    drawn = bootstrap.ratios(counts, bootstrap.draws(len(pairs), RESAMPLES, seed))
    found = bootstrap.estimate(float(bootstrap.values(counts)[0]), drawn[:, 0])
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return found.value, found.low, found.high


def show(found: Comparison, console: Console) -> None:
    """Print a comparison."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for title in ("", *found.names):
        table.add_column(title, justify="right" if title else "left")
    for key, settings in found.recipes.items():
        table.add_row(key, *("-" if value is None else str(value) for value in settings), style="cyan")
    for label, unit, *values in found.figures:
        table.add_row(label, *(_told(value, unit) for value in values))
    console.print(table)
    if found.difference is None:
        console.print(f"held-out accuracy is not compared: {found.problems} problems in common, {LEAST_PROMPTS} needed")
        return
    mean, low, high = (100 * value for value in found.difference)
    told = "no difference can be told" if low <= 0 <= high else f"{found.names[mean > 0]} is better"
    console.print(
        f"held-out accuracy, sampled, on the {found.problems} problems of both: {mean:+.1f} points "
        f"({low:+.1f} to {high:+.1f}): {told}"
    )


def _told(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit in ("share", "gap"):
        return f"{value:.1%}"
    return f"{value:.4g}"
