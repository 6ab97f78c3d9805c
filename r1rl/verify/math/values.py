r"""What an answer is: a number with its unit, a list, an interval, a matrix, an equation, a time, words; and when two
of a kind are the same.

`read` gives the typed value of a text, `same` compares two. Nothing of the text is left out: what is not understood
raises `UnreadableError`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from r1rl.verify.math import evaluation, units
from r1rl.verify.math.evaluation import UndefinedError
from r1rl.verify.math.formula import KNOWN, Node, UnreadableError, number, parse, symbols
from r1rl.verify.math.notation import DOLLAR, OR

MAX_ITEMS: Final = 64
ROUNDED_DIGITS: Final = 6
"""A decimal of at least so many digits stands for a number that it is the rounding of: 0.333333 for 1/3."""


@dataclass(frozen=True)
class Quantity:
    """A formula and the unit behind it; `digits` is the text of a plain decimal."""

    node: Node
    unit: units.Read | None = None
    digits: str = ""


@dataclass(frozen=True)
class Several:
    """Values in any order: a list, a set, a union."""

    items: "tuple[Value, ...]"


@dataclass(frozen=True)
class Span:
    """A point, tuple or interval, with its brackets."""

    opening: str
    items: "tuple[Value, ...]"
    closing: str


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


# --- reading

_SEPARATOR: Final = re.compile(rf"[,;{OR}]")
_STRONG: Final = re.compile(rf"[;{OR}]")
_COMMA: Final = re.compile(",")
_UNION: Final = re.compile(r"\\cup(?![A-Za-z])")
_BAR: Final = re.compile(r"\||:")
_SIGN: Final = re.compile(r"\\(?:le|ge|ne|in|approx|equiv)(?![A-Za-z])|<=|>=|!=|:=|==|[<>=]")
_ROW: Final = re.compile(r"\\\\(?:\s*\[[^\]]*\])?")
_CELL: Final = re.compile("&")
_CLOCK: Final = re.compile(
    r"([0-9]{1,2}):([0-9]{2})(?::00)?\s*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*(?:([apAP])\s*\.?\s*[mM]\s*\.?)?\s*\}?"
)
_CLOCK_WORD: Final = re.compile(r"([0-9]{1,2})\s*(?:\\text\s*\{)?\s*o'clock\s*\}?")
_TEXT: Final = re.compile(r"\\(?:text|textrm|mbox|mathrm|textnormal)\s*\{([^{}]*)\}")
_BASED: Final = re.compile(r"(?:\\(?:text|mathrm)\s*\{\s*)?\(?([0-9A-Fa-f]+)\s*\}?\s*\)?\s*_\s*\{?\s*([0-9]{1,2})\s*\}?")
_BASED_WORD: Final = re.compile(r"([0-9A-F]+)\s*_?\{?\s*(?:\\text\s*\{)?\s*\(?\s*(?:in )?base\s*(?:\})?\s*([0-9]{1,2})\s*\)?\s*\}?\s*\}?")
_MODULO: Final = re.compile(r"(.+?)\s*,?\s*\(?\s*(?:\\mod|mod|modulo)\s*\{?\s*([0-9]{1,6})\s*\}?\s*\)?")
_MATRIX: Final = re.compile(
    r"\(?\[?\s*\\begin\s*\{([pbvBV]?matrix|array|smallmatrix)\}\s*(?:\{[lcr| ]*\})?(.*)\\end\s*\{\1\}\s*\)?\]?", re.DOTALL
)
_REALS: Final = re.compile(r"\\mathbb\s*\{?R\}?|\\text\s*\{\s*(?:all )?reals?(?: numbers?)?\s*\}|all real(?: number)?s")
_OPEN, _CLOSE = "([{⟨", ")]}⟩"


def _split(text: str, at: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The parts of `text` between what `at` finds outside of brackets, and what it found."""
    parts, found, start, depth, position = [], [], 0, 0, 0
    while position < len(text):
        char = text[position]
        if depth == 0 and (match := at.match(text, position)):
            parts.append(text[start:position].strip())
            found.append(match[0])
            position = start = match.end()
            continue
        if char == "\\" and position + 1 < len(text) and text[position + 1] in "\\,;:! ":
            position += 2
            continue
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth < 0:
            raise UnreadableError("a bracket closes that is not open")
        position += 1
    if depth:
        raise UnreadableError("a bracket is not closed")
    return [*parts, text[start:].strip()], found


def read(text: str, *, letters: bool = False) -> Value:
    """The value of normalised `text`. `letters`: a single letter behind a number may be a unit: "5 m".

    Raises `UnreadableError`.
    """
    return _Reader(letters).whole(text.replace("\\langle", "⟨").replace("\\rangle", "⟩").strip())


class _Reader:
    def __init__(self, letters: bool) -> None:
        self.letters = letters

    def whole(self, text: str) -> Value:
        for special in (_clock, _based, _ratio, self._congruence):
            if (value := special(text)) is not None:
                return value
        groups = [group for group in _split(text, _STRONG)[0] if group]
        parts = [[item for item in _split(group, _COMMA)[0] if item] for group in groups]
        if len(parts) > 1 and all(len(items) > 1 for items in parts) and all("=" in i for items in parts for i in items):
            return Several(tuple(self._list(items) for items in parts))
        items = [item for group in parts for item in group]
        if not items:
            raise UnreadableError("it is empty")
        return self._list(items)

    def _list(self, items: Sequence[str]) -> Value:
        if len(items) > MAX_ITEMS:
            raise UnreadableError(f"more than {MAX_ITEMS} values")
        found: list[Value] = []
        for item in items:
            value = self.item(item)
            before = found[-1] if found else None
            if isinstance(value, Quantity) and isinstance(before, Named) and before.node is not None:
                value = replace(before, value=value)  # "x = 1, 2"
            if isinstance(value, Quantity) and isinstance(before, Relation) and before.sign == "!=" and len(symbols(before.node)) == 1:
                value = Relation("!=", _minus(Node("symbol", name=next(iter(symbols(before.node)))), value.node))
            found += value.items if isinstance(value, Several) and "\\{" not in item else [value]
        return found[0] if len(found) == 1 else Several(tuple(found))

    def item(self, text: str) -> Value:
        """One value, which may be a set."""
        if re.fullmatch(r"\\ldots|\.\.\.|…", text):
            return Dots()
        if _REALS.fullmatch(text):
            return Quantity(Node("symbol", name="mathbb R"))
        if text in ("\\emptyset", "\\{ \\}", "\\{\\}"):
            return Several(())
        if (inside := _inside(text, "\\{", "\\}")) is not None:
            return self._set(inside)
        if "\\pm" in text or "\\mp" in text:
            plus, minus = (
                re.sub(r"\\mp(?![A-Za-z])", other, re.sub(r"\\pm(?![A-Za-z])", sign, text))
                for sign, other in (("+", "-"), ("-", "+"))
            )
            return Several((self.item(plus), self.item(minus)))
        parts, signs = _split(text, _SIGN)
        if signs:
            return self._chain(parts, [sign.strip("\\") for sign in signs])
        parts, _ = _split(text, _UNION)
        if len(parts) > 1:
            return Several(tuple(self.item(part) for part in parts))
        if found := _MATRIX.fullmatch(text):
            rows = [_split(row, _CELL)[0] for row in _split(found[2].strip(), _ROW)[0] if row]
            return self._matrix(rows)
        return self._bracketed(text) or self.quantity(text)

    def _set(self, inside: str) -> Value:
        parts, _ = _split(inside, _BAR)
        if len(parts) == 2 and re.fullmatch(r"[A-Za-z]|\\[a-z]+|[A-Za-z]\s*\\in\s*\\mathbb\s*\{?[RZNQ]\}?", parts[0]):
            return self.whole(parts[1])
        if not inside.strip():
            return Several(())
        value = self.whole(inside)
        return value if isinstance(value, Several) else Several((value,))

    def _matrix(self, rows: Sequence[Sequence[str]]) -> Matrix:
        if len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > MAX_ITEMS:
            raise UnreadableError("a matrix of uneven rows")
        return Matrix(tuple(tuple(self.item(cell) for cell in row) for row in rows))

    def _bracketed(self, text: str) -> Value | None:
        transposed = re.fullmatch(r"(.*[)\]])\s*\^\s*\{?\s*(?:T|\\top)\s*\}?", text)
        inside = transposed[1].strip() if transposed else text
        if len(inside) < 2 or inside[0] not in "([⟨" or inside[-1] not in ")]⟩":
            return None
        if _closes_early(inside):
            return None
        parts, commas = _split(inside[1:-1], _COMMA)
        if not commas:
            return None
        if inside[0] == "[" and all(_inside(part, "[", "]") is not None for part in parts):
            return self._matrix([_split(part[1:-1], _COMMA)[0] for part in parts])
        if transposed or inside[0] == "⟨":
            return self._matrix([[part] for part in parts])
        return Span(inside[0], tuple(self.item(part) for part in parts), inside[-1])

    # --- chains of equations and inequalities

    def _chain(self, parts: list[str], signs: list[str]) -> Value:
        if not parts[0] and signs[0] in ("=", "approx") and len(parts) > 1:
            parts, signs = parts[1:], signs[1:]
        if not all(parts):
            raise UnreadableError("half of an equation")
        if not signs:
            return self.item(parts[0])
        signs = [{"==": "=", ":=": "=", "<=": "le", ">=": "ge", "!=": "ne"}.get(sign, sign) for sign in signs]
        if set(signs) <= {"<", ">", "le", "ge"}:
            return self._inequality([parse(part) for part in parts], signs)
        if signs == ["ne"]:
            left, right = (parse(part) for part in parts)
            return Relation("!=", _minus(left, right))
        if signs == ["in"]:
            if parts[1].startswith("\\mathbb"):
                return Named(_squeezed(parts[0]), None, self.item(parts[1]))
            return Named(_squeezed(parts[0]), None, self.item(parts[1]))
        if not set(signs) <= {"=", "approx", "equiv"}:
            raise UnreadableError("signs of several kinds")
        return self._equation(parts, signs)

    def _inequality(self, nodes: list[Node], signs: list[str]) -> Value:
        if len(nodes) == 3 and signs[0] in (">", "ge") and signs[1] in (">", "ge"):
            nodes, signs = nodes[::-1], [_FLIPPED[sign] for sign in reversed(signs)]
        if len(nodes) == 2 and signs[0] in (">", "ge"):
            nodes, signs = nodes[::-1], [_FLIPPED[signs[0]]]
        if set(signs) <= {"<", "le"} and len(nodes) <= 3:
            unknown = [index for index, node in enumerate(nodes) if symbols(node) - {"infty"}]
            if len(unknown) == 1 and nodes[unknown[0]].kind == "symbol" and (len(nodes) == 2 or unknown[0] == 1):
                return _interval(nodes, signs, unknown[0])
        pairs = []
        for left, right, sign in zip(nodes, nodes[1:], signs, strict=False):
            if sign in (">", "ge"):
                left, right = right, left
            pairs.append(Relation("<" if sign in ("<", ">") else "<=", _minus(left, right)))
        return pairs[0] if len(pairs) == 1 else Several(tuple(pairs))

    def _equation(self, parts: list[str], signs: list[str]) -> Value:
        *names, last = parts
        value = self.item(last)
        if not isinstance(value, Quantity):
            if len(names) != 1:
                raise UnreadableError("an equation of several parts")
            if isinstance(value, Named | Relation | Clock | Ratio | Dots):
                raise UnreadableError("an equation in an equation")
            return Named(_squeezed(names[0]), _tried(names[0]), value)
        quantities = [self.quantity(name) for name in names] + [value]
        constants = [index for index, each in enumerate(quantities) if not symbols(each.node)]
        if not constants:
            if len(quantities) > 2:
                raise UnreadableError("an equation of several parts")
            return Named(_squeezed(names[0]), quantities[0].node, value)
        told = quantities[constants[0]]
        for index in constants[1:]:
            about = "approx" in signs[constants[0] : index]
            if not (_about(quantities[index], told) if about else _same_quantity(quantities[index], told)):
                raise UnreadableError("an equation that does not hold")
        if len(constants) == len(quantities):
            return told
        unknown = next(index for index, each in enumerate(quantities) if symbols(each.node))
        return Named(_squeezed(parts[unknown]), quantities[unknown].node, told)

    def _congruence(self, text: str) -> Value | None:
        found = _MODULO.fullmatch(text)
        if found is None:
            return None
        left, sign, right = found[1].rpartition("\\equiv")
        if not sign:
            left, sign, right = found[1].rpartition("=")
        return Congruent(_squeezed(left) if sign else "", parse(right.strip(" (")), int(found[2]))

    # --- numbers and their units

    def quantity(self, text: str) -> Quantity:
        """A formula with the unit that may stand before or behind it."""
        if found := _CURRENCY.match(text):
            rest = text[found.end() :]
            value = _NUMBER.match(rest)
            tail = rest[value.end() :].strip() if value else ""
            if value and (not tail or _PER.fullmatch(tail)):
                return _quantity(found["sign"] + value[0], units.read(_CURRENCIES.get(found["mark"], found["mark"])))
            if not value and not tail and (node := _tried(rest)) is not None and not symbols(node):
                return Quantity(node, units.read(_CURRENCIES.get(found["mark"], found["mark"])))
        if (found := _DEGREES.fullmatch(text)) and not re.search(r"\\(?!frac|sqrt|pi|cdot|times)[A-Za-z]|[A-Za-z]{2}(?<!pi)", _bare(found[1])):
            return _quantity(found[1], units.DEGREES)
        if text.endswith("%") and "%" not in text[:-1]:
            return _quantity(text[:-1], units.PERCENT)
        if compound := self._compound(text):
            return compound
        if (found := _NUMBER.match(text)) and (rest := text[found.end() :]):
            unit = self._unit(found[0], rest)
            if unit is not None:
                return _quantity(found[0], unit)
        for start in (match.start() for match in _TEXT_COMMAND.finditer(text)):
            unit = units.read(text[start:])
            if unit is not None and start and (node := _tried(text[:start])) is not None:
                return _quantity(text[:start], unit) if node else Quantity(node, unit)
            tail = re.fullmatch(r"\s*\\(?:text|mathrm|mbox)\s*\{\s*([^{}]*)\}\s*", text[start:])
            if tail and start and re.search("[A-Za-z]{3}", tail[1]) and not tail[1].strip() in _KNOWN:
                raise UnreadableError(f"the words {tail[1].strip()[:30]!r} after the value")
        return _quantity(text, None)

    def _unit(self, value: str, rest: str) -> units.Read | None:
        """The unit in plain letters behind a plain number."""
        spaced = value.endswith(" ") or rest[0] == " "
        word = re.match(r"\s*([A-Za-z]+)", rest)
        if rest.lstrip().startswith("(") and (found := re.fullmatch(r"\s*\(([a-z -]+)\)", rest)):
            return units.read("units") if _NUMERALS.get(found[1].strip()) == value.strip() else None
        if word and not spaced and not units.glued(word[1]):
            return None
        if re.fullmatch(r"\s*[A-Za-z]", rest) and not (self.letters and spaced and re.fullmatch(r"[-+]?[0-9.]+\s*", value)):
            return None
        if not (word or rest.lstrip().startswith(("\\frac{", "\\text", "\\mathrm", "\\mbox", "\\operatorname", DOLLAR, "^", "%", "\\euro", "\\pounds", "\\rupee"))):
            return None
        if not self.letters and word and len(word[1]) == 1 and not re.search("[A-Za-z]{2}|/", rest):
            return None
        return units.read(rest)

    def _compound(self, text: str) -> Quantity | None:
        """ "5 ft 6 in" and "2 hours 30 minutes" as one quantity."""
        plain = _TEXT.sub(r" \1 ", text).replace("~", " ")
        if not re.fullmatch(r"(?:\s*[0-9.]+\s*[A-Za-z]{1,10}\s*,?){2,3}", plain):
            return None
        total, bases = Fraction(0), set()
        for value, word in re.findall(r"([0-9.]+)\s*([A-Za-z]+)", plain):
            unit = units.read(word)
            if unit is None or unit.counted or not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value):
                return None
            total += Fraction(value) * unit.size
            bases.add(unit.bases)
        if len(bases) != 1:
            return None
        return Quantity(number(total), units.Read(bases.pop(), Fraction(1)))


_FLIPPED: Final = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
_KNOWN: Final = frozenset({"and", "or", "if", "max", "min", "sin", "cos", "tan", "log", "ln"})
_DECIMAL: Final = re.compile(r"[-+]?\s*[0-9]*\.[0-9]+")
_NUMBER: Final = re.compile(
    r"[-+]?\s*(?:\(?[0-9]+\s*\+\s*\\frac\{[0-9]+\}\{[0-9]+\}\)|\\frac\s*\{?[0-9]+\}?\s*\{?[0-9]+\}?|"
    r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3}(?![0-9]))?(?:\s*/\s*[0-9]+)?)"
    r"(?:\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*-?[0-9]{1,4}\s*\}|-?[0-9]{1,4}))?\s*"
)
_CURRENCY: Final = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:US|USD|AU|CA|C|A)?\s*(?P<mark>{DOLLAR}|\\euro|\\pounds|\\rupee|Rs\.?|USD|EUR|¥)\s*"
)
_CURRENCIES: Final = {"Rs.": "Rs"}
_PER: Final = re.compile(r"(?:per|a|an|each|/)\s*[a-z]{1,12}|each|total|in total|\\text\s*\{\s*(?:per|a|each)[a-z ]{0,15}\}")
_DEGREES: Final = re.compile(r"(.+?)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\}|\{\s*\\(?:text|mathrm)\s*\{\s*o\s*\}\s*\})\s*")
_TEXT_COMMAND: Final = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?\s*)?\\(?:text|textrm|mbox|mathrm|operatorname|textnormal)\s*\{")
_NUMERALS: Final = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty".split()
    )
}


def _bare(text: str) -> str:
    return _TEXT.sub(" ", text)


def _quantity(text: str, unit: units.Read | None) -> Quantity:
    text = text.strip()
    return Quantity(parse(text), unit, text if _DECIMAL.fullmatch(text) else "")


def _tried(text: str) -> Node | None:
    try:
        return parse(text)
    except UnreadableError:
        return None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _inside(text: str, opening: str, closing: str) -> str | None:
    r"""What stands between the brackets around the whole of `text`, None where there are none."""
    if not (text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing)):
        return None
    return None if _closes_early(text) else text[len(opening) : len(text) - len(closing)].strip()


def _closes_early(text: str) -> bool:
    """Whether the bracket at the start closes before the end."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and char in _CLOSE and index < len(text) - 1:
            return True
    return depth != 0


def _minus(left: Node, right: Node) -> Node:
    return Node("sum", (left, Node("product", (number(-1), right))))


def _interval(nodes: Sequence[Node], signs: Sequence[str], unknown: int) -> Span:
    infinity = Node("symbol", name="infty")
    low, opening = Node("product", (number(-1), infinity)), "("
    high, closing = infinity, ")"
    if unknown:
        low, opening = nodes[unknown - 1], "[" if signs[unknown - 1] == "le" else "("
    if unknown < len(nodes) - 1:
        high, closing = nodes[unknown + 1], "]" if signs[unknown] == "le" else ")"
    return Span(opening, (Quantity(low), Quantity(high)), closing)


def _clock(text: str) -> Clock | None:
    plain = _TEXT.sub(r"\1", text).strip()
    if found := _CLOCK_WORD.fullmatch(plain):
        return Clock(int(found[1]), 0, "")
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    return Clock(int(found[1]), int(found[2]), f"{found[3].lower()}m" if found[3] else "")


def _based(text: str) -> Based | None:
    found = _BASED.fullmatch(text) or _BASED_WORD.fullmatch(text)
    if found is None or not re.search("[0-9]", found[1]):
        return None
    return Based(found[1].upper().lstrip("0") or "0", int(found[2]))


def _ratio(text: str) -> Ratio | None:
    text = re.sub(r"(?<=[0-9])\s*(?:\\text\s*\{\s*to\s*\}|\bto\b)\s*(?=[0-9])", ":", text)
    if ":" not in text or "|" in text or "=" in text:
        return None
    parts, _ = _split(text, re.compile(":"))
    nodes = [_tried(part) for part in parts]
    return Ratio(tuple(node for node in nodes if node)) if len(parts) > 1 and all(nodes) else None


# --- comparing


def same(answer: Value, gold: Value) -> bool:
    """Whether the answer is the gold value. Not symmetric: gold may leave a name or a unit to the answer, see README."""
    if isinstance(answer, Several) and len(answer.items) == 1 and not isinstance(gold, Several):
        answer = answer.items[0]
    if isinstance(gold, Several) and len(gold.items) == 1 and not isinstance(answer, Several):
        gold = gold.items[0]
    if isinstance(gold, Several):
        return isinstance(answer, Several) and _matched(answer.items, gold.items)
    if isinstance(gold, Named):
        return _same_named(answer, gold)
    if isinstance(gold, Congruent):
        return _same_residue(answer, gold)
    if isinstance(answer, Congruent):
        return isinstance(gold, Quantity) and _same_nodes(answer.node, gold.node)
    if isinstance(answer, Named):
        return _value_told(answer, gold)
    if isinstance(gold, Ratio):
        return _same_ratio(answer, gold)
    if type(answer) is not type(gold):
        return False
    return _BY_TYPE[type(gold)](answer, gold)


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
        same_name = answer.name == gold.name or _function_names(answer.name, gold.name)
        if same_name and same(answer.value, gold.value):
            return True
        if same_name and _same_family(answer.value, gold.value):
            return True
    if constant or (gold.node is not None and gold.node.kind == "call"):
        if not isinstance(answer, Named | Relation) and _is_name(gold):
            return same(answer, gold.value)
    given, wanted = _as_relation(answer), _as_relation(gold)
    return given is not None and wanted is not None and _same_relation(given, wanted)


def _function_names(left: str, right: str) -> bool:
    """Whether `y` and `f(x)` stand for one another."""
    return (left == "y" and re.fullmatch(r"[fgFhp]\(x\)", right) is not None) or (
        right == "y" and re.fullmatch(r"[fgFhp]\(x\)", left) is not None
    )


def _is_name(named: Named) -> bool:
    """Whether what a value is of is a name, not a formula in which it could be hidden: `2x = 12` does not say 12."""
    node = named.node
    if node is None:
        return True
    if node.kind in ("symbol",) or (node.kind == "call" and node.name not in KNOWN):
        return True
    return False


def _value_told(answer: Named, gold: Value) -> bool:
    """Whether `x = 5`, `m + n = 5` says the gold value 5."""
    if isinstance(gold, Relation):
        given = _as_relation(answer)
        return given is not None and _same_relation(given, gold)
    if isinstance(answer.value, Quantity) and symbols(answer.value.node):
        names = symbols(answer.node) if answer.node is not None else frozenset()
        if not _is_name(answer) or not isinstance(gold, Quantity) or (names & symbols(gold.node) and answer.node.kind == "symbol"):
            return False
    elif not _is_name(answer) and not _is_asked_for(answer):
        return False  # an equation to solve, or of a curve
    return same(answer.value, gold)


def _is_asked_for(named: Named) -> bool:
    """Whether what a value is of is what a question asks for, `m + n` or `|AB|`, and no equation: `2x + y = 0`."""
    if named.node is None or len(symbols(named.node)) < 2 or _holds_factor(named.node):
        return False
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
    if isinstance(value, Named) and value.node is not None and isinstance(value.value, Quantity) and value.value.unit is None:
        return Relation("=", _minus(value.node, value.value.node))
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
    if wanted not in _CONSTANTS or given not in _RENAMED or not symbols(gold.node) - theirs:
        return False
    return _same_nodes(_renamed(answer.node, given, wanted), gold.node)


_CONSTANTS: Final = frozenset({"C", "C_1", "c_1"})
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
        return not gold.name and _same_nodes(answer.node, gold.node)
    if len(names) != 1:
        return False
    values = evaluation.whole_values(answer.node, next(iter(names)), (0, 1, 2, 5))
    wanted = evaluation.whole_values(gold.node, "", (0,))
    if values is None or wanted is None or abs(values[1] - values[0]) != gold.modulus:
        return False
    return all((value - wanted[0]) % gold.modulus == 0 for value in values) and values[3] - values[0] == 5 * (values[1] - values[0])


def _congruent(left: Node, right: Node, modulus: int) -> bool:
    values = [evaluation.whole_values(node, "", (0,)) for node in (left, right)]
    if values[0] is None or values[1] is None:
        return _same_nodes(left, right)
    return (values[0][0] - values[1][0]) % modulus == 0


def _same_ratio(answer: Value, gold: Ratio) -> bool:
    if isinstance(answer, Quantity) and len(gold.parts) == 2 and answer.unit is None:
        return _same_nodes(answer.node, Node("quotient", gold.parts))
    if not isinstance(answer, Ratio) or len(answer.parts) != len(gold.parts):
        return False
    first = [Node("product", (answer.parts[0], part)) for part in gold.parts[1:]]
    second = [Node("product", (gold.parts[0], part)) for part in answer.parts[1:]]
    return all(_same_nodes(left, right) for left, right in zip(first, second, strict=True))


def _same_nodes(left: Node, right: Node) -> bool:
    return evaluation.same(left, right)


def _same_quantity(answer: Quantity, gold: Quantity) -> bool:
    return any(_equal(*pair) for pair in _comparable(answer, gold))


def _comparable(answer: Quantity, gold: Quantity) -> Iterable[tuple[Quantity, Quantity]]:
    """The pairs of plain formulas of which one must be equal, by the units of both."""
    ours, theirs = answer.unit, gold.unit
    if ours == theirs or ((ours is None or theirs is None) and units.PERCENT not in (ours, theirs)):
        yield answer, gold
    if ours == theirs:
        return
    percents = [unit == units.PERCENT for unit in (ours, theirs)]
    if any(percents):
        if ours is None or theirs is None:
            yield answer, gold
            yield tuple(  # type: ignore[misc]
                _scaled(each, Fraction(1, 100)) if percent else each for each, percent in zip((answer, gold), percents, strict=True)
            )
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
    if ours is not None and theirs is not None and not ours.counted and not theirs.counted and ours.bases == theirs.bases:
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
    if _same_nodes(answer.node, gold.node):
        return True
    if bool(answer.digits) == bool(gold.digits):
        return False
    return _about(answer, gold, least_digits=ROUNDED_DIGITS)


def _about(one: Quantity, other: Quantity, least_digits: int = 1) -> bool:
    """Whether one of the two is a decimal that the other is rounded or cut to."""
    decimal, exact = (one, other) if one.digits else (other, one)
    text = decimal.digits.replace(" ", "").lstrip("+-")
    places = len(text.partition(".")[2])
    if not decimal.digits or symbols(exact.node) or len(text.replace(".", "").lstrip("0")) < least_digits:
        return not decimal.digits and _same_nodes(one.node, other.node)
    return evaluation.within(decimal.node, exact.node, Fraction(1, 10**places))


def _same_span(answer: Span, gold: Span) -> bool:
    if (answer.opening, answer.closing) != (gold.opening, gold.closing) or len(answer.items) != len(gold.items):
        return False
    return all(same(*pair) for pair in zip(answer.items, gold.items, strict=True))


def _same_matrix(answer: Matrix, gold: Matrix) -> bool:
    if [len(row) for row in answer.rows] != [len(row) for row in gold.rows]:
        return False
    pairs = zip([cell for row in answer.rows for cell in row], [cell for row in gold.rows for cell in row], strict=True)
    return all(same(*pair) for pair in pairs)


def _same_clock(answer: Clock, gold: Clock) -> bool:
    half = not answer.half or not gold.half or answer.half == gold.half
    return half and (answer.hours, answer.minutes) == (gold.hours, gold.minutes)


_BY_TYPE: Final[dict[type, Any]] = {
    Quantity: lambda answer, gold: _same_quantity(answer, gold) or _same_sum_family(answer, gold),
    Span: _same_span, Matrix: _same_matrix, Clock: _same_clock, Relation: _same_relation,
    Based: lambda answer, gold: answer == gold, Dots: lambda answer, gold: True,
}  # fmt: skip


def _same_sum_family(answer: Quantity, gold: Quantity) -> bool:
    """`x^2 + C` and `x^2 + K`."""
    terms = gold.node.args if gold.node.kind == "sum" else ()
    return any(term.kind == "symbol" and term.name in _CONSTANTS for term in terms) and _same_family(answer, gold)


__all__ = ["UndefinedError", "UnreadableError", "Value", "read", "same"]
