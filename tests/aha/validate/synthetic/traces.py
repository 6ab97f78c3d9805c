"""Synthetic rollouts whose labels are exact because they are settled before the text is written.

A trace is one dictionary in the form of the hand labels (`labels/GUIDE.md`): a rollout row plus `spans`, `transitions`,
`hygiene`, `guess`, `counts` and `style`; a Countdown attempt also has its `expression` and what it `claimed`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from r1rl.verify.countdown import solvable
from tests.aha.validate.synthetic import mathematics, styles
from tests.aha.validate.synthetic import plan as plans
from tests.aha.validate.synthetic.page import Page, tidy
from tests.aha.validate.synthetic.plan import Attempt, Plan
from tests.aha.validate.synthetic.styles import STYLES, Candidate, Style

MATH_SHARE: Final = 0.25


def traces(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """`count` traces, a quarter of them free-text mathematics; the same (seed, index) is always the same trace."""
    for index in range(count):
        rng = random.Random(f"aha|{seed}|{index}")
        made = mathematics.trace(rng) if rng.random() < MATH_SHARE else countdown(rng)
        yield {"model": "synthetic", "prompt_id": f"synthetic:{seed}:{index}", **tidy(made, rng)}


def countdown(rng: random.Random, style: Style | None = None) -> dict[str, Any]:
    """One Countdown trace, in a style drawn at random unless one is given."""
    style = style or rng.choice(STYLES)
    while True:
        plan = plans.draw(rng, style)
        if plan is not None:
            return _write(rng, style, plan)


def _write(rng: random.Random, style: Style, plan: Plan) -> dict[str, Any]:
    page = Page()
    opened = rng.random() < 0.3
    page.write("" if opened else "<think>")
    page.write(" " if style.plain else "\n" if style.block else rng.choice((" ", "\n")))
    counts = dict.fromkeys(("slips", "duplicate_retries", "dead_left", "live_left", "resumed"), 0)
    prose = not style.plain
    if prose and rng.random() < 0.3:
        page.write(f"We have {', '.join(map(str, plan.numbers))} and want {plan.target}. ")
    index = 0
    for number, attempt in enumerate(plan.attempts):
        if number:
            _connect(rng, page, plain=style.plain)
        if prose and rng.random() < 0.12:
            page.unreflective(rng.choice(styles.UNREFLECTIVE))
        if attempt.resumed:
            page.write(f"Back to {styles.text(attempt.candidate.steps[0].claimed)}: ")
        elif prose:
            lead = "" if style.name == "monologue" else rng.choice(styles.NEUTRAL)
            page.write("\n" if style.block else lead)
        index += _attempt(rng, page, style, plan, attempt, index, counts)
    concluded = prose and plan.attempts[-1].says is True and not plan.attempts[-1].resumed and rng.random() < 0.3
    if concluded:
        page.write(" So the answer is ")
        last = plan.attempts[-1]
        said = styles.infix(last.candidate.tree)
        page.attempt(said, last.candidate.value, **_judged(last, plan), repeat=True)
        page.write(".")
    made = [a for a in plan.attempts if a.status != "left"]
    guess = rng.random() < 0.1
    answer = plans.worked(rng, plan.numbers, style).tree if guess else made[-1].candidate.tree
    if guess and styles.value(answer) in {a.candidate.value for a in made}:
        guess, answer = False, made[-1].candidate.tree
    page.write(f" </think> <answer> {styles.infix(answer, brackets=True)} </answer>")
    legal = sorted(styles.leaves(answer)) == sorted(plan.numbers)
    solved = legal and styles.value(answer) == plan.target
    return {
        "style": style.name,
        "verifier": "countdown",
        "gold": str(plan.target),
        "meta": json.dumps({"numbers": plan.numbers}),
        "prefill": "<think>" if opened else "",
        "verdict": "correct" if solved else "wrong",
        "guess": guess,
        "counts": counts,
        **page.labels(),
    }


def _judged(attempt: Attempt, plan: Plan) -> dict[str, Any]:
    return {
        "status": attempt.status,
        "right": attempt.status == "complete" and attempt.candidate.value == plan.target,
        "claimed": str(attempt.candidate.claimed),
        "expression": styles.infix(attempt.candidate.tree, brackets=True),
    }


def _attempt(
    rng: random.Random, page: Page, style: Style, plan: Plan, attempt: Attempt, index: int, counts: dict[str, int]
) -> int:
    """Write one attempt and its goal test; 1 if it counts as an attempt, 0 for an abandoned state."""
    candidate = attempt.candidate
    shown = Candidate(candidate.tree, candidate.steps[attempt.resumed :], candidate.value, candidate.claimed)
    written = style.write(shown)
    counts["slips"] += sum(step.slip for step in shown.steps)
    counts["resumed"] += attempt.resumed > 0
    if attempt.status == "left":
        rest = list(plan.numbers)
        for number in styles.leaves(candidate.tree):
            rest.remove(number)
        state = [int(candidate.value), *rest]
        counts["live_left" if solvable(state, Fraction(plan.target)) else "dead_left"] += 1
        page.write(written + ("" if style.plain else "."))
        return 0
    counts["duplicate_retries"] += attempt.duplicate
    page.attempt(written, candidate.value, **_judged(attempt, plan), repeat=False)
    if attempt.says is None:
        page.write("\n" if style.block else "" if style.plain else ".")
        return 1
    truth = candidate.value == plan.target
    if style.plain:
        said = f"target {plan.target} got {candidate.claimed} {'yes' if attempt.says else 'no'}"
        page.write(" ")
    else:
        said = styles.pick_phrase(rng, attempt.says, candidate.claimed, plan.target, false=attempt.false_test)
        page.write("\n" if style.block else rng.choice((". ", ".\n")))
    page.span(said, "goal_test", attempt=index, says=attempt.says, truth=truth)
    return 1


def _connect(rng: random.Random, page: Page, *, plain: bool) -> None:
    if plain:
        word = rng.choice(("wait", "try again"))
        page.write(" , ")
        page.span(word, "marker", reflective=True)
        page.write(" , " if word == "wait" else " : ")
        return
    page.write(rng.choice((" ", "\n", "\n\n")))
    if rng.random() < 0.6:
        phrase, after = rng.choice(styles.REFLECTIVE).split("|")
        page.span(phrase, "marker", reflective=True)
        page.write(after)
