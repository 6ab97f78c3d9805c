"""What came out of a study: each arm measured as `r1rl aha` measures, and every arm beside the reference.

An arm's figures are those of its seeds put together (`aha.figures.suite`). The difference of two arms at the last
evaluation is paired twice: by seed, and by held-out problem, as each draw of problems serves both arms; its interval is
for new seeds and new problems (`bootstrap.over_seeds`), and its p is adjusted (Holm) for all differences of the study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.figures import bootstrap, suite
from r1rl.aha.figures.annotations import compute
from r1rl.aha.figures.bootstrap import RESAMPLES, Estimate
from r1rl.aha.figures.conclusion import Conclusion, conclude
from r1rl.aha.figures.figures import FIGURES, Counts, Selection, counts
from r1rl.aha.figures.onset import Onset
from r1rl.aha.figures.suite import Result, Row
from r1rl.eval.study.arms import BASE, Arm, Study
from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError
from r1rl.models import base

ALPHA: Final = 0.05


@dataclass(frozen=True)
class Difference:
    """An arm's figure less the reference's, at the last evaluation; `p` is adjusted. `seeds` are those of both."""

    estimate: Estimate
    p: float | None
    seeds: tuple[int, ...]

    @property
    def clear(self) -> bool:
        """Whether it is not zero, after the correction."""
        away = self.estimate.above_zero or self.estimate.below_zero
        return away and self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class ArmFigures:
    """One arm.

    Args:
        seeds: those measured; `missing` are those not finished.
        result: all seeds together, or the one there is; None where none is finished.
        alone: whether self-correction emerged or grew in each seed by itself; with few seeds the intervals for new ones
            are wide, and the seeds together may say less than each.
        counts: the sums behind the questions, by seed.
        differences: from the reference, by question; empty for the reference itself.
        skills: what the examination found of the base built for it.
    """

    arm: Arm
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    runs: tuple[Path, ...] = ()
    result: Result | None = None
    conclusion: Conclusion | None = None
    alone: Mapping[int, bool | None] = field(default_factory=dict)
    counts: Mapping[int, Counts] | None = None
    differences: Mapping[str, Difference] | None = None
    skills: Mapping[str, Any] | None = None

    def row(self, key: str) -> Row:
        """One figure of the seeds together."""
        assert self.result is not None
        return self.result.rows[key]

    def onsets(self, key: str) -> dict[int, Onset | None]:
        """The onset of a figure in each seed."""
        return dict(zip(self.seeds, self.row(key).onsets, strict=True))


@dataclass(frozen=True)
class Measured:
    """All arms of a study, in its order."""

    study: Study
    arms: tuple[ArmFigures, ...]

    @property
    def shown(self) -> tuple[ArmFigures, ...]:
        """The arms of which something is measured."""
        return tuple(one for one in self.arms if one.result is not None)

    @property
    def emerged(self) -> tuple[str, ...]:
        """The arms in which self-correction emerged or grew."""
        return tuple(one.arm.name for one in self.shown if one.conclusion is not None and one.conclusion.emerged)

    def words(self) -> list[str]:
        """What the arms say together."""
        rest = [one.arm.name for one in self.shown if one.arm.name not in self.emerged]
        if not self.emerged:
            found = ["Self-correction emerged or grew in no arm."]
        else:
            found = [f"Self-correction emerged or grew in: {', '.join(self.emerged)}."]
            if rest:
                found[0] += f" Not in: {', '.join(rest)}."
        open_ = [f"{one.arm.name} ({len(one.missing)} of {len(self.study.seeds)})" for one in self.arms if one.missing]
        if open_:
            found.append(f"Runs that are not finished are left out: {', '.join(open_)}.")
        return found


def measure(
    study: Study, *, workers: int = 1, resamples: int = RESAMPLES, tell: Callable[[str], None] = lambda name: None
) -> Measured:
    """Measure the finished runs of a study; `tell` is called with the name of each arm before it is measured.

    Raises:
        RecipeError: no run is finished.
    """
    arms = []
    for arm in study.arms:
        folders = {seed: study.folder(arm, seed) for seed in study.seeds}
        finished = {
            seed: folder.path
            for seed, folder in folders.items()
            if (whole_files.read_json(folder.result) or {}).get("finished")
        }
        missing = tuple(seed for seed in study.seeds if seed not in finished)
        one = ArmFigures(arm, tuple(finished), missing, tuple(finished.values()))
        if arm.built is not None and (arm.built / base.MANIFEST).is_file():
            one = replace(one, skills=base.manifest(arm.built)["skills"])
        if finished:
            tell(arm.name)
            one = _of_arm(one, study.questions, workers, resamples)
        arms.append(one)
    if not any(one.result for one in arms):
        raise RecipeError(
            f"study {study.source}: no run in {study.runs_dir} is finished, so there is nothing to measure"
        )
    return Measured(study, _compared(arms, study, resamples))


def _of_arm(one: ArmFigures, questions: Sequence[str], workers: int, resamples: int) -> ArmFigures:
    for run in one.runs:
        compute(run, kind="eval", workers=workers)
    results = suite.measure(one.runs, resamples=resamples)
    wanted = [FIGURES[key] for key in questions]
    sums = {seed: counts(run, Selection(), wanted) for seed, run in zip(one.seeds, one.runs, strict=True)}
    alone = {seed: conclude(result).emerged for seed, result in zip(one.seeds, results, strict=False)}
    return replace(one, result=results[-1], conclusion=conclude(results[-1]), alone=alone, counts=sums)


def _compared(arms: Sequence[ArmFigures], study: Study, resamples: int) -> tuple[ArmFigures, ...]:
    """The arms with their differences from the reference."""
    reference = next(one for one in arms if one.arm.name == study.reference)
    if reference.counts is None:
        return tuple(arms)
    drawn: dict[int, Any] = {}
    found: dict[tuple[str, str], Difference] = {}
    for one in arms:
        if one.arm.name == study.reference or one.counts is None:
            continue
        for key in study.questions:
            found[one.arm.name, key] = _difference(one.counts, reference.counts, key, drawn, resamples)
    adjusted = bootstrap.holm({f"{arm} {key}": one.p for (arm, key), one in found.items()})
    found = {(arm, key): replace(one, p=adjusted[f"{arm} {key}"]) for (arm, key), one in found.items()}
    return tuple(
        replace(one, differences={key: found[name, key] for name, key in found if name == one.arm.name}) for one in arms
    )


def _difference(
    mine: Mapping[int, Counts], other: Mapping[int, Counts], key: str, drawn: dict[int, Any], resamples: int
) -> Difference:
    """The last value of one arm less that of another, over the seeds and the problems that both have."""
    seeds = [seed for seed in mine if seed in other]
    values, draws = [], []
    for seed in seeds:
        shared = sorted(set(mine[seed].prompts) & set(other[seed].prompts))
        if not shared:
            return Difference(Estimate(None), None, tuple(seeds))
        # The same draws for every seed: the problems' share of the error is common to them.
        count = len(shared)
        if count not in drawn:
            drawn[count] = bootstrap.draws(count, resamples, 0)
        pair = []
        for one in (mine[seed], other[seed]):
            last = one.sums[key][[one.prompts.index(name) for name in shared], -1:]
            pair.append((float(bootstrap.values(last)[0]), bootstrap.ratios(last, drawn[count])[:, 0]))
        values.append(pair[0][0] - pair[1][0])
        draws.append(pair[0][1] - pair[1][1])
    if not values:
        return Difference(Estimate(None), None, ())
    if len(values) == 1:
        known = math.isfinite(values[0])
        estimate = bootstrap.estimate(values[0], draws[0]) if known else Estimate(None)
        return Difference(estimate, bootstrap.p_value(draws[0]) if known else None, tuple(seeds))
    estimate, p = bootstrap.over_seeds(values, np.mean(draws, axis=0))
    return Difference(estimate, p, tuple(seeds))


def dose_of(one: ArmFigures, option: str) -> float | None:
    """The dose of an arm, where its base differs from the plain one in this option alone (steps and seed aside)."""
    if one.arm.base is None:
        return None
    others = set(one.arm.base) - {option, "steps", "seed"}
    value = one.arm.base.get(option, base.plain_option(BASE, option))
    return None if others else float(value)
