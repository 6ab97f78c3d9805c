r"""Arithmetic expressions of a model: tokens, tree, exact value, normal form. No `eval`, no recursion.

The text is one expression over `+ - * / ( )`. Also read: the unicode signs for minus, times, dot and
division, `\times \cdot \div`, `\frac{a}{b}`, a wrapping `\boxed{}`, `$...$`, `\(...\)` or `\[...\]`, a
trailing `= 22`. Not an expression: exponents, `//`, juxtaposition such as `(3)(5)`, decimals, leading zeros,
digits that are not ASCII, and a sign before a number (a given number is used as it is; -3 was not given).

Text is hostile: length, tokens and digits are bounded before any work, and every walk keeps its own stack, so
deep nesting costs memory in proportion to its length and no Python frames.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from r1rl.verify.verdict import quote

MAX_CHARS = 500
MAX_TOKENS = 200
MAX_DIGITS = 12
"""Limits on one answer: characters, tokens, digits of one number."""

Operator = Literal["+", "-", "*", "/"]
TokenKind = Literal["number", "operator", "open", "close", "equals"]


class ExpressionError(ValueError):
    """The text is not an expression; the message says why, in at most 200 printable characters."""


class Token(NamedTuple):
    """One token; `text` is normalised (`\\times` becomes `*`), `start` and `end` index the source text."""

    kind: TokenKind
    text: str
    start: int
    end: int


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

_SYMBOLS: dict[str, tuple[TokenKind, str]] = {
    "+": ("operator", "+"),
    "-": ("operator", "-"),
    "*": ("operator", "*"),
    "/": ("operator", "/"),
    "\u2212": ("operator", "-"),  # minus sign
    "\u00d7": ("operator", "*"),  # multiplication sign
    "\u00b7": ("operator", "*"),  # middle dot
    "\u22c5": ("operator", "*"),  # dot operator, what \cdot is typeset as
    "\u00f7": ("operator", "/"),  # division sign
    "(": ("open", "("),
    ")": ("close", ")"),
    "=": ("equals", "="),
}
_COMMANDS: dict[str, tuple[TokenKind, str]] = {
    "\\times": ("operator", "*"),
    "\\cdot": ("operator", "*"),
    "\\div": ("operator", "/"),
}
_SIZED_BRACKETS = {"\\left": "(", "\\right": ")"}
_FRACTIONS = ("\\frac", "\\dfrac", "\\tfrac")
_FORBIDDEN_PAIRS = ("**", "//")  # each alone is an operator, so name the pair
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_DIGITS = re.compile(r"[0-9]+")
_SPACES = " \t\r\n"
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}"))
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def _unexpected(text: str) -> ExpressionError:
    return ExpressionError(f"not an expression: unexpected {quote(text)}")


def unwrap(text: str) -> tuple[str, int]:
    r"""Strip white space and `\boxed{}`, `$...$`, `\(...\)`, `\[...\]` around the whole text.

    Returns what is inside and its offset in `text`.
    """
    start, end = 0, len(text)
    for _ in range(4):  # "$ \boxed{...} $" needs three; never loop over hostile text
        while start < end and text[start] in _SPACES:
            start += 1
        while end > start and text[end - 1] in _SPACES:
            end -= 1
        for opening, closing in _WRAPPERS:
            fits = end - start >= len(opening) + len(closing)
            if fits and text.startswith(opening, start) and text.endswith(closing, start, end):
                start, end = start + len(opening), end - len(closing)
                break
        else:
            break
    return text[start:end], start


def tokenise(text: str, *, max_chars: int = MAX_CHARS, max_tokens: int = MAX_TOKENS) -> list[Token]:
    r"""Tokens of an expression or equation, with `\frac{a}{b}` rewritten to `((a)/(b))`.

    Raises `ExpressionError` at the first character that belongs to no token, and beyond a limit.
    """
    if len(text) > max_chars:
        raise ExpressionError(f"too long: {len(text)} characters, at most {max_chars}")
    tokens: list[Token] = []
    braces: list[str] = []  # what each open bracket is: "(", or the numerator / denominator of a \frac
    position = 0

    def emit(kind: TokenKind, symbol: str, start: int, end: int) -> None:
        if len(tokens) >= max_tokens:
            raise ExpressionError(f"too long: more than {max_tokens} tokens")
        tokens.append(Token(kind, symbol, start, end))

    def expect_brace(start: int) -> int:
        while start < len(text) and text[start] in _SPACES:
            start += 1
        if not text.startswith("{", start):
            raise ExpressionError("not an expression: \\frac needs {...}{...}")
        return start + 1

    while position < len(text):
        char, start = text[position], position
        if char in _SPACES:
            position += 1
        elif number := _DIGITS.match(text, position):
            position = number.end()
            digits = number.group()
            if len(digits) > MAX_DIGITS:
                raise ExpressionError(f"number too long: {len(digits)} digits, at most {MAX_DIGITS}")
            if len(digits) > 1 and digits[0] == "0":
                raise ExpressionError(f"not an expression: leading zero in {quote(digits)}")
            emit("number", digits, start, position)
        elif text[position : position + 2] in _FORBIDDEN_PAIRS:
            raise _unexpected(text[position : position + 2])
        elif char in _SYMBOLS:
            position += 1
            kind, symbol = _SYMBOLS[char]
            emit(kind, symbol, start, position)
            if kind == "open":
                braces.append("(")
            elif kind == "close" and (not braces or braces.pop() != "("):
                raise ExpressionError("not an expression: ')' without '('")
        elif command := _COMMAND.match(text, position):
            position = command.end()
            name = command.group()
            if name in _FRACTIONS:
                position = expect_brace(position)
                emit("open", "(", start, position)
                emit("open", "(", start, position)
                braces.append("numerator")
            elif name in _COMMANDS:
                emit(*_COMMANDS[name], start, position)
            elif name in _SIZED_BRACKETS:
                if not text.startswith(_SIZED_BRACKETS[name], position):
                    raise _unexpected(name)
            else:
                raise _unexpected(name)
        elif char == "}" and braces and braces[-1] == "numerator":
            braces[-1] = "denominator"
            position = expect_brace(position + 1)
            emit("close", ")", start, position)
            emit("operator", "/", start, position)
            emit("open", "(", start, position)
        elif char == "}" and braces and braces[-1] == "denominator":
            braces.pop()
            position += 1
            emit("close", ")", start, position)
            emit("close", ")", start, position)
        else:
            raise _unexpected(char)
    if braces:
        raise ExpressionError(f"not an expression: {'(' if braces[-1] == '(' else 'frac'} is not closed")
    return tokens


def build(tokens: list[Token]) -> Expression:
    """The tree of one expression, by shunting-yard (iterative). Raises `ExpressionError`."""
    operands: list[Expression] = []
    pending: list[str] = []
    want_operand = True

    def reduce() -> None:
        operator = pending.pop()
        right, left = operands.pop(), operands.pop()
        operands.append(Operation(operator, left, right))  # type: ignore[arg-type]

    for token in tokens:
        if token.kind == "equals":
            raise _unexpected("=")
        if want_operand:
            if token.kind == "number":
                operands.append(Number(int(token.text)))
                want_operand = False
            elif token.kind == "open":
                pending.append("(")
            elif token.kind == "operator" and token.text in "+-":
                raise ExpressionError(f"unary '{token.text}': only + - * / between the given numbers")
            else:
                raise _unexpected(token.text)
        elif token.kind == "operator":
            while pending and pending[-1] != "(" and _PRECEDENCE[pending[-1]] >= _PRECEDENCE[token.text]:
                reduce()
            pending.append(token.text)
            want_operand = True
        elif token.kind == "close":
            while pending and pending[-1] != "(":
                reduce()
            if not pending:
                raise ExpressionError("not an expression: ')' without '('")
            pending.pop()
        else:
            raise ExpressionError(f"not an expression: no operator before {quote(token.text)}")
    if want_operand:
        raise ExpressionError(f"not an expression: {'ends too early' if tokens else 'empty'}")
    while pending:
        if pending[-1] == "(":
            raise ExpressionError("not an expression: ( is not closed")
        reduce()
    return operands[0]


def parse(text: str, *, max_chars: int = MAX_CHARS, max_tokens: int = MAX_TOKENS) -> Expression:
    """The expression tree of `text`, wrappers allowed, no `=`. Raises `ExpressionError`."""
    if len(text) > max_chars:  # before unwrap copies it
        raise ExpressionError(f"too long: {len(text)} characters, at most {max_chars}")
    return build(tokenise(unwrap(text)[0], max_chars=max_chars, max_tokens=max_tokens))


def parse_equation(text: str) -> tuple[Expression, Fraction | None]:
    """`expression` or `expression = value`; the claimed value is None if none is written.

    Only a plain value may follow the `=`: `22`, `-3`, `7/2`, `3.5`. Raises `ExpressionError`.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"too long: {len(text)} characters, at most {MAX_CHARS}")
    left, *claims = unwrap(text)[0].split("=")
    if len(claims) > 1:
        raise ExpressionError("not an expression: more than one '='")
    tree = parse(left)
    if not claims:
        return tree, None
    claim = plain_value(claims[0])
    if claim is None:
        shown = quote(claims[0].strip(_SPACES)) if claims[0].strip(_SPACES) else "nothing"
        raise ExpressionError(f"not an expression: no plain value after '=', but {shown}")
    return tree, claim


_D = f"([0-9]{{1,{MAX_DIGITS}}})"
_PLAIN_VALUE = re.compile(rf"(-?){_D}(?:/{_D}|\.{_D})?")


def plain_value(text: str) -> Fraction | None:
    """The value of `22`, `-3`, `7/2` or `3.5`, None for anything else."""
    found = _PLAIN_VALUE.fullmatch(text.replace("\u2212", "-").strip(_SPACES))
    if not found or (found[3] and not int(found[3])):
        return None
    size = Fraction(f"{found[2]}.{found[4]}") if found[4] else Fraction(int(found[2]), int(found[3] or 1))
    return -size if found[1] else size


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
            continue
        right, left = values.pop(), values.pop()
        if node.operator == "+":
            values.append(left + right)
        elif node.operator == "-":
            values.append(left - right)
        elif node.operator == "*":
            values.append(left * right)
        else:
            values.append(left / right)
    return values[0]


def numbers_used(tree: Expression) -> Counter[int]:
    """How often each number stands in the expression."""
    return Counter(node.value for node in postorder(tree) if isinstance(node, Number))


# A number, or a flattened sum (added, subtracted) or product (multiplied, divided), of rendered parts.
Terms: TypeAlias = "tuple[Literal['number', 'sum', 'product'], list[str], list[str]]"


def render(terms: Terms) -> str:
    """The normal form of a flattened tree, see `canonical`."""
    kind, first, second = terms
    up, down = ("+", "-") if kind == "sum" else ("*", "/")
    for parts in (first, second):
        if len(parts) > 1:
            parts.sort()
            parts.sort(key=len)
    return up.join(first) + down + down.join(second) if second else up.join(first)


def canonical(tree: Expression) -> str:
    """A normal form under commutativity and associativity: `7+5*3` and `(3*5)+7` give the same string.

    Also `a-(b-c)` = `a+c-b` and `a/(b/c)` = `a*c/b`. Nothing is evaluated, so `2+2` and `2*2` differ. Two
    trees with equal forms have equal values where both can be evaluated (`a/(b/0)` cannot, its form can).
    """
    return render(flatten(tree))


def flatten(tree: Expression) -> Terms:
    """A tree's terms; `render` makes the normal form of them."""
    done: list[Terms] = []
    for node in postorder(tree):
        if isinstance(node, Number):
            done.append(("number", [str(node.value)], []))
            continue
        right, left = done.pop(), done.pop()
        done.append(joined(node.operator, left, right))
    return done[0]


def joined(operator: Operator, left: Terms, right: Terms) -> Terms:
    """The terms of an operation, of those of its two sides."""
    kind: Literal["sum", "product"] = "sum" if operator in "+-" else "product"
    _, first, second = left if left[0] in (kind, "number") else _as_part(left)
    _, more, less = right if right[0] in (kind, "number") else _as_part(right)
    if operator in "-/":
        more, less = less, more
    return kind, first + more, second + less


def _as_part(terms: Terms) -> Terms:
    rendered = render(terms)
    return "number", [f"({rendered})" if terms[0] == "sum" else rendered], []
