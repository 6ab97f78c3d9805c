"""The figures of a run, or of several runs of one recipe, against step 0: intervals, adjusted p-values, onsets.

All of it rests on the probes: the same prompts, samples and temperature at every probed step. Rollouts of training
steps see other prompts at each, so a change there may be the prompts'; they get values and no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.figures import bootstrap, onset
from r1rl.aha.figures.bootstrap import Array, Estimate
from r1rl.aha.figures.figures import MAIN, Counts, Figure, chosen, counts
from r1rl.aha.figures.onset import Onset

_ALPHA: Final = 0.05
_NOTHING: Final = Estimate(None)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `p` is Holm's, adjusted for all figures of the table; `clean_…`: without unclean rollouts.

    `onsets` has one entry a run, None for "no onset".
    """

    figure: Figure
    first: Estimate
    last: Estimate
    change: Estimate
    p: float | None
    onsets: tuple[Onset | None, ...]
    series: tuple[float | None, ...]
    clean_first: Estimate = _NOTHING
    clean_last: Estimate = _NOTHING
    clean_change: Estimate = _NOTHING

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
    """The figures of one run, or of several put together (`runs` names them)."""

    runs: tuple[str, ...]
    kind: str
    steps: tuple[int, ...]
    prompts: int
    rollouts: int  # at each step, over all runs
    rows: Mapping[str, Row]
    left_out: tuple[int, ...] = ()
    clean_only: bool = False

    @property
    def compared(self) -> bool:
        """Whether there is anything to compare with step 0."""
        return self.kind != "train" and len(self.steps) > 1


@dataclass(frozen=True)
class _Resampled:
    """A figure of one run and its draws over all steps: values [steps], draws [resamples, steps]."""

    values: Array
    draws: Array

    @property
    def change(self) -> Array:
        return np.append(self.draws[:, -1] - self.draws[:, 0], self.values[-1] - self.values[0])


def measure(
    runs: Sequence[Path | str],
    *,
    kind: str = "probe",
    lexicon: str | None = None,
    clean_only: bool = False,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> list[Result]:
    """The figures of each run, and after them, for two or more, of all together. Annotations must be there.

    Several runs are taken as runs of one recipe over seeds: the mean over them, with an interval for new seeds and
    new prompts (`bootstrap.over_seeds`). Only steps that all of them have are put together.
    Raises ValueError where a run has no rollouts of `kind`, or the runs have no step in common.
    """
    wanted = chosen(lexicon)
    main = [figure for figure in wanted if figure.key in MAIN]
    names = run_names(runs)
    every = [counts(run, kind, wanted, clean_only=clean_only) for run in runs]
    tidy = every if clean_only else [counts(run, kind, main, clean_only=True) for run in runs]
    prompts = sorted({prompt for one in every for prompt in one.prompts})
    drawn = bootstrap.draws(len(prompts), resamples, seed)
    results = [
        _of_run(name, kind, one, without, wanted, _pick(drawn, prompts, one), clean_only)
        for name, one, without in zip(names, every, tidy, strict=True)
    ]
    if len(runs) > 1:
        results.append(_together(names, kind, every, tidy, wanted, prompts, drawn, results))
    return results


def _pick(drawn: np.ndarray[Any, np.dtype[np.uint16]], prompts: list[str], one: Counts) -> Any:
    """The run's own columns of the draws over all prompts."""
    if len(one.prompts) == len(prompts):
        return drawn
    at = {prompt: i for i, prompt in enumerate(prompts)}
    return drawn[:, [at[prompt] for prompt in one.prompts]]


def _of_run(
    name: str, kind: str, one: Counts, tidy: Counts, wanted: Sequence[Figure], drawn: Any, clean_only: bool
) -> Result:
    compared = kind != "train" and len(one.steps) > 1
    made: dict[str, _Resampled] = {}
    plain: dict[str, float | None] = {}
    for figure in wanted:
        sums = one.sums[figure.key]
        made[figure.key] = found = _Resampled(bootstrap.values(sums), bootstrap.ratios(sums, drawn))
        plain[figure.key] = bootstrap.p_value(found.change[:-1]) if compared and _finite(found.change[-1]) else None
    adjusted = bootstrap.holm(plain)
    family = sum(p is not None for p in adjusted.values())
    rows = {}
    for figure in wanted:
        key, found = figure.key, made[figure.key]
        rows[key] = Row(
            figure,
            bootstrap.estimate(found.values[0], found.draws[:, 0]),
            bootstrap.estimate(found.values[-1], found.draws[:, -1]),
            bootstrap.estimate(found.change[-1], found.change[:-1]) if compared else _NOTHING,
            adjusted[key],
            # Corrected for the number of series that are looked at, as the p-values are.
            (onset.find(one.steps, found.values, found.draws, alpha=_ALPHA / max(1, family)) if compared else None,),
            tuple(float(v) if math.isfinite(v) else None for v in found.values),
            *_clean(tidy, key, drawn, compared),
        )
    return Result(
        (name,), kind, tuple(one.steps), len(one.prompts), one.rollouts, rows, tuple(one.left_out), clean_only
    )


def _clean(tidy: Counts, key: str, drawn: Any, compared: bool) -> tuple[Estimate, Estimate, Estimate]:
    if key not in tidy.sums:
        return _NOTHING, _NOTHING, _NOTHING
    sums = tidy.sums[key]
    found = _Resampled(bootstrap.values(sums), bootstrap.ratios(sums[:, [0, -1]], drawn))
    return (
        bootstrap.estimate(found.values[0], found.draws[:, 0]),
        bootstrap.estimate(found.values[-1], found.draws[:, -1]),
        bootstrap.estimate(found.change[-1], found.change[:-1]) if compared else _NOTHING,
    )


def _together(
    names: Sequence[str],
    kind: str,
    every: Sequence[Counts],
    tidy: Sequence[Counts],
    wanted: Sequence[Figure],
    prompts: list[str],
    drawn: Any,
    results: Sequence[Result],
) -> Result:
    steps = sorted(set.intersection(*(set(one.steps) for one in every)))
    if not steps:
        raise ValueError(f"runs={', '.join(names)}: no probed step in common, so they cannot be put together")
    compared = kind != "train" and len(steps) > 1
    plain: dict[str, float | None] = {}
    parts: dict[str, list[Any]] = {}
    for figure in wanted:
        key = figure.key
        first, last, change, p = _over_seeds(key, every, steps, prompts, drawn)
        clean = (_NOTHING,) * 3
        if key in tidy[0].sums:
            clean = _over_seeds(key, tidy, steps, prompts, drawn)[:3]
        plain[key] = p if compared else None
        means = np.mean([bootstrap.values(_at(one, key, steps)) for one in every], axis=0)
        series = tuple(float(v) if math.isfinite(v) else None for v in means)
        parts[key] = [first, last, change if compared else _NOTHING, series, clean]
    adjusted = bootstrap.holm(plain)
    rows = {}
    for figure in wanted:
        first, last, change, series, clean = parts[figure.key]
        onsets = tuple(result.rows[figure.key].onsets[0] for result in results)
        rows[figure.key] = Row(figure, first, last, change, adjusted[figure.key], onsets, series, *clean)
    rollouts = sum(one.rollouts for one in every)
    return Result(tuple(names), kind, tuple(steps), len(prompts), rollouts, rows, (), results[0].clean_only)


def _over_seeds(
    key: str, every: Sequence[Counts], steps: list[int], prompts: list[str], drawn: Any
) -> tuple[Estimate, Estimate, Estimate, float | None]:
    """First, last and change over the runs, and the change's p."""
    ends = [steps[0], steps[-1]]
    values, draws = [], []
    for one in every:
        sums = _at(one, key, ends)
        values.append(bootstrap.values(sums))
        draws.append(bootstrap.ratios(sums, _pick(drawn, prompts, one)))
    mean = np.mean(draws, axis=0)
    first, _ = bootstrap.over_seeds([value[0] for value in values], mean[:, 0])
    last, _ = bootstrap.over_seeds([value[1] for value in values], mean[:, 1])
    change, p = bootstrap.over_seeds([value[1] - value[0] for value in values], mean[:, 1] - mean[:, 0])
    return first, last, change, p


def _at(one: Counts, key: str, steps: Sequence[int]) -> Array:
    return one.sums[key][:, [one.steps.index(step) for step in steps]]


def _finite(value: float) -> bool:
    return math.isfinite(value)


def run_names(runs: Sequence[Path | str]) -> list[str]:
    """The folders' names; with the folder above where two are alike. Raises ValueError for one given twice."""
    paths = [Path(run).resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise ValueError("runs: one is given twice; give each once")
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else "/".join(path.parts[-2:]) for name, path in zip(names, paths, strict=True)
    ]
