"""Plans of synthetic Countdown traces: which attempts are made, and what is said of them, before a word is written.

A plan that a reader could understand in two ways is drawn again: a slip that claims a given number, a foreign number
that an earlier step made, a partial state that another number could stand for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from tests.aha.validate.synthetic import styles
from tests.aha.validate.synthetic.styles import Candidate, Style, Tree

LARGEST: Final = 9_999
_OTHERS: Final = ("illegal", "partial", "again", *("left", "resumed") * 4)


@dataclass(slots=True)
class Attempt:
    """A planned attempt. `status` as in the labels, "left" for a partial state that is abandoned without a test.

    `says`: what the goal test will say, None for no test. `resumed`: how many first steps are not written again,
    because the text goes on from an earlier result.
    """

    candidate: Candidate
    status: str
    says: bool | None = None
    false_test: bool = False
    duplicate: bool = False
    resumed: int = 0


@dataclass(slots=True)
class Plan:
    """Numbers, target and attempts; `made`: every number that the text has claimed so far."""

    numbers: list[int]
    target: int
    solution: Candidate
    attempts: list[Attempt] = field(default_factory=list)
    made: set[Fraction] = field(default_factory=set)


def _tree(rng: random.Random, numbers: Sequence[int], style: Style) -> Tree:
    nodes: list[Tree] = [Fraction(number) for number in rng.sample(list(numbers), len(numbers))]
    while len(nodes) > 1:
        first = nodes.pop(0 if style.linear else rng.randrange(len(nodes)))
        second = nodes.pop(rng.randrange(len(nodes)))
        nodes.insert(0, (rng.choice("+-*/" if rng.random() < 0.5 else "+-*"), first, second))
    return nodes[0]


def _presentable(candidate: Candidate | None, style: Style) -> bool:
    """Whether the style can show every number the candidate comes by."""
    if candidate is None or not candidate.steps:
        return False
    shown = [step.claimed for step in candidate.steps] if style.chained else [candidate.claimed]
    if any(abs(number) > LARGEST for number in shown) or abs(candidate.value) > LARGEST:
        return False
    if style.plain:
        return all(number.denominator == 1 and number >= 0 for number in shown)
    return not style.chained or all(number.denominator in (1, 2, 4) for number in shown)


def worked(rng: random.Random, numbers: Sequence[int], style: Style) -> Candidate:
    while True:
        candidate = styles.work(_tree(rng, numbers, style))
        if candidate is not None and _presentable(candidate, style):
            return candidate


def draw(rng: random.Random, style: Style) -> Plan | None:
    """A plan, or None where a draw was ambiguous."""
    high = 20 if style.plain else rng.choice((10, 20, 100))
    numbers = [rng.randint(1, high) for _ in range(rng.choice((3, 3, 4, 4, 5, 6)))]
    solution = worked(rng, numbers, style)
    if solution.value.denominator != 1 or not 1 <= solution.value <= 999:
        return None
    plan = Plan(numbers, int(solution.value), solution)
    solved = False
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5))):
        if not _add(rng, style, plan, solution if rng.random() < 0.3 else None):
            return None
        solved = plan.attempts[-1].says is True
        if solved:
            break
    if not solved and rng.random() < 0.5 and not _add(rng, style, plan, solution):
        return None
    return plan if any(attempt.status != "left" for attempt in plan.attempts) else None


def _add(rng: random.Random, style: Style, plan: Plan, solution: Candidate | None) -> bool:
    """Plan one more attempt; False where it would be ambiguous."""
    attempt = Attempt(solution, "complete") if solution else _next(rng, style, plan)
    if attempt is None or (attempt.status in ("partial", "illegal") and attempt.candidate.value == plan.target):
        return False
    fresh = not (solution or attempt.duplicate or attempt.resumed or attempt.status == "left")
    if fresh and style.chained and rng.random() < 0.15:
        slipped = _slipped(rng, plan, attempt.candidate, style)
        if slipped is None:
            return False
        attempt.candidate = slipped
    before = [one for one in plan.attempts if one.status != "left"][-1:]
    if before and before[0].says is not False and before[0].candidate.value == attempt.candidate.value:
        return False  # nothing was rejected, so it could be a restatement
    made = {step.claimed for step in attempt.candidate.steps}
    if any(step.slip for step in attempt.candidate.steps) and made & {Fraction(n) for n in plan.numbers}:
        return False  # the wrong result could be read as a given number
    # A partial state without a test would be an abandoned one, an illegal expression a side sum.
    if attempt.status != "left" and (style.plain or attempt.status != "complete" or rng.random() < 0.8):
        attempt.says = attempt.candidate.claimed == plan.target
        # Only a whole attempt can be misjudged: "yes" of a partial one could be meant for the numbers left.
        if attempt.status == "complete" and rng.random() < 0.1:
            attempt.says, attempt.false_test = not attempt.says, True
    plan.attempts.append(attempt)
    plan.made |= made
    return True


def _next(rng: random.Random, style: Style, plan: Plan) -> Attempt | None:
    """An attempt of a kind drawn at random, complete where that kind does not go here; None: ambiguous."""
    kind = rng.choice(("complete",) * 5 + _OTHERS)
    steps_shown = style.chained and not (style.block or style.linear or style.plain or style.name == "reductions")
    last = plan.attempts[-1] if plan.attempts and plan.attempts[-1].status == "complete" else None
    if kind == "again" and last and last.says is False:
        return None if last.resumed else Attempt(last.candidate, "complete", duplicate=True)
    if kind == "left" and steps_shown:
        candidate = _first_step(rng, style, plan)
        clear = candidate.value.denominator == 1 and candidate.value not in {*plan.made, *plan.numbers, plan.target}
        return Attempt(candidate, kind) if clear else None
    if kind == "partial":
        return Attempt(worked(rng, rng.sample(plan.numbers, len(plan.numbers) - 1), style), kind)
    if kind == "illegal":
        drawn = _illegal(rng, plan, style)
        return Attempt(drawn, kind) if drawn else None
    if kind == "resumed" and steps_shown and last:
        drawn = _resumed(rng, plan, style)
        return Attempt(drawn, "complete", resumed=1) if drawn else None
    return Attempt(worked(rng, plan.numbers, style), "complete")


def _first_step(rng: random.Random, style: Style, plan: Plan) -> Candidate:
    """One operation on two given numbers, half of the time the solution's own, which leaves a live state."""
    first = plan.solution.steps[0]
    candidate = styles.work((first.operator, first.left, first.right))
    if candidate is None or rng.random() < 0.5:
        return worked(rng, rng.sample(plan.numbers, 2), style)
    return candidate


def _illegal(rng: random.Random, plan: Plan, style: Style) -> Candidate | None:
    """Over all numbers but one, which is replaced by a number too many."""
    tree = _tree(rng, plan.numbers, style)
    place = rng.randrange(len(plan.numbers))
    numbers = styles.leaves(tree)
    other = rng.choice([n for i, n in enumerate(numbers) if i != place] + [rng.randint(1, 30)])
    candidate = styles.work(styles.replace_leaf(tree, place, other))
    if candidate is None or not _presentable(candidate, style) or other == numbers[place]:
        return None
    made = plan.made | {step.claimed for step in candidate.steps}
    # An earlier result of that value would make it legal, a result equal to a given number a shorter legal reading.
    results = {step.claimed for step in candidate.steps}
    return None if Fraction(other) in made or results & {Fraction(n) for n in plan.numbers} else candidate


def _resumed(rng: random.Random, plan: Plan, style: Style) -> Candidate | None:
    """The first step of the last attempt kept, the rest done another way: only that rest is written."""
    last = plan.attempts[-1].candidate
    first = last.steps[0]
    rest = list(plan.numbers)
    if plan.attempts[-1].resumed or any(step.slip for step in last.steps):
        return None
    if not all(n.denominator == 1 and n >= 0 and int(n) in rest for n in (first.left, first.right)):
        return None
    for number in (first.left, first.right):
        if int(number) not in rest:
            return None
        rest.remove(int(number))
    # The result must be told from every given number, and be made once only.
    if [a for a in plan.attempts for s in a.candidate.steps if s.claimed == first.claimed][1:]:
        return None
    if first.claimed in {Fraction(n) for n in plan.numbers} or first.claimed.denominator != 1:
        return None
    tree: Tree = (first.operator, first.left, first.right)
    for left in rng.sample(rest, len(rest)):
        tree = (rng.choice("+-*"), tree, Fraction(left))
    candidate = styles.work(tree)
    if candidate is None or not _presentable(candidate, style) or candidate.value == last.value:
        return None
    return candidate


def _slipped(rng: random.Random, plan: Plan, candidate: Candidate, style: Style) -> Candidate | None:
    """The same expression with one step worked out wrongly."""
    slipped = styles.work(candidate.tree, rng.randrange(len(candidate.steps)), rng.choice((-10, -2, -1, 1, 2)))
    if slipped is None or not _presentable(slipped, style) or slipped.value.denominator != 1:
        return None
    claims = [step.claimed for step in slipped.steps]
    known = {Fraction(n) for n in plan.numbers} | plan.made | {step.claimed for step in candidate.steps}
    # A wrong result that is also something else (a given number, a true result) could be read as that.
    wrong = [claim for claim, true in zip(claims, candidate.steps, strict=True) if claim != true.claimed]
    if not wrong or len(set(claims)) < len(claims) or known & set(wrong[:-1]) or min(claims) < 0:
        return None
    return slipped
