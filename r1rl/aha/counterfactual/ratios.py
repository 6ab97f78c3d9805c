"""Figures of what a model was asked: ratios of sums, with intervals from draws of prompts, the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import Array, Estimate

Cell: TypeAlias = tuple[str, float, float]
"""Prompt, what is summed above and what below."""

Columns: TypeAlias = Mapping[str, Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, of `of` items, in shares of one or plain numbers; `change`: a difference, of which zero is none."""

    title: str
    estimate: Estimate
    of: int
    unit: Literal["share", "number"] = "share"
    change: bool = False


@dataclass(frozen=True)
class Measured:
    """A measure's figures at one step, of one run or of several put together; `notes` are counts and settings."""

    measure: str
    runs: tuple[str, ...]
    step: int
    prompts: int
    figures: Mapping[str, Figure]
    notes: Mapping[str, Any]


class Ratios:
    """The columns of one run, or of several, seeds of one recipe."""

    def __init__(self, runs: Sequence[Columns], *, seed: int = 0) -> None:
        self.runs = runs
        self.names = list(dict.fromkeys(name for columns in runs for name in columns))
        prompts = sorted({cell[0] for columns in runs for column in columns.values() for cell in column})
        self.prompts = len(prompts)
        place = {prompt: i for i, prompt in enumerate(prompts)}
        drawn = bootstrap.draws(max(1, len(prompts)), bootstrap.RESAMPLES, seed)
        self._values: list[dict[str, Array]] = []
        for columns in runs if self.names else ():
            sums = np.zeros((max(1, len(prompts)), len(self.names), 2))
            for i, name in enumerate(self.names):
                for prompt, above, below in columns.get(name, ()):
                    sums[place[prompt], i] += above, below
            both = np.vstack([bootstrap.values(sums), bootstrap.ratios(sums, drawn)])
            self._values.append({name: both[:, i] for i, name in enumerate(self.names)})

    def figure(
        self, title: str, of: str, value: Callable[[Mapping[str, Array]], Array] | None = None, **how: Any
    ) -> Figure:
        """The ratio of the column `of`, or what `value` makes of all ratios; the denominator shown is that of `of`."""
        count = sum(cell[2] > 0 for columns in self.runs for cell in columns.get(of, ()))
        if of not in self.names:
            return Figure(title, Estimate(None), count, **how)
        with np.errstate(invalid="ignore", divide="ignore"):
            every = [(value or (lambda ratios: ratios[of]))(ratios) for ratios in self._values]
        if len(every) == 1:
            return Figure(title, bootstrap.estimate(float(every[0][0]), every[0][1:]), count, **how)
        put = bootstrap.over_seeds([float(one[0]) for one in every], np.mean(every, axis=0)[1:])[0]
        return Figure(title, put, count, **how)

    def difference(self, title: str, first: str, second: str, **how: Any) -> Figure:
        """The first ratio minus the second; not there where one of them is not."""
        if not {first, second} <= set(self.names):
            return Figure(title, Estimate(None), 0, change=True, **how)
        return self.figure(title, first, lambda ratios: ratios[first] - ratios[second], change=True, **how)
