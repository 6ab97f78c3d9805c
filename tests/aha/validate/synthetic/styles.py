r"""Surface styles of synthetic Countdown traces: many ways to write one worked expression, and what is said around it.

Nothing here knows the detectors. A style writes a `Candidate`, whose tree, true value and claimed values are settled
before it is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from r1rl.tasks.countdown import apply

Tree: TypeAlias = "Fraction | tuple[str, Tree, Tree]"
"""A number, or (operator, left, right)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One worked operation; `left` and `right` are as claimed before, `claimed` what the text says it makes."""

    operator: str
    left: Fraction
    right: Fraction
    claimed: Fraction

    @property
    def slip(self) -> bool:
        return apply(self.operator, self.left, self.right) != self.claimed


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expression with its working, operands before the operation that needs them."""

    tree: Tree
    steps: tuple[Step, ...]
    value: Fraction
    claimed: Fraction


def value(tree: Tree) -> Fraction | None:
    """The exact value, None where it divides by zero."""
    if isinstance(tree, Fraction):
        return tree
    left, right = value(tree[1]), value(tree[2])
    return None if left is None or right is None else apply(tree[0], left, right)


def leaves(tree: Tree) -> list[int]:
    """The numbers, left to right."""
    return [int(tree)] if isinstance(tree, Fraction) else [*leaves(tree[1]), *leaves(tree[2])]


def replace_leaf(tree: Tree, place: int, number: int) -> Tree:
    """The same tree with another number at leaf `place`, counted from the left."""
    if isinstance(tree, Fraction):
        return Fraction(number) if place == 0 else tree
    left = len(leaves(tree[1]))
    if place < left:
        return tree[0], replace_leaf(tree[1], place, number), tree[2]
    return tree[0], tree[1], replace_leaf(tree[2], place - left, number)


def work(tree: Tree, slip_at: int = -1, by: int = 0) -> Candidate | None:
    """`tree` with its steps; step `slip_at` claims `by` too much. None for a division by zero."""
    steps: list[Step] = []

    def go(node: Tree) -> Fraction | None:
        if isinstance(node, Fraction):
            return node
        left, right = go(node[1]), go(node[2])
        if left is None or right is None:
            return None
        made = apply(node[0], left, right)
        if made is None:
            return None
        claimed = made + by if len(steps) == slip_at else made
        steps.append(Step(node[0], left, right, claimed))
        return claimed

    claimed, true = go(tree), value(tree)
    return None if claimed is None or true is None else Candidate(tree, tuple(steps), true, claimed)


def linear(tree: Tree) -> bool:
    """Whether each step goes on from the result before it, on the left."""
    while not isinstance(tree, Fraction):
        if not isinstance(tree[2], Fraction):
            return False
        tree = tree[1]
    return True


def text(number: Fraction, *, operand: bool = False) -> str:
    """`22`, `3.5`, `22/3`; a negative operand in brackets."""
    shown = str(float(number)) if number.denominator in (2, 4) else str(number)
    return f"({shown})" if operand and number < 0 else shown


ASCII: Final = {sign: sign for sign in "+-*/"}
UNICODE: Final = {"+": "+", "-": "−", "*": "×", "/": "÷"}
DOT: Final = {"+": "+", "-": "-", "*": "·", "/": "/"}
LATEX: Final = {"+": "+", "-": "-", "*": r"\times", "/": r"\div"}
WORDS: Final = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_RANK: Final = {"+": 1, "-": 1, "*": 2, "/": 2}


def infix(tree: Tree, signs: dict[str, str] = ASCII, *, blank: str = " ", brackets: bool = False) -> str:
    """The tree in one line, with the brackets that it needs, or with all of them."""
    if isinstance(tree, Fraction):
        return text(tree, operand=True)
    operator = tree[0]

    def side(node: Tree, right: bool) -> str:
        shown = infix(node, signs, blank=blank, brackets=brackets)
        if isinstance(node, Fraction):
            return shown
        needed = _RANK[node[0]] < _RANK[operator] or (right and _RANK[node[0]] == _RANK[operator])
        return f"({shown})" if brackets or needed else shown

    return f"{side(tree[1], False)}{blank}{signs[operator]}{blank}{side(tree[2], True)}"


def _fractions(tree: Tree) -> str:
    # A division at the top of a LaTeX expression is a \frac, as models write it.
    if not isinstance(tree, Fraction) and tree[0] == "/":
        return rf"\frac{{{infix(tree[1], LATEX)}}}{{{infix(tree[2], LATEX)}}}"
    return infix(tree, LATEX)


def _equation(step: Step, signs: dict[str, str] = ASCII, blank: str = " ", equals: str = " = ") -> str:
    left, right = text(step.left, operand=True), text(step.right, operand=True)
    return f"{left}{blank}{signs[step.operator]}{blank}{right}{equals}{text(step.claimed)}"


def _chain(between: str, signs: dict[str, str] = ASCII, **how: str) -> Callable[[Candidate], str]:
    return lambda candidate: between.join(_equation(step, signs, **how) for step in candidate.steps)


def _reductions(candidate: Candidate) -> str:
    """(3 * 5) + 7 = 15 + 7 = 22: one operation worked out at a time, those inside first."""
    shown, node = [infix(candidate.tree)], candidate.tree
    for step in candidate.steps:
        node, _ = _work_out(node, step.claimed)
        shown.append(infix(node) if not isinstance(node, Fraction) else text(node))
    return " = ".join(shown)


def _work_out(node: Tree, made: Fraction) -> tuple[Tree, bool]:
    if isinstance(node, Fraction):
        return node, False
    left, done = _work_out(node[1], made)
    if done:
        return (node[0], left, node[2]), True
    right, done = _work_out(node[2], made)
    return ((node[0], node[1], right), True) if done else (made, True)


def _prose(candidate: Candidate) -> str:
    """3 times 5 is 15, plus 7 makes 22."""
    first, *rest = candidate.steps
    said = f"{text(first.left)} {WORDS[first.operator]} {text(first.right)} is {text(first.claimed)}"
    return said + "".join(f", {WORDS[s.operator]} {text(s.right)} makes {text(s.claimed)}" for s in rest)


def _running(candidate: Candidate) -> str:
    """3*5=15+7=22: the equals sign as people misuse it."""
    first, *rest = candidate.steps
    said = _equation(first, blank="", equals="=")
    return said + "".join(f"{s.operator}{text(s.right)}={text(s.claimed)}" for s in rest)


def _numbered(candidate: Candidate) -> str:
    return "\n".join(f"{i}. {_equation(step)}" for i, step in enumerate(candidate.steps, 1))


def _named_steps(candidate: Candidate) -> str:
    return "\n".join(f"Step {i}: {_equation(step, UNICODE)}" for i, step in enumerate(candidate.steps, 1))


def _markdown(candidate: Candidate) -> str:
    return "\n".join(f"- **{_equation(step)}**" for step in candidate.steps)


def _monologue(candidate: Candidate) -> str:
    first, *rest = (_equation(step) for step in candidate.steps)
    return f"If I take {first}" + "".join(f", then {equation}" for equation in rest)


@dataclass(frozen=True, slots=True)
class Style:
    """One way to write a candidate.

    `chained`: it shows intermediate results, so that a step may slip; `linear`: only trees that go on from the last
    result; `block`: it starts on a line of its own; `plain`: whole non-negative numbers and the tiny base's phrases.
    """

    name: str
    write: Callable[[Candidate], str]
    chained: bool = True
    linear: bool = False
    block: bool = False
    plain: bool = False


def _boxed_latex(candidate: Candidate) -> str:
    return f"${_fractions(candidate.tree)} = {text(candidate.claimed)}$"


def _latex_chain(candidate: Candidate) -> str:
    return "\n".join(rf"\[ {_equation(step, LATEX)} \]" for step in candidate.steps)


STYLES: Final = (
    Style("tiny", _chain(" , "), plain=True),
    Style("infix", lambda c: f"{infix(c.tree)} = {text(c.claimed)}", chained=False),
    Style("brackets", lambda c: f"{infix(c.tree, blank='', brackets=True)}={text(c.claimed)}", chained=False),
    Style("chain", _chain(", ")),
    Style("latex", _boxed_latex, chained=False),
    Style("latex-chain", _latex_chain, block=True),
    Style("unicode", lambda c: f"{infix(c.tree, UNICODE)} = {text(c.claimed)}", chained=False),
    Style("unicode-chain", _chain("; ", DOT)),
    Style("prose", _prose, linear=True),
    Style("reversed", lambda c: f"{text(c.claimed)} = {infix(c.tree)}", chained=False),
    Style("running", _running, linear=True),
    Style("reductions", _reductions),
    Style("numbered", _numbered, block=True),
    Style("steps", _named_steps, block=True),
    Style("markdown", _markdown, block=True),
    Style("monologue", _monologue),
    Style("which-is", lambda c: f"{infix(c.tree)}, which is {text(c.claimed)}", chained=False),
)

# What a goal test may say; v: claimed value, t: target, d: their distance. The first character of a key: when it fits
# (> value above, < below, = any miss). The last list of each says no number, so it can also be said wrongly.
MISSED: Final = {
    "=": (
        *("That's {v}, not {t}.", "{v} is not {t}.", "That is not {t}.", "Not {t}.", "That doesn't give {t}."),
        *("{v} ≠ {t}.", "{v} != {t}.", "Off by {d}.", "Close, but not {t}.", "We need {t}, not {v}.", "Still not {t}."),
        *("This gives {v} instead of {t}.", "But the target is {t}.", "That isn't equal to {t}."),
    ),
    ">": (
        "Too high.",
        "That's too big.",
        "That is more than {t}.",
        "{v} is {d} more than {t}.",
        "That overshoots {t}.",
    ),
    "<": ("Too low.", "That's too small.", "That is less than {t}.", "{v} is {d} less than {t}.", "Not enough."),
}
MISSED_FREE: Final = ("No.", "That doesn't work.", "No, that isn't the target.", "This misses the target.", "❌")
HIT: Final = (
    *("That's {t}!", "Yes, that's {t}.", "That equals {t}.", "Exactly {t}.", "We reached {t}.", "Perfect, {t}."),
    *("We got {t}.", "{v} = {t}, yes.", "This gives {t}, as required."),
)
HIT_FREE: Final = ("Yes!", "That works!", "Correct.", "✓", "This matches the target.", "That hits the target.")

# Phrases that announce second thoughts, with what follows them; the span is what stands before the bar.
REFLECTIVE: Final = (
    *("Wait|, ", "Wait|. ", "Hmm|, ", "Hmm|... ", "Hold on|. ", "Let me try again|. ", "Let me try again|: "),
    *("Let me try a different combination|. ", "Let me check that again|. ", "Let me double-check|. "),
    *(
        "Actually, let me reconsider|. ",
        "I made a mistake|. ",
        "Let me start over|. ",
        "Oops|. ",
        "Let me rethink this|. ",
    ),
    *("On second thought|, ", "Let me go over the steps again|. ", "Let's try another approach|. ", "Alternatively|, "),
    *("Let me re-evaluate|. ", "There must be an error somewhere|. ", "Let me verify this again|. "),
)
# The same words where nobody has second thoughts.
UNREFLECTIVE: Final = (
    *("I await the result with interest.", "You have to wait for the bus, then the numbers are read out."),
    *("Check out these numbers.", "The waiter brought the bill.", "There are many ways, but each number is used once."),
    *("However large the numbers are, the rules stay.", "The error bars of a poll are another matter."),
    *(
        "The checkout is on the left.",
        "One may evaluate products first.",
        "The wrong side of the road is the left one here.",
    ),
    *("The game was invented by mistake, they say.", "The target is given, but the order is free."),
    *("Tickets can be bought online or, alternatively, at the door.", "A verifier will look at the answer."),
)
NEUTRAL: Final = ("", "", "Next: ", "Try ", "Maybe ", "Another one: ", "Then there is ", "How about ")


def pick_phrase(rng: random.Random, says: bool, claimed: Fraction, target: int, *, false: bool) -> str:
    """A goal test's wording; `false`: it says the opposite of what the claimed value shows."""
    if says:
        phrase = rng.choice(HIT_FREE if false else (*HIT, *HIT_FREE))
    elif false:
        phrase = rng.choice(MISSED_FREE)
    else:
        phrase = rng.choice((*MISSED["="], *MISSED[">" if claimed > target else "<"], *MISSED_FREE))
    return phrase.format(v=text(claimed), t=target, d=text(abs(claimed - target)))


def all_wordings() -> Iterator[str]:
    """Every goal test wording, unfilled."""
    yield from (*HIT, *HIT_FREE, *MISSED_FREE, *(phrase for phrases in MISSED.values() for phrase in phrases))
