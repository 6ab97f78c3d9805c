"""The figures of a run, or of several runs of one recipe, against step 0: intervals, adjusted p-values, onsets.

All of it rests on held-out evaluations: the same prompts, samples and temperature at every evaluated step. Rollouts of
training steps see other prompts at each, so a change there may be the prompts'; they get values and no comparison.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.figures import bootstrap, gate, onset
from r1rl.aha.figures.bootstrap import Array, Estimate
from r1rl.aha.figures.figures import MAIN, Counts, Figure, Selection, by_step, chosen, counts
from r1rl.aha.figures.figures import kinds as kinds_of
from r1rl.aha.figures.onset import Onset

TRAINING_INTERVALS: Final = 12
"""So many training steps at most get intervals: the first, the last and evenly many between."""

_FOR_INTERVALS: Final = 2_000
_ALPHA: Final = 0.05
_NOTHING: Final = Estimate(None)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Args:
        series: its value at each step of the result; without interval where none is known.
        change: last minus first.
        p: Holm's, adjusted for all figures of the table.
        onsets: one entry a run, None for "no onset".
        clean_first, clean_last, clean_change: the same without unclean rollouts.
        text_kind: the commonest kind of text among the rollouts, on which its detector was measured.
    """

    figure: Figure
    series: tuple[Estimate, ...]
    change: Estimate = _NOTHING
    p: float | None = None
    onsets: tuple[Onset | None, ...] = ()
    clean_first: Estimate = _NOTHING
    clean_last: Estimate = _NOTHING
    clean_change: Estimate = _NOTHING
    text_kind: str = ""

    @property
    def first(self) -> Estimate:
        """At the first step."""
        return self.series[0]

    @property
    def last(self) -> Estimate:
        """At the last step."""
        return self.series[-1]

    @property
    def rose(self) -> bool:
        """Whether it is up on step 0, after the correction for the number of figures."""
        return self.change.above_zero and self.p is not None and self.p < _ALPHA

    @property
    def fell(self) -> bool:
        """Whether it is down on step 0, after the correction."""
        return self.change.below_zero and self.p is not None and self.p < _ALPHA

    @property
    def onset(self) -> Onset | None:
        """The earliest onset, where more than half of the runs have one."""
        found = [one for one in self.onsets if one is not None]
        return min(found, key=lambda one: one.step) if 2 * len(found) > len(self.onsets) else None


@dataclass(frozen=True)
class Result:
    """The figures of one run, or of several put together (`runs` names them).

    `hidden`: sentences on figures that are not shown (`gate.measured`); they have rows without values.
    """

    runs: tuple[str, ...]
    selection: Selection
    steps: tuple[int, ...]
    prompts: int
    rollouts: int  # at each step, over all runs
    rows: Mapping[str, Row]
    left_out: tuple[int, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether there is anything to compare with step 0."""
        return self.selection.compared and len(self.steps) > 1


@dataclass(frozen=True)
class _Run:
    """What was counted in one run.

    `tidy` counts the main figures without unclean rollouts, at `counts.steps`. `values` are the figures at every
    training step: only at some of them, `counts.steps`, are prompts counted apart and drawn. Empty for other rollouts.
    """

    name: str
    counts: Counts
    tidy: Counts
    values: Mapping[int, Mapping[str, float]]


def measure(
    runs: Sequence[Path | str],
    selection: Selection | None = None,
    *,
    figures: Sequence[Figure] | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> list[Result]:
    """The figures of each run, and after them, for two or more, of all together. Annotations must be there.

    `resamples` is bootstrap.RESAMPLES where steps are compared, and fewer where there are intervals alone.
    Several runs are taken as runs of one recipe over seeds: the mean over them, with an interval for new seeds and
    new prompts (`bootstrap.over_seeds`). Only steps that all of them have are put together.
    Raises ValueError where a run has no such rollouts, or the runs have no step in common.
    """
    selection = selection or Selection()
    every = chosen() if figures is None else figures
    kinds = all_kinds(runs, selection)
    wanted, hidden = gate.measured(every, kinds)
    found = [_counted(name, run, selection, wanted) for name, run in zip(run_names(runs), runs, strict=True)]
    results = _results(found, selection, wanted, resamples, seed)
    return [_gated(result, every, hidden, gate.main_kind(kinds)) for result in results]


def all_kinds(runs: Sequence[Path | str], selection: Selection) -> Counter[str]:
    """How many rollouts of the runs are of each kind of text."""
    kinds: Counter[str] = Counter()
    for run in runs:
        kinds.update(kinds_of(run, selection))
    return kinds


def of_counts(
    names: Sequence[str],
    every: Sequence[Counts],
    selection: Selection,
    figures: Sequence[Figure],
    *,
    kinds: Mapping[str, int],
    resamples: int | None = None,
    seed: int = 0,
) -> list[Result]:
    """`measure` for runs whose sums were counted otherwise than from annotations alone, of these kinds of text."""
    wanted, hidden = gate.measured(figures, kinds)
    found = [_Run(name, one, Counts([], [], 0, {}, []), {}) for name, one in zip(names, every, strict=True)]
    results = _results(found, selection, wanted, resamples, seed)
    return [_gated(result, figures, hidden, gate.main_kind(kinds)) for result in results]


def _results(
    found: Sequence[_Run], selection: Selection, wanted: Sequence[Figure], resamples: int | None, seed: int
) -> list[Result]:
    resamples = resamples or (bootstrap.RESAMPLES if selection.compared else _FOR_INTERVALS)
    prompts = sorted({prompt for run in found for prompt in run.counts.prompts})
    drawn = bootstrap.draws(len(prompts), resamples, seed)
    results = [_of_run(run, selection, wanted, pick(drawn, prompts, run.counts)) for run in found]
    if len(found) > 1:
        results.append(_together(found, selection, wanted, prompts, drawn, results))
    return results


def _gated(result: Result, every: Sequence[Figure], hidden: Sequence[str], kind: str) -> Result:
    """A row for every figure, those that are not shown without values, and each with its kind of text."""
    empty = (_NOTHING,) * len(result.steps)
    rows = {f.key: result.rows.get(f.key) or Row(f, empty, onsets=(None,) * len(result.runs)) for f in every}
    rows = {key: replace(row, text_kind=kind) for key, row in rows.items()}
    return replace(result, rows=rows, hidden=tuple(hidden))


def _counted(name: str, run: Path | str, selection: Selection, wanted: Sequence[Figure]) -> _Run:
    values: Mapping[int, Mapping[str, float]] = {}
    steps: Collection[int] | None = None
    if not selection.compared:
        values = by_step(run, selection, wanted)
        every = list(values)
        few = min(TRAINING_INTERVALS, len(every))
        steps = {every[i * (len(every) - 1) // max(1, few - 1)] for i in range(few)}
    main = [figure for figure in wanted if figure.key in MAIN]
    tidy = counts(run, replace(selection, clean_only=True), main, steps=steps)
    return _Run(name, counts(run, selection, wanted, steps=steps), tidy, values)


def pick(drawn: np.ndarray[Any, np.dtype[np.uint16]], prompts: list[str], one: Counts) -> Any:
    """The run's own columns of the draws over all `prompts`."""
    if len(one.prompts) == len(prompts):
        return drawn
    at = {prompt: i for i, prompt in enumerate(prompts)}
    return drawn[:, [at[prompt] for prompt in one.prompts]]


def _of_run(run: _Run, selection: Selection, wanted: Sequence[Figure], drawn: Any) -> Result:
    one = run.counts
    compared = selection.compared and len(one.steps) > 1
    values = {figure.key: bootstrap.values(one.sums[figure.key]) for figure in wanted}
    draws = {figure.key: bootstrap.ratios(one.sums[figure.key], drawn) for figure in wanted}
    adjusted = bootstrap.holm(
        {
            key: bootstrap.p_value(draws[key][:, -1] - draws[key][:, 0])
            if compared and math.isfinite(values[key][-1] - values[key][0])
            else None
            for key in values
        }
    )
    # Corrected for the number of series that are looked at, as the p-values are.
    alpha = _ALPHA / max(1, sum(p is not None for p in adjusted.values()))
    steps = tuple(run.values) or tuple(one.steps)
    rows = {}
    for figure in wanted:
        key = figure.key
        known = {step: bootstrap.estimate(values[key][i], draws[key][:, i]) for i, step in enumerate(one.steps)}
        rows[key] = Row(
            figure,
            tuple(known.get(step) or Estimate(run.values[step].get(key)) for step in steps),
            _change(values[key], draws[key]) if compared else _NOTHING,
            adjusted[key],
            (onset.find(one.steps, values[key], draws[key], alpha=alpha) if compared else None,),
            *_clean(run.tidy, key, drawn, compared),
        )
    return Result((run.name,), selection, steps, len(one.prompts), one.rollouts, rows, tuple(one.left_out))


def _change(values: Array, draws: Array) -> Estimate:
    """The last value minus the first, with its interval; both steps of a draw have the same prompts."""
    return bootstrap.estimate(values[-1] - values[0], draws[:, -1] - draws[:, 0])


def _clean(tidy: Counts, key: str, drawn: Any, compared: bool) -> tuple[Estimate, Estimate, Estimate]:
    if key not in tidy.sums:
        return _NOTHING, _NOTHING, _NOTHING
    ends = tidy.sums[key][:, [0, -1]]
    values, draws = bootstrap.values(ends), bootstrap.ratios(ends, drawn)
    first, last = (bootstrap.estimate(values[i], draws[:, i]) for i in (0, 1))
    return first, last, _change(values, draws) if compared else _NOTHING


def _together(
    found: Sequence[_Run],
    selection: Selection,
    wanted: Sequence[Figure],
    prompts: list[str],
    drawn: Any,
    results: Sequence[Result],
) -> Result:
    steps = sorted(set.intersection(*(set(run.counts.steps) for run in found)))
    if not steps:
        names = ", ".join(run.name for run in found)
        raise ValueError(f"runs={names}: no evaluated step in common, so they cannot be put together")
    compared = selection.compared and len(steps) > 1
    rows: dict[str, Row] = {}
    for figure in wanted:
        key = figure.key
        series, change, p = _over_seeds(key, [run.counts for run in found], steps, prompts, drawn)
        row = Row(figure, series, onsets=tuple(result.rows[key].onsets[0] for result in results))
        if key in found[0].tidy.sums:
            ends = [steps[0], steps[-1]]
            clean, clean_change, _ = _over_seeds(key, [run.tidy for run in found], ends, prompts, drawn)
            row = replace(row, clean_first=clean[0], clean_last=clean[1])
            row = replace(row, clean_change=clean_change) if compared else row
        rows[key] = replace(row, change=change, p=p) if compared else row
    for key, adjusted in bootstrap.holm({key: row.p for key, row in rows.items()}).items():
        rows[key] = replace(rows[key], p=adjusted)
    rollouts = sum(run.counts.rollouts for run in found)
    return Result(tuple(run.name for run in found), selection, tuple(steps), len(prompts), rollouts, rows)


def _over_seeds(
    key: str, every: Sequence[Counts], steps: Sequence[int], prompts: list[str], drawn: Any
) -> tuple[tuple[Estimate, ...], Estimate, float | None]:
    """The mean over the runs at each step, its change from the first to the last one, and the change's p."""
    sums = [one.sums[key][:, [one.steps.index(step) for step in steps]] for one in every]
    values = np.array([bootstrap.values(one) for one in sums])
    mean = np.mean([bootstrap.ratios(s, pick(drawn, prompts, one)) for s, one in zip(sums, every, strict=True)], axis=0)
    series = tuple(bootstrap.over_seeds(values[:, i].tolist(), mean[:, i])[0] for i in range(len(steps)))
    change, p = bootstrap.over_seeds((values[:, -1] - values[:, 0]).tolist(), mean[:, -1] - mean[:, 0])
    return series, change, p


def run_names(runs: Sequence[Path | str]) -> list[str]:
    """The folders' names; with the folder above where two are alike. Raises ValueError for one given twice."""
    paths = [Path(run).resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise ValueError("runs: one is given twice; give each once")
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else "/".join(path.parts[-2:]) for name, path in zip(names, paths, strict=True)
    ]
