"""The decomposition with the errors of the attempt detector taken out, for free text.

On Countdown attempts are found by exact arithmetic. In free text some that are found are none, and some are missed;
how many, hand-labelled rollouts tell (`aha.validate`). A missed hit of a rollout that answers right looks like a lucky
guess, so errors do not only widen the terms, they shift gain from attempts to the rest.

Simulation and extrapolation: the same errors are made once more on what was found, and once more on that. How the
terms change with one, two and three helpings of error says, by a parabola, what they would be without any. Each of
`DRAWS` times precision and recall are drawn from what the labels leave open (Beta posterior with Jeffreys' prior), and
prompts are drawn as everywhere, so the interval is for the prompts and the detector together. The verdicts have no such
errors, so these terms add up to the change as well. A parabola takes most of the error out, not all of it.

What is assumed: that an error does not depend on the rollout or on whether the attempt is right, and that false
attempts are right as often as others of their step. That is the weak point of any figure of free text, and nothing here
can test it. Source: Cook and Stefanski, Simulation-Extrapolation Estimation in Parametric Measurement Error Models
(1994).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.detect.text_kind import COUNTDOWN
from r1rl.aha.figures import bootstrap, gate
from r1rl.aha.figures.annotations import connection
from r1rl.aha.figures.bootstrap import Array, Estimate
from r1rl.aha.figures.figures import Selection, kinds
from r1rl.aha.measures.decomposition import FACTORS, PARTS, Decomposition, divide, with_errors
from r1rl.aha.validate import validation

DRAWS: Final = 200
_PARABOLA: Final = (3.0, -3.0, 1.0)
"""What a parabola through the values at 1, 2 and 3 has at 0."""

PATHS: Final = (
    "SELECT prompt_id, step, correct, [x.right for x in attempts if NOT x.repeat] AS path FROM annotations "
    "WHERE {where} AND step IN ({first}, {last}) AND correct IS NOT NULL AND attempts IS NOT NULL"
)


def taken_out(
    runs: Sequence[Path | str], selection: Selection, found: Sequence[Decomposition | None], *, seed: int = 0
) -> list[Decomposition | None]:
    """What `decomposition.measure` found of these runs, with `with_detector` where attempts stand in free text.

    Without where they are exact, or where the detector was not measured.
    """
    scores = [labelled_score(run, selection) for run in runs]
    every: list[Decomposition | None] = []
    for i, one in enumerate(found):
        mine = slice(None) if i == len(runs) else slice(i, i + 1)  # the last is of all together
        known = [score for score in scores[mine] if score is not None]
        if one is None or len(known) < len(scores[mine]):
            every.append(one)
            continue
        paths = [_paths(run, selection, one.steps[0], one.steps[-1]) for run in runs[mine]]
        terms = [
            simulated(each, score, seed=seed + j) for j, (each, score) in enumerate(zip(paths, known, strict=True))
        ]
        few = min(each.prompts for each in paths) < bootstrap.LEAST_PROMPTS
        spans = {key: _put_together([each[:, j] for each in terms]) for j, key in enumerate(PARTS)}
        every.append(with_errors(one, {key: Estimate(span.value) if few else span for key, span in spans.items()}))
    return every


def _put_together(per_run: Sequence[Array]) -> Estimate:
    """A part's draws, [draws] a run -> the estimate over the runs."""
    means = [float(draws.mean()) for draws in per_run]
    if len(per_run) == 1:
        return bootstrap.estimate(means[0], per_run[0])
    return bootstrap.over_seeds(means, np.mean(per_run, axis=0))[0]


def _paths(run: Path | str, selection: Selection, first: int, last: int) -> Paths:
    with connection(run, kind=selection.kind, steps=[first, last]) as database:
        rows = database.execute(PATHS.format(where=selection.where, first=first, last=last)).fetchall()
    return Paths([(prompt, step == last, correct, path) for prompt, step, correct, path in rows])


def labelled_score(run: Path | str, selection: Selection) -> dict[str, Any] | None:
    """Hits, false alarms and misses of the attempt detector on labelled text of the run's kind; None for Countdown,
    where attempts are exact, and for text of which nothing was labelled.
    """
    kind = gate.main_kind(kinds(run, selection))
    corpus = None if kind == COUNTDOWN else validation.CORPUS_OF_KIND.get(kind)
    return None if corpus is None else validation.shipped_score("attempts", corpus)


class Paths:
    """Rollouts of two steps as flat arrays: `cell` is prompt and step of each rollout, `owner` the rollout of each
    attempt, in order, and `right` whether it hits.
    """

    def __init__(self, rows: list[tuple[str, bool, bool, list[bool]]]) -> None:
        names = {name: i for i, name in enumerate(sorted({row[0] for row in rows}))}
        self.prompts = len(names)
        self.cell = np.array([2 * names[prompt] + last for prompt, last, _, _ in rows], dtype=np.int64)
        self.correct = np.array([correct for _, _, correct, _ in rows], dtype=bool)
        self.owner = np.repeat(np.arange(len(rows)), [len(path) for *_, path in rows])
        self.place = np.concatenate([np.arange(len(path)) for *_, path in rows] or [np.zeros(0, dtype=np.int64)])
        self.right = np.array([hit for *_, path in rows for hit in path], dtype=bool)


def simulated(paths: Paths, score: Mapping[str, Any], *, draws: int | None = None, seed: int = 0) -> Array:
    """[draws, parts]: the terms of the change, prompts drawn and detector errors taken out."""
    generator = np.random.default_rng(seed)
    found = []
    for weight in bootstrap.draws(paths.prompts, draws or DRAWS, seed).astype(np.float64):
        precision = generator.beta(score["tp"] + 0.5, score["fp"] + 0.5)
        recall = generator.beta(score["tp"] + 0.5, score["fn"] + 0.5)
        attempts = (paths.owner, paths.place, paths.right)
        terms = []
        for helping in range(len(_PARABOLA)):
            if helping:
                attempts = _with_errors(paths, attempts, precision, recall, generator)
            terms.append(_terms(_sums(paths, attempts[0], attempts[2]), weight))
        found.append(np.array(_PARABOLA) @ np.array(terms))
    return np.array(found)


def _terms(sums: Array, weight: Array) -> Array:
    summed = np.einsum("p,psfx->sfx", weight, sums)
    factors = np.where(summed[..., 1] > 0, summed[..., 0] / np.where(summed[..., 1] > 0, summed[..., 1], 1), np.nan)
    return divide(factors[0], factors[1])


def _with_errors(
    paths: Paths, attempts: tuple[Any, Any, Any], precision: float, recall: float, generator: np.random.Generator
) -> tuple[Any, Any, Any]:
    """Owner, place and rightness of what a detector with these errors finds of such attempts, in order."""
    owner, place, right = attempts
    rollouts = len(paths.cell)
    step_of = paths.cell % 2
    there = np.bincount(owner, minlength=rollouts)
    false, hits = np.zeros(2), np.zeros(2)  # false attempts a rollout, and the share of attempts that are right
    for step in (0, 1):
        mine = step_of[owner] == step
        false[step] = mine.sum() / max(1, (step_of == step).sum()) * recall * (1 - precision) / precision
        hits[step] = right[mine].mean() if mine.any() else 0.0
    added = np.repeat(np.arange(rollouts), generator.poisson(false[step_of]))
    kept = generator.random(len(owner)) < recall
    owner = np.concatenate([owner[kept], added])
    place = np.concatenate([place[kept], generator.random(len(added)) * (there[added] + 1) - 1])
    right = np.concatenate([right[kept], generator.random(len(added)) < hits[step_of[added]]])
    order = np.lexsort((place, owner))
    owner, right = owner[order], right[order]
    return owner, _places(owner, rollouts), right


def _places(owner: Any, rollouts: int) -> Any:
    """The number of each attempt within its rollout, from 0."""
    starts = np.cumsum(np.bincount(owner, minlength=rollouts)) - np.bincount(owner, minlength=rollouts)
    return np.arange(len(owner)) - starts[owner]


def _sums(paths: Paths, owner: Any, right: Any) -> Array:
    """[prompts, steps, factors, 2] in the order of FACTORS, as `decomposition` defines them."""
    rollouts = len(paths.cell)
    length = np.bincount(owner, minlength=rollouts)
    hit = np.zeros(rollouts, dtype=np.int64)  # the number of the first attempt that hits, from 1
    first_of, at = np.unique(owner[right], return_index=True)
    hit[first_of] = _places(owner, rollouts)[right][at] + 1
    got, tried = hit > 0, length > 0
    misses = np.where(got, hit - 1, length)
    retries = np.where(got, hit - 1, np.maximum(length - 1, 0))
    every = np.ones(rollouts)
    columns = [
        (tried, every), (hit == 1, tried), (retries, misses), (hit > 1, retries),
        (got & paths.correct, got), (~got & paths.correct, ~got),
    ]  # fmt: skip
    assert len(columns) == len(FACTORS)
    summed = [
        [np.bincount(paths.cell, weights=part, minlength=2 * paths.prompts) for part in column] for column in columns
    ]
    return np.moveaxis(np.array(summed), (0, 1), (1, 2)).reshape(paths.prompts, 2, len(columns), 2)
