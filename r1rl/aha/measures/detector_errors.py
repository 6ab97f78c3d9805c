"""The decomposition's intervals with the errors of the attempt detector carried through, for free text.

On Countdown attempts are found by exact arithmetic. In free text some that are found are none, and some are missed;
how many, hand-labelled rollouts tell (`aha.validate`). Each of `DRAWS` times a precision and a recall are drawn from
what those labels leave open (Beta posterior with Jeffreys' prior) and prompts are drawn as everywhere. Then the errors
are undone at random: every attempt found stays with the chance `precision`, and missed ones are put in at random
places of random rollouts, so many that `recall` of all attempts were found, right as often as the others of that
step. The parts are computed of the result. The interval is for the prompts and the detector together; it need not
hold the value itself, where errors bend it to one side.

What is assumed: errors do not depend on the rollout, and are alike at both steps. That is the weak point of any
figure of free text, and nothing here can test it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.detect.annotation import verifier_of
from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.annotations import connection
from r1rl.aha.figures.bootstrap import Array, Estimate
from r1rl.aha.figures.figures import Selection
from r1rl.aha.measures.decomposition import FACTORS, PARTS, Decomposition, divide, with_errors
from r1rl.aha.validate import validation
from r1rl.store import store

DRAWS: Final = 300
FREE_TEXT: Final = "smollm2"
"""The corpus of hand-labelled rollouts whose attempts stand in words."""

_PATHS: Final = (
    "SELECT prompt_id, step, correct, [x.right for x in attempts if NOT x.repeat] AS path FROM annotations "
    "WHERE {where} AND step IN ({first}, {last}) AND correct IS NOT NULL AND attempts IS NOT NULL"
)


def carried_through(run: Path | str, selection: Selection, found: Decomposition, *, seed: int = 0) -> Decomposition:
    """A run's decomposition with `with_detector`, unless its attempts are exact or the detector was not measured."""
    score = validation.shipped_score("attempts", FREE_TEXT)
    if score is None or len(found.steps) < 2 or exact(run, selection.kind):
        return found
    first, last = found.steps[0], found.steps[-1]
    with connection(run, kind=selection.kind, steps=[first, last]) as database:
        rows = database.execute(_PATHS.format(where=selection.where, first=first, last=last)).fetchall()
    paths = Paths([(prompt, step == last, correct, path) for prompt, step, correct, path in rows])
    terms = simulated(paths, score, seed=seed)
    few = paths.prompts < bootstrap.LEAST_PROMPTS
    spans = {}
    for key, part, draws in zip(PARTS, found.parts, terms.T, strict=True):
        span = bootstrap.estimate(float(part.change.value or 0), draws)
        spans[key] = Estimate(part.change.value) if few else Estimate(part.change.value, span.low, span.high)
    return with_errors(found, spans)


def exact(run: Path | str, kind: str) -> bool:
    """Whether all rollouts of a kind are Countdown's."""
    sql = f"SELECT DISTINCT task, verifier FROM rollouts WHERE kind = '{kind}'"
    return all(verifier_of(row) == "countdown" for row in store.query(run, sql).to_pylist())


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


def simulated(paths: Paths, score: Mapping[str, Any], *, draws: int = DRAWS, seed: int = 0) -> Array:
    """[draws, parts]: the terms of the change, prompts drawn and detector errors undone."""
    generator = np.random.default_rng(seed)
    weights = bootstrap.draws(paths.prompts, draws, seed).astype(np.float64)
    found = []
    for weight in weights:
        precision = generator.beta(score["tp"] + 0.5, score["fp"] + 0.5)
        recall = generator.beta(score["tp"] + 0.5, score["fn"] + 0.5)
        owner, right = _undone(paths, precision, recall, generator)
        sums = _sums(paths, owner, right)  # [prompts, steps, factors, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            summed = np.einsum("p,psfx->sfx", weight, sums)
            factors = np.where(summed[..., 1] > 0, summed[..., 0] / summed[..., 1], np.nan)
        found.append(divide(factors[0], factors[1]))
    return np.array(found)


def _undone(paths: Paths, precision: float, recall: float, generator: np.random.Generator) -> tuple[Any, Any]:
    """Owner and rightness of the attempts that there are, in order, if those found have these errors."""
    kept = generator.random(len(paths.owner)) < precision
    owner, place, right = paths.owner[kept], paths.place[kept] + 0.5, paths.right[kept]
    rollouts = len(paths.cell)
    step_of = paths.cell % 2
    there = np.bincount(paths.owner, minlength=rollouts)
    rates, hits = np.zeros(2), np.zeros(2)
    for step in (0, 1):
        mine = step_of[owner] == step
        rates[step] = mine.sum() / max(1, (step_of == step).sum()) * (1 - recall) / recall
        hits[step] = right[mine].mean() if mine.any() else 0.0
    missed = np.repeat(np.arange(rollouts), generator.poisson(rates[step_of]))
    owner = np.concatenate([owner, missed])
    place = np.concatenate([place, generator.random(len(missed)) * (there[missed] + 1e-9)])
    right = np.concatenate([right, generator.random(len(missed)) < hits[step_of[missed]]])
    order = np.lexsort((place, owner))
    return owner[order], right[order]


def _sums(paths: Paths, owner: Any, right: Any) -> Array:
    """[prompts, steps, factors, 2] in the order of FACTORS, as `decomposition` defines them."""
    rollouts = len(paths.cell)
    length = np.bincount(owner, minlength=rollouts)
    starts = np.concatenate([[0], np.cumsum(length)[:-1]])
    hit = np.zeros(rollouts, dtype=np.int64)  # the number of the first attempt that hits, from 1
    first_of, at = np.unique(owner[right], return_index=True)
    hit[first_of] = np.flatnonzero(right)[at] - starts[first_of] + 1
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
