r"""A text as the value that it is. Nothing of the text is left out: what is not understood raises `UnreadableError`.

A text is split at its separators (`or`, `;`, `,`), each item at its signs (`=`, `<`, `\in`), and what is left is a
formula with the unit that may stand before or behind it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from r1rl.verify.math import comparison
from r1rl.verify.math.formula import Node, UnreadableError, number, parse, symbols
from r1rl.verify.math.notation import AND, OR
from r1rl.verify.math.prose import CHANGED
from r1rl.verify.math.quantities import TEXT, quantity, tried
from r1rl.verify.math.units import NUMERALS
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
_CLOCK_WORD: Final = re.compile(r"([0-9]{1,2})\s*(?:o'clock|([apAP])\s*\.?\s*[mM]\.?)")
_BASED: Final = re.compile(
    r"(?:\\(?:text|mathrm)\s*\{\s*)?\(?([0-9A-Fa-f]+)\s*\}?\s*\)?\s*_\s*\{?\s*([0-9]{1,2})\s*\}?"
)
_BASE_IN_WORDS: Final = re.compile(
    r"_\s*\{?\s*(?:\\(?:text|mathrm|textrm)\s*\{)?\s*\(?\s*(?:base\s+)?([A-Za-z]{2,8}|[0-9]{1,2})\s*\)?\s*\}?\s*\}?$"
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
        if text.startswith(","):
            raise UnreadableError("it begins with a comma")
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
        union = OR in "".join(joints) and all(isinstance(value, Span) for value in found)
        return found[0] if len(found) == 1 else Several(tuple(found), union=union)

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
            factor = tried(found["factor"]) if found["factor"] else None
            if found["factor"] and factor is None:
                raise UnreadableError("a factor before a matrix")
            return self._matrix(rows, factor)
        return self._bracketed(text) or quantity(text, letters=self.letters)

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
        inside = transposed[1].strip() if transposed else re.sub(r"^[ABD-Z](?=\()", "", text)  # the point P(2, 3)
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
        if any(_CHANGED.search(name) for name in names):
            raise UnreadableError("words that change the value")
        value = self.item(last)
        if not isinstance(value, Quantity):
            if len(names) != 1:
                raise UnreadableError("an equation of several parts")
            if isinstance(value, Named | Relation | Dots):
                raise UnreadableError("an equation in an equation")
            if not _NAME.fullmatch(_squeezed(names[0])):
                raise UnreadableError("a value of what")
            return Named(_squeezed(names[0]), tried(names[0]), value)
        if len(names) == 1 and _SAYING.match(names[0]) and not symbols(value.node):
            return Named(_squeezed(names[0]), None, value)
        quantities = [quantity(name, letters=self.letters) for name in names] + [value]
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


_FLIPPED: Final = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
_NAME: Final = re.compile(
    r"(?:[A-Za-z]{1,3}|\\(?:vec|overrightarrow|mathbf|text|mathrm|angle|triangle)?\{?[A-Za-z ]{1,12}\}?)"
    r"(?:'|_\{?\w{1,4}\}?|\^\{?-1\}?|\^\{?T\}?)*(?:\([^()]*\))?|\((?:[A-Za-z]|\\[a-z]+)(?:,(?:[A-Za-z]|\\[a-z]+))+\)"
)
"""The name of a point, set, matrix or function."""
_CHANGED: Final = re.compile(rf"\b{CHANGED}", re.IGNORECASE)
_SAYING: Final = re.compile(r"\\(?:int|iint|lim|sum|prod|Pr)(?![A-Za-z])|[A-Za-z]\([^()]*\)$")
"""What a value is of, and no equation to solve: an integral, a limit, `P(X=1)`."""


def _times(factor: Node, cell: Value) -> Value:
    if not isinstance(cell, Quantity):
        raise UnreadableError("a matrix of something else than numbers")
    return Quantity(Node("product", (factor, cell.node)))


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
    plain = TEXT.sub(r"\1", text).strip()
    if found := _CLOCK_WORD.fullmatch(plain):
        return Clock(int(found[1]), 0, f"{found[2].lower()}m" if found[2] else "")
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    return Clock(int(found[1]), int(found[2]), f"{found[3].lower()}m" if found[3] else "")


def _based(text: str) -> Based | None:
    text = _BASE_IN_WORDS.sub(lambda found: f"_{{{NUMERALS.get(found[1].casefold(), found[1])}}}", text)
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
    nodes = [tried(part) for part in parts]
    return Ratio(tuple(node for node in nodes if node)) if len(parts) > 1 and all(nodes) else None
