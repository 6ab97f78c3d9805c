r"""A text as the value that it is. Nothing of the text is left out: what is not understood raises `UnreadableError`.

A text is split at its separators (`or`, `;`, `,`), each item at its signs (`=`, `<`, `\in`), and what is left is a
formula with the unit that may stand before or behind it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

from r1rl.verify.math import comparison, units
from r1rl.verify.math.formula import Node, UnreadableError, number, parse, symbols
from r1rl.verify.math.notation import AND, DOLLAR, OR, words
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

MAX_ITEMS: Final = 64

_STRONG: Final = re.compile(rf"[;{OR}{AND}]")
_COMMA: Final = re.compile(",")
_UNION: Final = re.compile(r"\\cup(?![A-Za-z])|U(?=\s*[(\[])")
_BAR: Final = re.compile(r"\||:")
_SIGN: Final = re.compile(r"\\(?:le|ge|ne|in|approx|equiv)(?![A-Za-z])|<=|>=|!=|:=|==|[<>=]")
_ROW: Final = re.compile(r"\\\\(?:\s*\[\s*-?[0-9.]+\s*(?:pt|em|ex|mm|cm|in)\s*\])?")
_CELL: Final = re.compile("&")
_CLOCK: Final = re.compile(
    r"([0-9]{1,2}):([0-9]{2})(?::00)?\s*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*(?:([apAP])\s*\.?\s*[mM]\s*\.?)?\s*\}?"
)
_CLOCK_WORD: Final = re.compile(r"([0-9]{1,2})\s*(?:o'clock|([ap])\s*\.?\s*m\.?)")
_TEXT: Final = re.compile(r"\\(?:text|textrm|mbox|mathrm|textnormal)\s*\{([^{}]*)\}")
_BASED: Final = re.compile(
    r"(?:\\(?:text|mathrm)\s*\{\s*)?\(?([0-9A-Fa-f]+)\s*\}?\s*\)?\s*_\s*\{?\s*([0-9]{1,2})\s*\}?"
)
_BASED_WORD: Final = re.compile(
    r"([0-9A-F]+)\s*_?\{?\s*(?:\\text\s*\{)?\s*\(?\s*(?:in )?base\s*(?:\})?\s*([0-9]{1,2})\s*\)?\s*\}?\s*\}?"
)
_MODULO: Final = re.compile(r"(.+?)\s*,?\s*\(?\s*(?:\\mod|mod|modulo)\s*\{?\s*([0-9]{1,6})\s*\}?\s*\)?")
_MATRIX: Final = re.compile(
    r"(?P<factor>[^&]{1,40}?)??\s*(?:\\cdot)?\s*\(?\[?\s*\\begin\s*\{(?P<kind>[pbB]?matrix|array|smallmatrix)\}\s*"
    r"(?:\{[lcr| ]*\})?(?P<cells>.*)\\end\s*\{(?P=kind)\}\s*\)?\]?(?P<transposed>\s*\^\s*\{?\s*(?:T|\\top)\s*\}?)?",
    re.DOTALL,
)
_REALS: Final = re.compile(
    r"\\mathbb\s*\{?R\}?|(?:\\text\s*\{\s*)?(?:the )?(?:set of )?(?:all )?reals?(?: numbers?)?\s*\}?|\\Reals",
    re.IGNORECASE,
)
_INFINITY: Final = Node("symbol", name="infty")
_REAL_LINE: Final = Span("(", (Quantity(Node("product", (number(-1), _INFINITY))), Quantity(_INFINITY)), ")")
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
    if re.search(r"\\frac\s*\{\s*d(?:\^|[a-z]?\s*\})|\\nabla|\\vec.*\\(?:times|cdot)", text):
        raise UnreadableError("a derivative or a product of vectors")
    return _Reader(letters).whole(text.replace("\\langle", "⟨").replace("\\rangle", "⟩").strip())


class _Reader:
    def __init__(self, letters: bool) -> None:
        self.letters = letters

    def whole(self, text: str) -> Value:
        if (congruence := self._congruence(text)) is not None:
            return congruence
        groups, joints = _split(text, _STRONG)
        groups = [group for group in groups if group]
        parts = [[item for item in _split(group, _COMMA)[0] if item] for group in groups]
        if (
            len(parts) > 1
            and all(len(items) > 1 for items in parts)
            and all("=" in i for items in parts for i in items)
        ):
            return Several(tuple(self._list(items, []) for items in parts))
        items = [item for group in parts for item in group]
        if not items:
            raise UnreadableError("it is empty")
        return self._list(items, joints)

    def _list(self, items: Sequence[str], joints: Sequence[str]) -> Value:
        if len(items) > MAX_ITEMS:
            raise UnreadableError(f"more than {MAX_ITEMS} values")
        found: list[Value] = []
        for item in items:
            value = self.item(item)
            before = found[-1] if found else None
            if isinstance(value, Quantity) and isinstance(before, Named) and before.node is not None:
                value = replace(before, value=value)  # "x = 1, 2"
            if (
                isinstance(value, Quantity)
                and isinstance(before, Relation)
                and before.sign == "!="
                and len(symbols(before.node)) == 1
            ):
                value = Relation("!=", minus(Node("symbol", name=next(iter(symbols(before.node)))), value.node))
            if len(items) == 1:
                return value
            if isinstance(value, Several) and not value.items:
                raise UnreadableError("nothing, in a list")
            found += value.items if isinstance(value, Several) and "\\{" not in item else [value]
        found = _intersected(found) if AND in "".join(joints) else found
        return found[0] if len(found) == 1 else Several(tuple(found))

    def item(self, text: str) -> Value:
        """One value, which may be a set."""
        if "\\not" in text.replace("\\notin", "\\not"):
            raise UnreadableError("a negation")
        if re.fullmatch(r"\\ldots|\.\.\.|…", text):
            return Dots()
        for special in (_clock, _based, _ratio):
            if (value := special(text)) is not None:
                return value
        if _REALS.fullmatch(text):
            return _REAL_LINE
        if text in ("\\emptyset", "\\{ \\}", "\\{\\}"):
            return Several(())
        if (inside := _inside(text, "\\{", "\\}")) is not None:
            return self._set(inside)
        if (inside := _inside(text, "{", "}")) is not None:
            listed = any(_split(inside, at)[1] for at in (_COMMA, _BAR)) and inside.count("|") != 2
            return self._set(inside) if listed else self.whole(inside)
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
            return Several(tuple(self.item(part) for part in parts), union=True)
        if found := _MATRIX.fullmatch(text):
            rows = [_split(row, _CELL)[0] for row in _split(found["cells"].strip(), _ROW)[0] if row]
            if found["transposed"]:
                rows = [list(column) for column in zip(*rows, strict=False)]
            factor = _tried(found["factor"]) if found["factor"] else None
            if found["factor"] and factor is None:
                raise UnreadableError("a factor before a matrix")
            return self._matrix(rows, factor)
        return self._bracketed(text) or self.quantity(text)

    def _set(self, inside: str) -> Value:
        parts, _ = _split(inside, _BAR)
        if len(parts) == 2 and re.fullmatch(r"[A-Za-z]\s*\\in\s*\\mathbb\s*\{?[ZN]\}?", parts[1]):
            return self.whole(parts[0])
        if len(parts) == 2 and re.fullmatch(r"[A-Za-z]|\\[a-z]+|[A-Za-z]\s*\\in\s*\\mathbb\s*\{?R\}?", parts[0]):
            if not _split(parts[1], _SIGN)[1]:
                raise UnreadableError("a set without a condition")
            return self.whole(parts[1])
        if not inside.strip():
            return Several(())
        if inside.startswith("\\{") or inside in ("\\emptyset", "\\varnothing"):
            raise UnreadableError("a set of sets")
        value = self.whole(inside)
        return value if isinstance(value, Several) else Several((value,))

    def _matrix(self, rows: Sequence[Sequence[str]], factor: Node | None = None) -> Matrix:
        if len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > MAX_ITEMS:
            raise UnreadableError("a matrix of uneven rows")
        cells = tuple(tuple(self.item(cell) for cell in row) for row in rows)
        if factor is None:
            return Matrix(cells)
        return Matrix(tuple(tuple(_times(factor, cell) for cell in row) for row in cells))

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
            return Relation("!=", minus(left, right))
        if signs == ["in"]:
            value = self.item(parts[1])
            if not isinstance(value, Several | Span) or not _NAME.fullmatch(_squeezed(parts[0])):
                raise UnreadableError("what is in what")
            return Named(_squeezed(parts[0]), None, value)
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
            pairs.append(Relation("<" if sign in ("<", ">") else "<=", minus(left, right)))
        return pairs[0] if len(pairs) == 1 else Several(tuple(pairs))

    def _equation(self, parts: list[str], signs: list[str]) -> Value:
        *names, last = parts
        value = self.item(last)
        if not isinstance(value, Quantity):
            if len(names) != 1:
                raise UnreadableError("an equation of several parts")
            if isinstance(value, Named | Relation | Dots):
                raise UnreadableError("an equation in an equation")
            if not _NAME.fullmatch(_squeezed(names[0])):
                raise UnreadableError("a value of what")
            return Named(_squeezed(names[0]), _tried(names[0]), value)
        if len(names) == 1 and _SAYING.match(names[0]) and not symbols(value.node):
            return Named(_squeezed(names[0]), None, value)
        quantities = [self.quantity(name) for name in names] + [value]
        constants = [index for index, each in enumerate(quantities) if not symbols(each.node)]
        if not constants:
            if len(quantities) > 2:
                raise UnreadableError("an equation of several parts")
            return Named(_squeezed(names[0]), quantities[0].node, value)
        told = quantities[constants[0]]
        for index in constants[1:]:
            about = "approx" in signs[constants[0] : index]
            agree = comparison.about if about else comparison.same_quantity
            if not agree(quantities[index], told):
                raise UnreadableError("an equation that does not hold")
            told = told if about else quantities[index]
        if len(constants) == len(quantities):
            return told
        if any("infty" in symbols(each.node) for each in quantities):
            raise UnreadableError("infinity in an equation")
        unknown = next(index for index, each in enumerate(quantities) if symbols(each.node))
        return Named(_squeezed(parts[unknown]), quantities[unknown].node, told)

    def _congruence(self, text: str) -> Value | None:
        found = _MODULO.fullmatch(text)
        if found is None:
            return None
        left, sign, right = found[1].rpartition("\\equiv")
        if not sign:
            left, sign, right = found[1].rpartition("=")
        residue = parse(right.strip(" ("))
        if not sign and not symbols(residue) and not comparison.is_residue(residue, int(found[2])):
            raise UnreadableError("no least residue")
        return Congruent(_squeezed(left) if sign else "", residue, int(found[2]))

    # --- numbers and their units

    def quantity(self, text: str) -> Quantity:
        """A formula with the unit that may stand before or behind it."""
        if found := _CURRENCY.match(text):
            rest = text[found.end() :]
            value = _NUMBER.match(rest)
            tail = rest[value.end() :].strip() if value else ""
            if value and (not tail or (_PER.fullmatch(tail) and not units.changes_number(tail))):
                return _quantity(found["sign"] + value[0], units.read(_CURRENCIES.get(found["mark"], found["mark"])))
            if not value and not tail and (node := _tried(rest)) is not None and not symbols(node):
                return Quantity(node, units.read(_CURRENCIES.get(found["mark"], found["mark"])))
        if (found := _DEGREES.fullmatch(text)) and not re.search(
            r"\\(?!frac|sqrt|pi|cdot|times)[A-Za-z]|[A-Za-z]{2}(?<!pi)", _bare(found[1])
        ):
            return _quantity(found[1], units.DEGREES)
        if text.endswith("%") and "%" not in text[:-1]:
            return _quantity(text[:-1], units.PERCENT)
        if compound := self._compound(text):
            return compound
        if (found := _NUMBER.match(text)) and (rest := text[found.end() :]):
            unit = self._unit(found[0], rest)
            if unit is not None:
                return _quantity(found[0], unit)
        if (found := _PLAIN_UNIT.fullmatch(text)) and (unit := units.read(found[2])) and not unit.counted:
            return _quantity(found[1], unit)
        for start in (match.start() for match in _TEXT_COMMAND.finditer(text)):
            unit = None if "\\text" in text[:start] or "\\mathrm" in text[:start] else units.read(text[start:])
            if unit is not None and start and (node := _tried(text[:start])) is not None:
                return _quantity(text[:start], unit) if node else Quantity(node, unit)
            last = _TEXT.fullmatch(text[start:].strip())
            behind = last[1].strip() if last and start else ""
            if re.search("[A-Za-z]{3}", behind) and behind not in _KNOWN:
                raise UnreadableError(f"the words {behind[:30]!r} after the value")
        return _quantity(text, None)

    def _unit(self, value: str, rest: str) -> units.Read | None:
        """The unit in plain letters behind a plain number."""
        if found := re.fullmatch(r"\s*\(([a-z -]+)\)", rest):  # "12 (twelve)"
            return units.read("units") if NUMERALS.get(found[1].strip()) == value.strip() else None
        if rest.lstrip().startswith(
            ("\\text", "\\mathrm", "\\mbox", "\\operatorname", DOLLAR, "^", "\\euro", "\\pounds")
        ):
            return units.read(rest)
        names = re.findall("[A-Za-z]+", rest.replace("\\frac", ""))
        ratio = re.fullmatch(r"\s*\\frac\s*\{[A-Za-z]{1,2}\}\s*\{[A-Za-z]{1,2}\}", rest)
        spaced = value.endswith(" ") or rest[0] == " " or ratio
        if not names or not (rest.lstrip()[0].isalpha() or ratio) or not (spaced or units.glued(names[0])):
            return None
        if all(len(name) == 1 for name in names):  # variables, unless it is an answer and written as units are
            one = len(names) == 1 and names[0] in "mgslLVNJW"
            written = one or ratio or re.fullmatch(r"\s*[a-z]\s*/\s*[a-z](?:\^\{?2\}?)?|\s*J s", rest)
            if not (self.letters and written and re.fullmatch(r"[-+0-9. eE^{}\\times]+", value)):
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
_PER: Final = re.compile(
    r"(?:(?:per|an?|each|every)\s+[a-z]{1,12}|/\s*[a-z]{1,12}|each|total|in total|left|profit|(?:US )?dollars|USD)"
    r"|\\text\s*\{\s*(?:per|a|each|every|dollars|USD|in total)[a-z ]{0,15}\}"
)
_NAME: Final = re.compile(
    r"(?:[A-Za-z]{1,3}|\\(?:vec|overrightarrow|mathbf|text|mathrm|angle|triangle)?\{?[A-Za-z ]{1,12}\}?)"
    r"(?:'|_\{?\w{1,4}\}?|\^\{?-1\}?|\^\{?T\}?)*(?:\([^()]*\))?|\([A-Za-z](?:,[A-Za-z])+\)"
)
"""The name of a point, set, matrix or function."""
_SAYING: Final = re.compile(r"\\(?:int|iint|lim|sum|prod|Pr)(?![A-Za-z])|[A-Za-z]\([^()]*\)$")
"""What a value is of, and no equation to solve: an integral, a limit, `P(X=1)`."""
_PLAIN_UNIT: Final = re.compile(r"(.*[0-9}\)])\s+((?:square |cubic |sq\.? )?[a-z]{2,}(?: per [a-z]+|/[a-z]+)?)")
_DEGREES: Final = re.compile(r"(.+?)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\}|\{\s*\\(?:text|mathrm)\s*\{\s*o\s*\}\s*\})\s*")
_TEXT_COMMAND: Final = re.compile(
    r"(?:\^\s*\{?\s*\\circ\s*\}?\s*)?\\(?:text|textrm|mbox|mathrm|operatorname|textnormal)\s*\{"
)
NUMERALS: Final = {
    word: str(value)
    for value, word in enumerate(
        words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen twenty"
        )
    )
}


def _times(factor: Node, cell: Value) -> Value:
    if not isinstance(cell, Quantity):
        raise UnreadableError("a matrix of something else than numbers")
    return Quantity(Node("product", (factor, cell.node)))


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


def _intersected(found: list[Value]) -> list[Value]:
    """`x >= -2 and x <= 5` as one interval. Raises `UnreadableError` for other conditions that must hold together."""
    spans = [value for value in found if isinstance(value, Span) and value.name]
    if not spans:
        return found
    if len(found) == len(spans) == 2 and spans[0].name == spans[1].name:
        low, high = sorted(spans, key=lambda span: span.items[0] == _REAL_LINE.items[0])
        if low.items[1] == _REAL_LINE.items[1] and high.items[0] == _REAL_LINE.items[0]:
            return [Span(low.opening, (low.items[0], high.items[1]), high.closing, low.name)]
    raise UnreadableError("conditions that hold together")


def _interval(nodes: Sequence[Node], signs: Sequence[str], unknown: int) -> Span:
    low, opening = Node("product", (number(-1), _INFINITY)), "("
    high, closing = _INFINITY, ")"
    if unknown:
        low, opening = nodes[unknown - 1], "[" if signs[unknown - 1] == "le" else "("
    if unknown < len(nodes) - 1:
        high, closing = nodes[unknown + 1], "]" if signs[unknown] == "le" else ")"
    return Span(opening, (Quantity(low), Quantity(high)), closing, nodes[unknown].name)


def _clock(text: str) -> Clock | None:
    plain = _TEXT.sub(r"\1", text).strip()
    if found := _CLOCK_WORD.fullmatch(plain):
        return Clock(int(found[1]), 0, f"{found[2]}m" if found[2] else "")
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    return Clock(int(found[1]), int(found[2]), f"{found[3].lower()}m" if found[3] else "")


def _based(text: str) -> Based | None:
    found = _BASED.fullmatch(text) or _BASED_WORD.fullmatch(text)
    if found is None or not re.search("[0-9]", found[1]):
        return None
    digits, base = found[1], int(found[2])
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Based(digits.upper().lstrip("0") or "0", base)


def _ratio(text: str) -> Ratio | None:
    text = re.sub(r"(?<=[0-9])\s*(?:\\text\s*\{\s*to\s*\}|\bto\b)\s*(?=[0-9])", ":", text)
    if ":" not in text or "|" in text or "=" in text:
        return None
    parts, _ = _split(text, re.compile(":"))
    nodes = [_tried(part) for part in parts]
    return Ratio(tuple(node for node in nodes if node)) if len(parts) > 1 and all(nodes) else None
