"""What an answer is: a number with its unit, a list, an interval, a matrix, an equation, a time or a ratio."""

from dataclasses import dataclass

from r1rl.verify.math import units
from r1rl.verify.math.formula import Node, number


@dataclass(frozen=True)
class Quantity:
    """A formula and the unit behind it; `digits` is the text of a plain decimal."""

    node: Node
    unit: units.Read | None = None
    digits: str = ""


@dataclass(frozen=True)
class Several:
    """Values in any order: a list, a set, or the union of intervals."""

    items: "tuple[Value, ...]"
    union: bool = False


@dataclass(frozen=True)
class Span:
    """A point, tuple or interval, with its brackets; `name` is the unknown of the inequality that it was."""

    opening: str
    items: "tuple[Value, ...]"
    closing: str
    name: str = ""


@dataclass(frozen=True)
class Matrix:
    rows: "tuple[tuple[Value, ...], ...]"


@dataclass(frozen=True)
class Named:
    """`x = 5`, `f(x) = 2x + 1`, `m + n = 5`: a value and what it is of. `node` is None where the name is no formula."""

    name: str
    node: Node | None
    value: "Value"


@dataclass(frozen=True)
class Relation:
    """`node` is 0 (`=`), is not 0 (`!=`), is below 0 (`<`) or at most 0 (`<=`)."""

    sign: str
    node: Node


@dataclass(frozen=True)
class Clock:
    hours: int
    minutes: int
    half: str  # "am", "pm" or ""


@dataclass(frozen=True)
class Ratio:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Based:
    digits: str
    base: int


@dataclass(frozen=True)
class Congruent:
    """What is `node` modulo `modulus`; `name` is "" where that is not said."""

    name: str
    node: Node
    modulus: int


@dataclass(frozen=True)
class Dots:
    """Members that are left out."""


Value = Quantity | Several | Span | Matrix | Named | Relation | Clock | Ratio | Based | Congruent | Dots


def minus(left: Node, right: Node) -> Node:
    """The difference of two formulas."""
    return Node("sum", (left, Node("product", (number(-1), right))))
