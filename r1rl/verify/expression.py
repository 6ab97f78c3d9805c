r"""Arithmetic expressions of a model: tokens, tree, exact value, normal form. No `eval`, no recursion.

The text is one expression over `+ - * / ( )`. Also read: the unicode signs for minus, times, dot and
division, `\times \cdot \div`, `\frac{a}{b}`, a wrapping `\boxed{}`, `$...$`, `\(...\)` or `\[...\]`, a
trailing or leading `22 =`; square brackets and braces group, `x` between numbers is a sign, Markdown and LaTeX's
spacing are left out. Not an expression: exponents, `//`, juxtaposition such as `(3)(5)`, decimals, leading zeros,
digits that are not ASCII, and a sign before a number (a given number is used as it is; -3 was not given).

Text is hostile: length, tokens and digits are bounded before any work, and every walk keeps its own stack, so
deep nesting costs memory in proportion to its length and no Python frames.
"""

import operator
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from r1rl.verify.extraction import MATH_WRAPPERS, unwrap
from r1rl.verify.verdict import quote

MAX_CHARS = 500
MAX_TOKENS = 200
MAX_DIGITS = 12
"""Limits on one answer: characters, tokens, digits of one number."""

Operator = Literal["+", "-", "*", "/"]


class ExpressionError(ValueError):
    """The text is not an expression; the message says why, in at most 200 printable characters."""


@dataclass(frozen=True, slots=True)
class Number:
    """A leaf: a non-negative integer."""

    value: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An inner node: `left operator right`."""

    operator: Operator
    left: "Expression"
    right: "Expression"


Expression = Number | Operation

_SIGNS = {sign: sign for sign in "+-*/()="}
_SIGNS |= {
    "\u2212": "-",  # minus sign
    "\u00d7": "*",  # multiplication sign
    "\u00b7": "*",  # middle dot
    "\u22c5": "*",  # dot operator, what \cdot is typeset as
    "\u00f7": "/",  # division sign
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
}
_SIZED_BRACKETS = {"\\left": "(", "\\right": ")"}
_FRACTIONS = ("\\frac", "\\dfrac", "\\tfrac")
# a number, two signs that mean something else than each alone, a command, any other sign
_PIECE = re.compile(r"[0-9]+|\*\*|//|\\[a-zA-Z]+|.", re.DOTALL)
_BRACE = re.compile(r"[ \t\r\n]*\{")
_SPACES = " \t\r\n"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_COMPUTE = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def _not_an_expression(why: str) -> ExpressionError:
    return ExpressionError(f"not an expression: {why}")


def tokenise(text: str, *, max_chars: int = MAX_CHARS, max_tokens: int = MAX_TOKENS) -> list[str]:
    r"""The numbers and signs of an expression: `\times` becomes `*`, `\frac{a}{b}` becomes `((a)/(b))`.

    Raises `ExpressionError` at the first character that belongs to no token, and beyond a limit.
    """
    if len(text) > max_chars:
        raise ExpressionError(f"too long: {len(text)} characters, at most {max_chars}")
    tokens: list[str] = []
    open_brackets: list[str] = []  # what each is: "(", or the "numerator" or "denominator" of a \frac
    position = 0

    def after_brace() -> int:
        if not (brace := _BRACE.match(text, position)):
            raise _not_an_expression("\\frac needs {...}{...}")
        return brace.end()

    while found := _PIECE.match(text, position):
        piece, position = found.group(), found.end()
        inside = open_brackets[-1] if open_brackets else ""
        if piece in _SPACES:
            continue
        if "0" <= piece[0] <= "9":
            if len(piece) > MAX_DIGITS:
                raise ExpressionError(f"number too long: {len(piece)} digits, at most {MAX_DIGITS}")
            if len(piece) > 1 and piece[0] == "0":
                raise _not_an_expression(f"leading zero in {quote(piece)}")
            tokens.append(piece)
        elif piece in _SIGNS:
            tokens.append(_SIGNS[piece])
            if piece == "(":
                open_brackets.append("(")
            elif piece == ")" and (not open_brackets or open_brackets.pop() != "("):
                raise _not_an_expression("')' without '('")
        elif piece in _FRACTIONS:
            position = after_brace()
            tokens += "(("
            open_brackets.append("numerator")
        elif piece == "}" and inside == "numerator":
            position = after_brace()
            tokens += ")/("
            open_brackets[-1] = "denominator"
        elif piece == "}" and inside == "denominator":
            tokens += "))"
            open_brackets.pop()
        elif piece not in _SIZED_BRACKETS or not text.startswith(_SIZED_BRACKETS[piece], position):
            raise _not_an_expression(f"unexpected {quote(piece)}")
        if len(tokens) > max_tokens:
            raise ExpressionError(f"too long: more than {max_tokens} tokens")
    if open_brackets:
        raise _not_an_expression(f"{'(' if open_brackets[-1] == '(' else 'frac'} is not closed")
    return tokens


def build(tokens: list[str]) -> Expression:
    """The tree of one expression whose brackets match, by shunting-yard (iterative). Raises `ExpressionError`."""
    operands: list[Expression] = []
    pending: list[str] = []
    want_operand = True

    def reduce(least: int) -> None:
        """Build the pending operations of at least this precedence, back to the last open bracket."""
        while pending and pending[-1] != "(" and _PRECEDENCE[pending[-1]] >= least:
            right, left = operands.pop(), operands.pop()
            operands.append(Operation(pending.pop(), left, right))  # type: ignore[arg-type]

    for token in tokens:
        if token == "=":
            raise _not_an_expression("unexpected '='")
        if want_operand:
            if token.isdecimal():
                operands.append(Number(int(token)))
                want_operand = False
            elif token == "(":
                pending.append("(")
            elif token in "+-":
                raise ExpressionError(f"unary '{token}': only + - * / between the given numbers")
            else:
                raise _not_an_expression(f"unexpected {quote(token)}")
        elif token in _PRECEDENCE:
            reduce(_PRECEDENCE[token])
            pending.append(token)
            want_operand = True
        elif token == ")":
            reduce(0)
            pending.pop()
        else:
            raise _not_an_expression(f"no operator before {quote(token)}")
    if want_operand:
        raise _not_an_expression("ends too early" if tokens else "empty")
    reduce(0)
    return operands[0]


def parse(text: str, *, max_chars: int = MAX_CHARS, max_tokens: int = MAX_TOKENS) -> Expression:
    """The expression tree of `text`, wrappers allowed, no `=`. Raises `ExpressionError`."""
    return build(tokenise(_inside(text, max_chars), max_chars=max_chars, max_tokens=max_tokens))


def parse_equation(text: str) -> tuple[Expression, Fraction | None]:
    """`expression` or `expression = value`; the claimed value is None if none is written.

    Only a plain value may follow the `=`: `22`, `-3`, `7/2`, `3.5`. Steps, "3*5 = 15, 15+7 = 22", are the expression
    that they make. Raises `ExpressionError`.
    """
    text = plain(text)
    steps = _STEPS.split(text) if len(text) <= MAX_CHARS else []
    whole = len(steps) > 1 and all("=" in step for step in steps)
    return _joined(steps) if whole else _one_equation(text)


def _joined(steps: list[str]) -> tuple[Expression, Fraction | None]:
    """The expression that steps make: a result stands for its step the first time that it is used."""
    results: dict[int, Expression] = {}
    for step in steps:
        tree, claim = _one_equation(step)
        done: list[Expression] = []
        for node in postorder(tree):
            if isinstance(node, Operation):
                right, left = done.pop(), done.pop()
                done.append(Operation(node.operator, left, right))
            else:
                done.append(results.pop(node.value, node))
        if claim is None or evaluate(done[0]) != claim:
            raise _not_an_expression(f"the step {quote(step.strip())} does not hold")
        if claim.denominator == 1:
            results[int(claim)] = done[0]
    return done[0], claim


def _one_equation(text: str) -> tuple[Expression, Fraction | None]:
    left, *claims = _EQUALS.split(_inside(text, MAX_CHARS))
    if len(claims) > 1:
        raise _not_an_expression("more than one '='")
    if claims and plain_value(left) is not None and plain_value(claims[0]) is None:
        left, claims = claims[0], [left]  # "22 = 3*5 + 7"
    tree = parse(left)
    if not claims:
        return tree, None
    claim = plain_value(claims[0])
    if claim is None:
        shown = quote(claims[0].strip(_SPACES)) if claims[0].strip(_SPACES) else "nothing"
        raise _not_an_expression(f"no plain value after '=', but {shown}")
    return tree, claim


_EQUALS = re.compile("->|==?|\u2192|\u21d2|\\\\(?:to|rightarrow|Rightarrow)(?![A-Za-z])")
_STEPS = re.compile(r"[,;\n]")
_MARKS = (
    *MATH_WRAPPERS,
    ("```", "```"),
    ("**", "**"),
    ("`", "`"),
    ("\\mathbf{", "}"),
    ("\\text{", "}"),
    ("\\boldsymbol{", "}"),
)
_ANNOUNCED = re.compile(
    r"(?:the )?(?:final )?(?:answer|expression|solution)(?: is\b)?\s*[:=]?\s*(?=[0-9(\[{\\$`*])", re.IGNORECASE
)
_LAYOUT = re.compile(r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])")
_LETTER_TIMES = re.compile(r"(?<=[0-9)\]}])(?<!\b0)\s*[xX]\s*(?=[0-9(\[{])")
_GROUPED = str.maketrans({"[": "(", "]": ")", "{": "(", "}": ")", "\u2217": "*"})


def plain(text: str) -> str:
    """An expression as a model hands it in, without Markdown, announcement, full stop and layout."""
    if len(text) > MAX_CHARS:
        return text
    text = unwrap(_ANNOUNCED.sub("", text.strip(), count=1), _MARKS, _without_full_stop)
    text = _LETTER_TIMES.sub("*", _LAYOUT.sub(" ", text))
    return text if "\\" in text else text.translate(_GROUPED)  # the braces of commands stay


def _without_full_stop(text: str) -> str:
    text = text.strip(_SPACES)
    text = text.rstrip("\u2713\u2714\u2705 ")
    return text[:-1].rstrip(_SPACES) if text.endswith((".", ";")) else text


def _inside(text: str, max_chars: int) -> str:
    if len(text) > max_chars:  # before any copy of it is made
        raise ExpressionError(f"too long: {len(text)} characters, at most {max_chars}")
    return unwrap(text, MATH_WRAPPERS, lambda layer: layer.strip(_SPACES))


_D = f"([0-9]{{1,{MAX_DIGITS}}})"
_PLAIN_VALUE = re.compile(rf"(-?){_D}(?:/{_D}|\.{_D})?")


def plain_value(text: str) -> Fraction | None:
    """The value of `22`, `-3`, `7/2` or `3.5`, None for anything else."""
    found = _PLAIN_VALUE.fullmatch(text.replace("\u2212", "-").strip(_SPACES))
    if not found or (found[3] and not int(found[3])):
        return None
    return Fraction(found[0])


def postorder(tree: Expression) -> Iterator[Expression]:
    """Every node, children before parents, left before right; iterative."""
    stack, nodes = [tree], []
    while stack:
        node = stack.pop()
        nodes.append(node)
        if isinstance(node, Operation):
            stack += (node.left, node.right)
    return reversed(nodes)


def evaluate(tree: Expression) -> Fraction:
    """The exact value. Raises `ZeroDivisionError`."""
    values: list[Fraction] = []
    for node in postorder(tree):
        if isinstance(node, Number):
            values.append(Fraction(node.value))
        else:
            right, left = values.pop(), values.pop()
            values.append(_COMPUTE[node.operator](left, right))
    return values[0]


def numbers_used(tree: Expression) -> Counter[int]:
    """How often each number stands in the expression."""
    return Counter(node.value for node in postorder(tree) if isinstance(node, Number))


# A number, or a flattened sum (added, subtracted) or product (multiplied, divided), of rendered parts.
_Terms: TypeAlias = "tuple[Literal['number', 'sum', 'product'], list[str], list[str]]"


def canonical(tree: Expression) -> str:
    """A normal form under commutativity and associativity: `7+5*3` and `(3*5)+7` give the same string.

    Also `a-(b-c)` = `a+c-b` and `a/(b/c)` = `a*c/b`. Nothing is evaluated, so `2+2` and `2*2` differ. Two
    trees with equal forms have equal values where both can be evaluated (`a/(b/0)` cannot, its form can).
    """
    done: list[_Terms] = []
    for node in postorder(tree):
        if isinstance(node, Number):
            done.append(("number", [str(node.value)], []))
            continue
        kind: Literal["sum", "product"] = "sum" if node.operator in "+-" else "product"
        _, more, less = _as_terms_of(kind, done.pop())
        _, first, second = _as_terms_of(kind, done.pop())
        if node.operator in "-/":
            more, less = less, more
        done.append((kind, first + more, second + less))
    return _render(done[0])


def _as_terms_of(kind: str, terms: _Terms) -> _Terms:
    """The terms themselves if they are of this kind, else one part that holds them all."""
    if terms[0] in (kind, "number"):
        return terms
    return "number", [f"({_render(terms)})" if terms[0] == "sum" else _render(terms)], []


def _render(terms: _Terms) -> str:
    kind, first, second = terms
    up, down = ("+", "-") if kind == "sum" else ("*", "/")
    first, second = (sorted(parts, key=lambda part: (len(part), part)) for parts in (first, second))
    return up.join(first) + down + down.join(second) if second else up.join(first)
