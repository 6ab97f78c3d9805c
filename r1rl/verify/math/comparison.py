r"""Whether an answer is the gold value, by the type of both.

Not symmetric: an answer may name what gold does not (`x = 5` for 5), add a known unit or leave gold's out.
"""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

from r1rl.verify.math import evaluation, units
from r1rl.verify.math.formula import KNOWN, Node, number, symbols
from r1rl.verify.math.values import (
    Based,
    Clock,
    Congruent,
    Dots,
    Matrix,
    Named,
    Quantity,
    Ratio,
    Relation,
    Several,
    Span,
    Value,
    minus,
)  # fmt: skip

ROUNDED_DIGITS: Final = 6
"""A decimal of at least so many digits stands for a number that it is the rounding of: 0.333333 for 1/3."""


def same(answer: Value, gold: Value) -> bool:
    """Whether the answer is the gold value."""
    if isinstance(gold, Named) and isinstance(answer, Span) and answer.name not in ("", gold.name):
        return False  # an inequality of another unknown
    answer, gold = _alike(answer, gold)
    if isinstance(gold, Several):
        return isinstance(answer, Several) and _same_several(answer, gold)
    if isinstance(gold, Named):
        return _same_named(answer, gold)
    if isinstance(gold, Congruent):
        return _same_residue(answer, gold)
    if isinstance(answer, Congruent):
        named = re.fullmatch(r"[A-Za-z]?", answer.name) is not None
        return named and isinstance(gold, Quantity) and evaluation.same(answer.node, gold.node)
    if isinstance(answer, Named):
        return _value_told(answer, gold)
    if isinstance(gold, Ratio):
        return _same_ratio(answer, gold)
    return type(answer) is type(gold) and _BY_TYPE[type(gold)](answer, gold)


def _alike(answer: Value, gold: Value) -> tuple[Value, Value]:
    """Both in one form, where one thing is written in two: coordinates by name, a vector as a point, a list of one."""
    if (point := _point(answer)) and isinstance(gold, Span):
        answer = point
    if isinstance(answer, Named) and not isinstance(answer.value, Quantity) and not isinstance(gold, Named):
        answer = answer.value
    if (point := _point(gold)) and isinstance(answer, Span | Named):
        answer, gold = _point(answer) or answer, point
    if isinstance(answer, Span) and isinstance(gold, Several) and _is_python_list(answer):
        answer = Several(answer.items)
    if isinstance(answer, Span) and isinstance(gold, Matrix):
        answer = _column(answer)
    if isinstance(answer, Matrix) and isinstance(gold, Span):
        gold = _column(gold)
    if isinstance(answer, Several) and len(answer.items) == 1 and not isinstance(gold, Several):
        answer = answer.items[0]
    if isinstance(gold, Several) and len(gold.items) == 1 and not isinstance(answer, Several):
        gold = gold.items[0]
    return answer, gold


def _point(value: Value) -> Span | None:
    """`x = 3, y = -4` and `(x, y) = (3, -4)` as the point (3, -4), its coordinates in the order of their names."""
    names: list[str] = []
    if isinstance(value, Several):
        named = [item for item in value.items if isinstance(item, Named) and item.node is not None]
        names = [item.name for item in named]
        items = [item.value for item in named]
        if len(names) != len(value.items):
            return None
    elif isinstance(value, Named) and isinstance(value.value, Span) and value.name.startswith("("):
        names, items = value.name[1:-1].split(","), list(value.value.items)
    if len(names) < 2 or len(set(names)) != len(names) or len(names) != len(items):
        return None
    if not all(re.fullmatch("[A-Za-z]", name) for name in names):
        return None
    order = sorted(range(len(names)), key=names.__getitem__)
    return Span("(", tuple(items[index] for index in order), ")", ",".join(names[index] for index in order))


def _is_python_list(span: Span) -> bool:
    """Whether it is no interval: `[1, 3, 5]`, `[(1, 2), (3, 4)]`."""
    square = (span.opening, span.closing) == ("[", "]")
    return square and (len(span.items) > 2 or any(isinstance(item, Span) for item in span.items))


def _column(point: Span) -> Value:
    """A point as the vector that it is written for."""
    return Matrix(tuple((item,) for item in point.items)) if (point.opening, point.closing) == ("(", ")") else point


def _same_several(answer: Several, gold: Several) -> bool:
    inequalities = any(isinstance(item, Span) and item.name for item in (*answer.items, *gold.items))
    if answer.union != gold.union and not inequalities:
        return False
    names = {item.name for item in gold.items if isinstance(item, Named)}
    unnamed = not any(isinstance(item, Named) for item in answer.items)
    dots = any(isinstance(item, Dots) for item in gold.items)
    if dots or (len(names) > 1 and unnamed):  # the order tells which is which
        pairs = zip(answer.items, gold.items, strict=False)
        return len(answer.items) == len(gold.items) and all(same(*pair) for pair in pairs)
    return _matched(answer.items, gold.items)


def _matched(answers: Sequence[Value], golds: Sequence[Value]) -> bool:
    """Whether the answers are the golds in some order, each once."""
    if len(answers) != len(golds):
        return False
    open_answers = list(answers)
    for gold in golds:
        hit = next((index for index, answer in enumerate(open_answers) if same(answer, gold)), None)
        if hit is None:
            return False
        del open_answers[hit]
    return True


def _same_named(answer: Value, gold: Named) -> bool:
    constant = not isinstance(gold.value, Quantity) or not symbols(gold.value.node)
    if isinstance(answer, Named):
        names = [re.sub(r"_\{?[0-9]\}?$", "", each.name) for each in (answer, gold)]
        same_name = names[0] == names[1] or _function_names(*names)
        if same_name and same(answer.value, gold.value):
            return True
        if same_name and _same_family(answer.value, gold.value):
            return True
    stands_alone = constant or (gold.node is not None and gold.node.kind == "call")
    if stands_alone and is_name(gold) and not isinstance(answer, Named | Relation):
        return same(answer, gold.value)
    given, wanted = _as_relation(answer), _as_relation(gold)
    return given is not None and wanted is not None and _same_relation(given, wanted)


def _function_names(left: str, right: str) -> bool:
    """Whether `y` and `f(x)` stand for one another."""
    return (left == "y" and re.fullmatch(r"[fgFhp]\(x\)", right) is not None) or (
        right == "y" and re.fullmatch(r"[fgFhp]\(x\)", left) is not None
    )


def is_name(named: Named) -> bool:
    """Whether what a value is of is a name, not a formula in which it could be hidden: `2x = 12` does not say 12."""
    node = named.node
    return (
        node is None
        or re.fullmatch(r"[A-Za-z]\([^()]*\)", named.name) is not None
        or node.kind == "symbol"
        or (node.kind == "call" and node.name not in KNOWN)
    )


def _value_told(answer: Named, gold: Value) -> bool:
    """Whether `x = 5`, `m + n = 5` says the gold value 5."""
    if isinstance(gold, Relation):
        given = _as_relation(answer)
        return given is not None and _same_relation(given, gold)
    if isinstance(answer.value, Quantity) and symbols(answer.value.node):
        if not is_name(answer) or not isinstance(gold, Quantity) or gold.node.kind == "symbol":
            return False
        if answer.node is not None and answer.node.kind == "symbol" and answer.node.name in symbols(gold.node):
            return False  # "y = x" does not say y
    elif not is_name(answer) and not _is_asked_for(answer):
        return False  # an equation to solve, or of a curve
    return same(answer.value, gold)


def _is_asked_for(named: Named) -> bool:
    """Whether what a value is of is what a question asks for, `m + n` or `|AB|`, and no equation: `2x + y = 0`."""
    names = symbols(named.node) if named.node is not None else frozenset()
    if named.node is None or len(names) < 2 or _holds_factor(named.node):
        return False
    if {"x", "y"} <= names and "^" in named.name:
        return False  # a curve
    return not isinstance(named.value, Quantity) or not evaluation.is_zero(named.value.node)


def _holds_factor(node: Node) -> bool:
    """Whether a formula holds a number other than a sign or an exponent."""
    if node.kind == "number":
        return node.value != -1
    args = node.args[:1] if node.kind == "power" else node.args
    return node.name != "root" and any(_holds_factor(each) for each in args)


def _as_relation(value: Value) -> Relation | None:
    if isinstance(value, Relation):
        return value
    if (
        isinstance(value, Named)
        and value.node is not None
        and isinstance(value.value, Quantity)
        and value.value.unit is None
    ):
        return Relation("=", minus(value.node, value.value.node))
    return None


def _same_relation(answer: Relation, gold: Relation) -> bool:
    if answer.sign != gold.sign:
        return False
    factor = evaluation.proportional(answer.node, gold.node)
    if factor is None:
        return False
    return answer.sign in ("=", "!=") or evaluation.is_positive(factor)


def _same_family(answer: Value, gold: Value) -> bool:
    """Whether the two differ in the name of an arbitrary constant: `y = Ce^x` and `y = Ae^x`."""
    if not (isinstance(answer, Quantity) and isinstance(gold, Quantity)):
        return False
    theirs, ours = symbols(gold.node) - symbols(answer.node), symbols(answer.node) - symbols(gold.node)
    if len(theirs) != 1 or len(ours) != 1:
        return False
    (wanted,), (given,) = theirs, ours
    others = symbols(gold.node) - theirs
    if wanted not in _CONSTANTS or given not in _RENAMED or not others or not others <= _ARGUMENTS:
        return False
    return evaluation.same(_renamed(answer.node, given, wanted), gold.node)


def same_family(answer: Value, gold: Value, parameter: str) -> bool:
    """Whether the two are the same but for the letter of an integer: `k\\pi` and `n\\pi`."""
    answer = answer.value if isinstance(answer, Named) else answer
    if not (isinstance(answer, Quantity) and isinstance(gold, Quantity)):
        return False
    ours = symbols(answer.node) - symbols(gold.node)
    if symbols(gold.node) - symbols(answer.node) != {parameter} or len(ours) != 1 or not ours <= _INTEGERS:
        return False
    return evaluation.same(_renamed(answer.node, next(iter(ours)), parameter), gold.node)


_INTEGERS: Final = frozenset("knmltz")
_ARGUMENTS: Final = frozenset({"x", "t", "y", "u", "z", "s", "theta"})
_CONSTANTS: Final = frozenset({"C", "C_1", "c_1", "c"})
_RENAMED: Final = _CONSTANTS | {"c", "k", "K", "A", "B", "D"}


def _renamed(node: Node, old: str, new: str) -> Node:
    if node.kind == "symbol" and node.name == old:
        return node._replace(name=new)
    return node._replace(args=tuple(_renamed(each, old, new) for each in node.args))


def _same_residue(answer: Value, gold: Congruent) -> bool:
    name = ""
    if isinstance(answer, Named):
        name, answer = answer.name, answer.value
    if isinstance(answer, Congruent):
        name = answer.name
        if answer.modulus != gold.modulus or (name and gold.name and name != gold.name):
            return False
        return _congruent(answer.node, gold.node, gold.modulus)
    if name and gold.name and name != gold.name:
        return False
    if not isinstance(answer, Quantity):
        return False
    names = symbols(answer.node)
    if not names:
        return not gold.name and evaluation.same(answer.node, gold.node)
    if len(names) != 1:
        return False
    values = evaluation.whole_values(answer.node, next(iter(names)), (0, 1, 2, 5))
    wanted = evaluation.whole_values(gold.node, "", (0,))
    if values is None or wanted is None or abs(values[1] - values[0]) != gold.modulus:
        return False
    return all((value - wanted[0]) % gold.modulus == 0 for value in values) and values[3] - values[0] == 5 * (
        values[1] - values[0]
    )


def _congruent(left: Node, right: Node, modulus: int) -> bool:
    values = [evaluation.whole_values(node, "", (0,)) for node in (left, right)]
    if values[0] is None or values[1] is None:
        return evaluation.same(left, right)
    return (values[0][0] - values[1][0]) % modulus == 0


def _same_ratio(answer: Value, gold: Ratio) -> bool:
    if isinstance(answer, Quantity) and len(gold.parts) == 2 and answer.unit is None:
        return evaluation.same(answer.node, Node("quotient", gold.parts))
    if not isinstance(answer, Ratio) or len(answer.parts) != len(gold.parts):
        return False
    if any(evaluation.is_zero(part) for part in answer.parts) != any(evaluation.is_zero(part) for part in gold.parts):
        return False
    first = [Node("product", (answer.parts[0], part)) for part in gold.parts[1:]]
    second = [Node("product", (gold.parts[0], part)) for part in answer.parts[1:]]
    return all(evaluation.same(left, right) for left, right in zip(first, second, strict=True))


def same_quantity(answer: Quantity, gold: Quantity) -> bool:
    return any(_equal(*pair) for pair in _comparable(answer, gold))


def _comparable(answer: Quantity, gold: Quantity) -> Iterable[tuple[Quantity, Quantity]]:
    """The pairs of plain formulas of which one must be equal, by the units of both."""
    ours, theirs = answer.unit, gold.unit
    if ours == theirs or ((ours is None or theirs is None) and units.PERCENT not in (ours, theirs)):
        holds_pi = "pi" in _names(answer.node) | _names(gold.node)
        if ours == theirs or not (holds_pi and units.DEGREES in (ours, theirs)):
            yield answer, gold
    if ours == theirs:
        return
    percents = [unit == units.PERCENT for unit in (ours, theirs)]
    if any(percents):
        if ours is None or theirs is None:
            yield answer, gold
            share = Fraction(1, 100)
            yield (_scaled(answer, share), gold) if percents[0] else (answer, _scaled(gold, share))
        return
    degrees = [unit == units.DEGREES for unit in (ours, theirs)]
    if any(degrees):
        others = [unit for unit in (ours, theirs) if unit != units.DEGREES]
        turned = [_in_radians(each) if degree else each for each, degree in zip((answer, gold), degrees, strict=True)]
        other = turned[degrees.index(False)]
        radians = others[0] is not None and others[0].bases == (("angle", 1),)
        if radians or (others[0] is None and "pi" in _names(other.node)):
            yield turned[0], turned[1]
        return
    if (
        ours is not None
        and theirs is not None
        and not ours.counted
        and not theirs.counted
        and ours.bases == theirs.bases
    ):
        yield _scaled(answer, ours.size), _scaled(gold, theirs.size)


def _names(node: Node) -> set[str]:
    found, waiting = set(), [node]
    while waiting:
        each = waiting.pop()
        found.add(each.name)
        waiting += each.args
    return found


def _scaled(quantity: Quantity, factor: Fraction) -> Quantity:
    return Quantity(Node("product", (number(factor), quantity.node)))


def _in_radians(quantity: Quantity) -> Quantity:
    return Quantity(Node("degrees", (quantity.node,)))


def _equal(answer: Quantity, gold: Quantity) -> bool:
    if symbols(answer.node) and not symbols(gold.node) and evaluation.is_zero(gold.node):
        return False  # "0 dozen" is as good as no answer
    if evaluation.same(answer.node, gold.node):
        return True
    if bool(answer.digits) == bool(gold.digits):
        return False
    return about(answer, gold, least_digits=ROUNDED_DIGITS)


def about(one: Quantity, other: Quantity, least_digits: int = 1) -> bool:
    """Whether one of the two is a decimal that the other is rounded or cut to."""
    decimal, exact = (one, other) if one.digits else (other, one)
    text = decimal.digits.replace(" ", "").lstrip("+-")
    places = len(text.partition(".")[2])
    if not decimal.digits or symbols(exact.node) or len(text.replace(".", "").lstrip("0")) < least_digits:
        return not decimal.digits and evaluation.same(one.node, other.node)
    return evaluation.rounds_to(exact.node, decimal.node, places)


def _same_span(answer: Span, gold: Span) -> bool:
    if (answer.opening, answer.closing) != (gold.opening, gold.closing) or len(answer.items) != len(gold.items):
        return False
    if answer.name and gold.name and answer.name != gold.name:
        return False
    if (answer.name or gold.name) and "," not in answer.name + gold.name and not _is_interval(gold):
        return False
    return all(same(*pair) for pair in zip(answer.items, gold.items, strict=True))


def _is_interval(span: Span) -> bool:
    """Whether a pair of brackets can be an interval: its ends are in order."""
    ends = [item.node if isinstance(item, Quantity) else None for item in span.items]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return False
    return not evaluation.is_above(ends[0], ends[1])


def _same_matrix(answer: Matrix, gold: Matrix) -> bool:
    if [len(row) for row in answer.rows] != [len(row) for row in gold.rows]:
        return False
    pairs = zip([cell for row in answer.rows for cell in row], [cell for row in gold.rows for cell in row], strict=True)
    return all(same(*pair) for pair in pairs)


def _same_clock(answer: Clock, gold: Clock) -> bool:
    half = not answer.half or not gold.half or answer.half == gold.half
    return half and (answer.hours, answer.minutes) == (gold.hours, gold.minutes)


_BY_TYPE: Final[dict[type, Any]] = {
    Quantity: lambda answer, gold: same_quantity(answer, gold) or _same_sum_family(answer, gold),
    Span: _same_span, Matrix: _same_matrix, Clock: _same_clock, Relation: _same_relation,
    Based: lambda answer, gold: answer == gold, Dots: lambda answer, gold: True,
}  # fmt: skip


def _same_sum_family(answer: Quantity, gold: Quantity) -> bool:
    """`x^2 + C` and `x^2 + K`."""
    terms = gold.node.args if gold.node.kind == "sum" else ()
    return any(term.kind == "symbol" and term.name in _CONSTANTS for term in terms) and _same_family(answer, gold)


def is_residue(node: Node, modulus: int) -> bool:
    """Whether a number is one that is left by a division."""
    values = evaluation.whole_values(node, "", (0,))
    return values is not None and 0 <= values[0] < modulus
