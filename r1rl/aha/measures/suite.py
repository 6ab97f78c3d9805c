"""The registry of measures, and their figures for runs: at the first and the last evaluated step, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from r1rl.aha.figures import suite
from r1rl.aha.figures.figures import FIGURES, Counts, Figure, Selection, counts
from r1rl.aha.figures.suite import Result
from r1rl.aha.measures import answer_entropy, first_candidate, recheck, samples, support, surprise
from r1rl.aha.measures.samples import Measure

MEASURES: Final[Sequence[Measure]] = (
    first_candidate.MEASURE,
    recheck.MEASURE,
    surprise.MEASURE,
    support.MEASURE,
    answer_entropy.MEASURE,
)
SHORT: Final = ("after_first_candidate", "after_right_candidate", "rechecks", "recheck_effective",
                "recheck_confirmatory", "rethinks", "rethink_effective", "rethink_confirmatory", "support_kept",
                "support_kept_by_chance", "answer_entropy")  # fmt: skip
"""What `r1rl aha` shows of them if nothing else is said."""


def figures() -> list[Figure]:
    """The figures of all measures, in order."""
    return [figure for measure in MEASURES for figure in measure.figures]


def measure(
    runs: Sequence[Path | str],
    selection: Selection | None = None,
    *,
    measures: Sequence[Measure] = MEASURES,
    resamples: int | None = None,
    seed: int = 0,
) -> list[Result]:
    """The measures' figures of each annotated run, and after them, for two or more, of all together.

    p-values are adjusted for the number of these figures. Raises ValueError as `figures.suite.measure`.
    """
    selection = selection or Selection()
    whole = [counts(run, selection, [FIGURES["accuracy"]]) for run in runs]
    common = sorted(set.intersection(*(set(one.steps) for one in whole)))
    wanted = [figure for one in measures for figure in one.figures]
    every = [
        _counted(run, selection, measures, sorted({one.steps[0], one.steps[-1], *common[:1], *common[-1:]}), one)
        for run, one in zip(runs, whole, strict=True)
    ]
    return suite.of_counts(
        suite.run_names(runs), every, selection, wanted,
        kinds=suite.all_kinds(runs, selection), resamples=resamples, seed=seed,
    )  # fmt: skip


def _counted(
    run: Path | str, selection: Selection, measures: Sequence[Measure], steps: list[int], whole: Counts
) -> Counts:
    """The measures' sums at some steps of a run, whose complete ones `whole` tells."""
    loaded = samples.load(run, selection, steps)
    prompts = sorted(loaded)
    row_of = {prompt: i for i, prompt in enumerate(prompts)}
    sums = {figure.key: np.zeros((len(prompts), len(steps), 2)) for one in measures for figure in one.figures}
    for one in measures:
        for term in one.count(loaded):
            sums[term.key][row_of[term.prompt], term.step] += term.above, term.below
    return Counts(steps, prompts, whole.rollouts, sums, whole.left_out)
