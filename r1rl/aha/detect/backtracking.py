"""Countdown as a search: restarts, resumptions, duplicate retries, and whether what was given up was dead.

A partial step, "3 * 5 = 15" of 3, 5, 7, leaves a state: the values still to be combined, {15, 7}. It is *live* if some
expression over all of them hits the target, else *dead*; an exact solver tells. The next step either goes on (uses the
result, or combines other numbers next to it) or leaves the state. A policy that searches well leaves dead states and
keeps live ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Final

from r1rl.aha.detect.countdown_sources import Problem, Step
from r1rl.aha.detect.equations import Value, whole

_BRANCH: Final = 32  # steps looked back for a result that is taken up again
MAX_SEARCHED: Final = 4
"""States of more values are not judged: the search is exponential."""


@dataclass(slots=True)
class Backtracking:
    """Counts of one rollout.

    `restarts`: a branch left and another begun from the given numbers. `resumes`: from a result found earlier. A
    restated conclusion is neither. `duplicate_retries`: attempts whose canonical form was tried before in the rollout,
    unless it only restates the attempt right before that was not rejected. `dead_seen`, `live_seen`: states whose fate
    the text shows; `dead_left`, `live_left`: those given up at once. States after an arithmetic slip are not counted.
    """

    restarts: int = 0
    resumes: int = 0
    duplicate_retries: int = 0
    dead_left: int = 0
    dead_seen: int = 0
    live_left: int = 0
    live_seen: int = 0


def backtracking(steps: Sequence[Step], numbers: Sequence[int], target: Value, *, closed: bool) -> Backtracking:
    """What the steps of a trace show.

    `closed`: the reasoning ends by itself, so a state that nothing follows was given up; else its fate is not known.
    """
    search = _Search(Problem(numbers), target)
    for step in steps:
        if step.committed or step.status != "illegal":
            search.take(step)
    return search.finished(closed=closed)


@dataclass(slots=True)
class _Search:
    """Where the search stands. Of 3, 5, 7, 9 and the target 22, after "3 * 5 = 15 , 9 - 7 = 2":

    `roots` are both steps, partial results that no other step has used; 15 + 2 would use both. `branch` is all partial
    steps since the last attempt, `state` whether 22 can be made of 15 and 2, None where that is not judged. The step
    "3 + 9 = 12" can stand next to neither, since 3 and 9 are used: both are left, and `begun`, how the branch under way
    began, becomes "restart". It is counted when the next branch begins, or with the attempt that ends the branch,
    unless that is a restated conclusion. `tried` holds the attempts so far by value, `last` is the last one.
    """

    problem: Problem
    target: Value
    counts: Backtracking = field(default_factory=Backtracking)
    roots: list[Step] = field(default_factory=list)
    branch: list[Step] = field(default_factory=list)
    state: bool | None = None
    begun: str = ""
    tried: defaultdict[Value | None, list[Step]] = field(default_factory=lambda: defaultdict(list))
    last: Step | None = None
    under_way: bool = False

    def take(self, step: Step) -> None:
        """The next step: it goes on with the branch or leaves it."""
        others = [root for root in self.roots if not _uses(step.expression, root)]
        gone = not self._fit_together([step, *others]) if others else False
        self._judge(left=gone and len(others) == len(self.roots))
        if not self.under_way:
            self.begun = "" if self.last is None else "resume" if step.resumed else "restart"
        elif gone:
            self._count_branch()
            self.begun = "resume" if step.resumed or self._takes_up(step) else "restart"
        self.under_way = True
        self.roots = [] if gone else others
        if step.committed:
            self._attempt(step)
            return
        if step.status == "partial":
            self.roots.append(step)
        self.branch.append(step)
        if not step.slip:
            self.state = self._live()

    def finished(self, *, closed: bool) -> Backtracking:
        """The counts, when nothing follows."""
        if closed:
            self._judge(left=True)
        self._count_branch()
        return self.counts

    def _attempt(self, step: Step) -> None:
        again = any(step.same_form(other) for other in self.tried[step.value])
        restated = again and self.last is not None and not self.last.rejected and step.same_form(self.last)
        if not restated:
            self._count_branch()
            self.counts.duplicate_retries += again
        if not again:
            self.tried[step.value].append(step)
        self.last, self.begun, self.under_way = step, "", False
        self.roots, self.branch = [], []

    def _count_branch(self) -> None:
        self.counts.restarts += self.begun == "restart"
        self.counts.resumes += self.begun == "resume"

    def _judge(self, *, left: bool) -> None:
        """Count the state before, whose fate is known now."""
        if self.state is True:
            self.counts.live_seen += 1
            self.counts.live_left += left
        elif self.state is False:
            self.counts.dead_seen += 1
            self.counts.dead_left += left
        self.state = None

    def _fit_together(self, steps: Sequence[Step]) -> bool:
        """Whether the given numbers are enough for all of the steps, side by side."""
        used = prod(step.readings[0].used if step.readings else 0 for step in steps)
        return used > 0 and self.problem.all % used == 0

    def _takes_up(self, step: Step) -> bool:
        """Whether a step goes on from an earlier one of the branch, and does not only write it again."""
        written = step.expression
        return any(
            _uses(written, other) and written not in [reading.expression for reading in other.readings]
            for other in self.branch[-_BRANCH:]
        )

    def _live(self) -> bool | None:
        """Whether the target can be made of the open results and the numbers that are left.

        None where a value is unknown, a number used too often, or too much is left to search.
        """
        if not self._fit_together(self.roots):
            return None
        found = [root.readings[0] for root in self.roots]
        values = [reading.value for reading in found if reading.value is not None]
        if len(values) < len(found):
            return None
        values += self.problem.unused(prod(reading.used for reading in found))
        return reachable(tuple(sorted(values)), self.target) if len(values) <= MAX_SEARCHED else None


def _uses(expression: str, step: Step) -> bool:
    """Whether an expression holds one of the readings of a step."""
    return any(reading.expression in expression for reading in step.readings)


@lru_cache(maxsize=16_384)  # the search comes to the same values in many ways
def reachable(values: tuple[Value, ...], target: Value) -> bool:
    """Whether some expression over `values`, in order, each used exactly once, is `target`. Exact and exhaustive."""
    if len(values) == 1:
        return values[0] == target
    if len(values) == 2:  # most of the work, so no fraction is made
        first, second = values
        return (
            target in (first + second, first - second, second - first, first * second)
            or (second != 0 and first == target * second)
            or (first != 0 and second == target * first)
        )
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            second = values[j]
            rest = values[:i] + values[i + 1 : j] + values[j + 1 :]
            results = {first + second, first - second, second - first, first * second}
            if second:
                results.add(whole(Fraction(first) / second))
            if first:
                results.add(whole(Fraction(second) / first))
            if any(reachable(tuple(sorted((*rest, result))), target) for result in results):
                return True
    return False
