"""Countdown: is the answer an expression that uses every given number exactly once and hits the target?"""

from collections import Counter
from fractions import Fraction
from typing import Any

from r1rl.verify.expression import (
    Expression,
    ExpressionError,
    Number,
    Operation,
    Token,
    build,
    canonical,
    evaluate,
    numbers_used,
    parse,
    parse_equation,
    plain_value,
    postorder,
    tokenise,
    unwrap,
)
from r1rl.verify.verdict import Verdict, clip, quote

__all__ = [
    "Expression",
    "ExpressionError",
    "Number",
    "Operation",
    "Token",
    "build",
    "canonical",
    "evaluate",
    "misuse",
    "numbers_used",
    "parse",
    "parse_equation",
    "plain_value",
    "postorder",
    "tokenise",
    "unwrap",
    "value_text",
    "verify",
]


def value_text(value: Fraction) -> str:
    """`22` or `7/2`, cut to a verdict's length."""
    return clip(str(value))


def misuse(tree: Expression, numbers: list[int]) -> str:
    """Why the expression does not use every given number exactly once, "" if it does."""
    used, given = numbers_used(tree), Counter(numbers)
    for number in used:
        if number not in given:
            return f"uses {number}, which is not given"
    for number, times in used.items():
        if times > given[number]:
            often = "twice" if times == 2 else f"{times} times, given {given[number]}"
            return f"uses {number} {often}"
    for number, times in given.items():
        if used[number] < times:
            return f"leaves out {number}" if not used[number] else f"leaves out one {number}"
    return ""


def _gold(gold: Any, meta: Any) -> tuple[Fraction, list[int]] | str:
    """Target and numbers, or why they cannot be used."""
    target = plain_value(gold) if isinstance(gold, str) else None
    if target is None:
        return f"gold is not a number: {quote(str(gold))}"
    numbers = meta.get("numbers") if isinstance(meta, dict) else None
    if not isinstance(numbers, (list, tuple)) or not numbers:
        return "meta has no list 'numbers'"
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers):
        return "meta 'numbers' holds something else than non-negative integers"
    return target, list(numbers)


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one Countdown answer against the target `gold`; `meta` is {"numbers": [3, 5, 7]}.

    Every number must be used exactly once; intermediate results may be negative or fractions. `value` is the
    true value. Never raises on any text.
    """
    task = _gold(gold, meta)
    if isinstance(task, str):
        return Verdict("bad_gold", None, clip(task))
    target, numbers = task
    if not isinstance(answer, str):
        return Verdict("unparseable", None, "no answer")
    try:
        tree, claim = parse_equation(answer)
    except ExpressionError as error:
        return Verdict("unparseable", None, clip(str(error)))
    try:
        value = evaluate(tree)
    except ZeroDivisionError:
        return Verdict("wrong", None, misuse(tree, numbers) or "division by zero")
    reason = misuse(tree, numbers)
    if not reason and claim is not None and claim != value:
        reason = f"claims {value_text(claim)}, but the value is {value_text(value)}"
    if not reason and value != target:
        reason = f"value {value_text(value)} is not {value_text(target)}"
    return Verdict("wrong" if reason else "correct", value_text(value), clip(reason))
