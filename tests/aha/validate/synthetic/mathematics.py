"""Synthetic free-text mathematics: word problems with candidate answers, corrections and confirmations."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any, Final

from r1rl.tasks.countdown import apply
from tests.aha.validate.synthetic import styles
from tests.aha.validate.synthetic.page import Page

_NAMES: Final = ("Tom", "Ann", "Maria", "Sean", "Olga", "Bo")
_THINGS: Final = ("apples", "marbles", "books", "stickers", "eggs", "pens")
# Ways to commit to a number; {v}: the number, {n}: a name, {t}: a thing.
COMMITS: Final = (
    *(
        "So the answer is {v}.",
        "The answer is {v}.",
        "Therefore, the answer is ${v}$.",
        "Answer: {v}",
        "Thus \\boxed{{{v}}}.",
    ),
    *("So we get \\boxed{{{v}}}.", "That gives {v} {t}.", "So {n} has {v} {t}.", "Therefore {n} has {v} {t} in total."),
    *("So there are {v} {t}.", "The final answer is **{v}**.", "The result is {v}.", "Hence, {v} {t}."),
)
_CORRECTIONS: Final = (
    "Wait|, I used the wrong operation. ",
    "Hmm|, that is too simple. ",
    "Let me check that again|. ",
    "Actually, let me reconsider|. ",
    "Hold on|. ",
    "I made a mistake|. ",
    "Let me try again|. ",
)
_CONFIRMED: Final = ("Yes", "That is right", "Correct", "Right")
_CONFIRMATIONS: Final = ("Let me double-check|. ", "Let me check that again|. ", "Let me verify this again|. ")


def trace(rng: random.Random) -> dict[str, Any]:
    """One trace. A candidate is a worked line, its closing statement included; confirming it makes a repeat."""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    a, b, c = (rng.randint(2, 60) for _ in range(3))
    gold = _line(rng, a, b, c)[-1][3]
    while gold <= 0 or gold.denominator != 1:
        a, b, c = (rng.randint(2, 60) for _ in range(3))
        gold = _line(rng, a, b, c)[-1][3]
    page = Page("<think> ")
    page.write(rng.choice(("", f"{name} starts with {a} {thing}. ", "Let's see. ", f"We need the number of {thing}. ")))
    if rng.random() < 0.2:
        page.unreflective(rng.choice(styles.UNREFLECTIVE))
    count = rng.choice((1, 1, 2, 2, 3))
    value = None
    for number in range(count):
        if number:
            phrase, after = rng.choice(_CORRECTIONS).split("|")
            page.span(phrase, "marker", reflective=True)
            page.write(after)
        wanted = gold if rng.random() < 0.5 else None
        # A bare number said twice could be a restatement; with its working it is a second go.
        again = value is not None and value == wanted
        value = _candidate(rng, page, name, thing, wanted, slip=rng.random() < 0.15, bare=not again)
        page.spans[-1]["right"] = value == gold
        if rng.random() < 0.2:
            phrase, after = rng.choice(_CONFIRMATIONS).split("|")
            page.span(phrase, "marker", reflective=True)
            page.write(after)
            right = value == gold
            page.span(rng.choice(_CONFIRMED), "goal_test", attempt=number, says=True, truth=right)
            page.write(": " if rng.random() < 0.3 else ", ")
            page.attempt(f"the answer is {styles.text(value)}", value, right=right, repeat=True)
            page.write(". ")
    assert value is not None
    page.write(f"</think> <answer> {styles.text(value)} </answer>")
    return {
        "style": "math",
        "verifier": "math",
        "gold": str(gold),
        "meta": "{}",
        "prefill": "",
        "verdict": "correct" if value == gold else "wrong",
        "guess": None,
        "counts": {"slips": sum(span["type"] == "slip" for span in page.spans)},
        **page.labels(),
    }


def _line(rng: random.Random, a: int, b: int, c: int) -> list[tuple[str, Fraction, Fraction, Fraction]]:
    """One or two operations, each on the result before it."""
    steps, left = [], Fraction(a)
    for right in (b, c)[: rng.choice((1, 2))]:
        operator = rng.choice("+-*")
        made = apply(operator, left, Fraction(right))
        assert made is not None
        steps.append((operator, left, Fraction(right), made))
        left = made
    return steps


def _candidate(
    rng: random.Random, page: Page, name: str, thing: str, wanted: Fraction | None, *, slip: bool, bare: bool
) -> Fraction:
    """Write one candidate: working, statement, or both, as one attempt span. Returns the number it commits to."""
    while True:
        steps = _line(rng, *(rng.randint(2, 60) for _ in range(3)))
        if wanted is not None:  # the last operation of the line makes the wanted number
            before = rng.randint(1, 60)
            steps = [("+" if wanted >= before else "-", Fraction(before), abs(wanted - before), wanted)]
        if all(step[3] >= 0 for step in steps) and len({step[3] for step in steps}) == len(steps):
            break
    value = steps[-1][3]
    said = value + rng.choice((-10, -1, 1, 10)) if slip and wanted is None else value
    if said < 0:
        said = value
    signs = rng.choice((styles.ASCII, styles.ASCII, styles.UNICODE))
    lines = [
        f"{styles.text(left)} {signs[operator]} {styles.text(right)} = "
        + styles.text(said if number == len(steps) else made)
        for number, (operator, left, right, made) in enumerate(steps, 1)
    ]
    unit = rng.choice(("", f" {thing}"))
    form = rng.choice(("both", "both", "working", "statement") if bare else ("both", "working"))
    commit = rng.choice(COMMITS).format(v=styles.text(said), n=name, t=thing)
    if form == "statement":
        page.attempt(commit, said, right=False, repeat=False)
        page.write(" ")
        return said
    for line in lines[:-1]:
        page.write(f"{line}{unit}. ")
    start = len(page.text)
    written = f"{lines[-1]}{unit}." + (f" {commit}" if form == "both" else "")
    if said != value:
        page.spans.append({"type": "slip", "start": start, "end": start + len(lines[-1])})
    page.attempt(written, said, right=False, repeat=False, **({"stated": False} if form == "working" else {}))
    page.write(" ")
    return said
