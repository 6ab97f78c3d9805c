r"""A number or a formula, and the unit that may stand before or behind it: `$18`, `90^\\circ`, `5 km/h`, `2\\pi`.

`letters`: whether a single letter behind a number may be a unit, as it is in an answer ("5 m") and not in gold.
"""

import re
from fractions import Fraction
from typing import Final

from r1rl.verify.math import units
from r1rl.verify.math.formula import Node, UnreadableError, number, parse, symbols
from r1rl.verify.math.notation import DOLLAR
from r1rl.verify.math.values import Quantity

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
_FUNCTION: Final = re.compile(r"\\(?!frac|sqrt|pi|cdot|times)[A-Za-z]|[A-Za-z]{2}(?<!pi)")
_UNIT_COMMANDS: Final = (
    "\\text",
    "\\mathrm",
    "\\mbox",
    "\\operatorname",
    DOLLAR,
    "^",
    "\\euro",
    "\\pounds",
    "\\Omega",
    "\\mu",
)
TEXT: Final = re.compile(r"\\(?:text|textrm|mbox|mathrm|textnormal)\s*\{([^{}]*)\}")
"""Words set as text inside a formula."""
_PER: Final = re.compile(
    r"(?:(?:per|an?|each|every)\s+[a-z]{1,12}|/\s*[a-z]{1,12}|each|total|in total|left|profit|(?:US )?dollars|USD)"
    r"|\\text\s*\{\s*(?:per|a|each|every|dollars|USD|in total)[a-z ]{0,15}\}"
)
_PLAIN_UNIT: Final = re.compile(
    r"(.*(?:[0-9}\)]|\\pi))\s+((?:square |cubic |sq\.? )?[a-z]{2,}(?:\^\{?[2-4]\}?)?(?: per [a-z]+|/[a-z]+)?)"
)
_DEGREES: Final = re.compile(r"(.+?)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\}|\{\s*\\(?:text|mathrm)\s*\{\s*o\s*\}\s*\})\s*")
_TEXT_COMMAND: Final = re.compile(
    r"(?:\^\s*\{?\s*\\circ\s*\}?\s*|\\frac\s*\{\s*)?\\(?:text|textrm|mbox|mathrm|operatorname|textnormal)\s*\{"
)


def quantity(text: str, *, letters: bool = False) -> Quantity:
    """The formula of `text` with its unit. Raises `UnreadableError`."""
    for way in (_with_currency, _in_degrees, _in_percent, _compound, _with_plain_unit, _with_unit_in_text):
        if (found := way(text, letters)) is not None:
            return found
    return _of(text, None)


def _of(text: str, unit: units.Read | None) -> Quantity:
    text = text.strip()
    return Quantity(parse(text), unit, text if _DECIMAL.fullmatch(text) else "")


def tried(text: str) -> Node | None:
    """The formula of `text`, None where it is none."""
    try:
        return parse(text)
    except UnreadableError:
        return None


def _with_currency(text: str, letters: bool) -> Quantity | None:
    found = _CURRENCY.match(text)
    if found is None:
        return None
    mark, rest = found["mark"].rstrip("."), text[found.end() :]
    currency = units.read(mark)
    value = _NUMBER.match(rest)
    if value is None:
        node = tried(rest)
        return None if node is None or symbols(node) else Quantity(node, currency)
    tail = rest[value.end() :].strip()
    if tail and (not _PER.fullmatch(tail) or units.changes_number(tail)):
        return None
    return _of(found["sign"] + value[0], units.read(f"{mark} {tail}") or currency)


def _in_degrees(text: str, letters: bool) -> Quantity | None:
    found = _DEGREES.fullmatch(text)
    if found is None or _FUNCTION.search(TEXT.sub(" ", found[1])):
        return None  # the degrees of \sin 30^\circ are those of its argument
    return _of(found[1], units.DEGREES)


def _in_percent(text: str, letters: bool) -> Quantity | None:
    alone = text.endswith("%") and text.count("%") == 1
    return _of(text[:-1], units.PERCENT) if alone else None


def _compound(text: str, letters: bool) -> Quantity | None:
    """ "5 ft 6 in" and "2 hours 30 minutes" as one quantity."""
    plain = TEXT.sub(r" \1 ", text).replace("~", " ")
    if not re.fullmatch(r"(?:\s*[0-9.]+\s*[A-Za-z]{1,10}\s*,?){2,3}", plain):
        return None
    total, bases = Fraction(0), set()
    for value, word in re.findall(r"([0-9.]+)\s*([A-Za-z]+)", plain):
        unit = units.read(word)
        if unit is None or unit.counted or not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value):
            return None
        total += Fraction(value) * unit.size
        bases.add(unit.bases)
    return Quantity(number(total), units.Read(bases.pop(), Fraction(1))) if len(bases) == 1 else None


def _with_plain_unit(text: str, letters: bool) -> Quantity | None:
    """ "5 km/h", "12 apples", "3\\sqrt{2} units"."""
    if (found := _NUMBER.match(text)) and (rest := text[found.end() :]):
        unit = _plain_unit(found[0], rest, letters)
        if unit is not None:
            return _of(found[0], unit)
    if (found := _PLAIN_UNIT.fullmatch(text)) and (unit := units.read(found[2])) and not unit.counted:
        return _of(found[1], unit)
    return None


def _plain_unit(value: str, rest: str, letters: bool) -> units.Read | None:
    """The unit that `rest` is, behind a plain number."""
    if found := re.fullmatch(r"\s*\(([a-z -]+)\)", rest):  # "12 (twelve)"
        return units.read("units") if units.NUMERALS.get(found[1].strip()) == value.strip() else None
    if rest.lstrip().startswith(_UNIT_COMMANDS):
        return units.read(rest)
    names = re.findall("[A-Za-z]+", rest.replace("\\frac", ""))
    ratio = re.fullmatch(r"\s*\\frac\s*\{[A-Za-z]{1,2}\}\s*\{[A-Za-z]{1,2}\}", rest)
    spaced = value.endswith(" ") or rest[0] == " " or ratio
    if not names or not (rest.lstrip()[0].isalpha() or ratio) or not (spaced or units.glued(names[0])):
        return None
    if all(len(name) == 1 for name in names):  # variables, unless it is an answer and written as units are
        one = len(names) == 1 and names[0] in "mgslLVNJW"
        written = one or ratio or re.fullmatch(r"\s*[A-Za-z]\s*/\s*[A-Za-z](?:\^\{?2\}?)?|\s*J s", rest)
        if not (letters and written and re.fullmatch(r"[-+0-9. eE^{}\\times]+", value)):
            return None
    return units.read(rest)


def _with_unit_in_text(text: str, letters: bool) -> Quantity | None:
    r"""`5 \text{ cm}^2`. Raises `UnreadableError` where other words stand behind the value."""
    for start in (match.start() for match in _TEXT_COMMAND.finditer(text)):
        several = "\\text" in text[:start] or "\\mathrm" in text[:start]  # 3 m^2 + 4 m^2
        unit = None if several else units.read(text[start:])
        if unit is not None and start and tried(text[:start]) is not None:
            return _of(text[:start], unit)
        last = TEXT.fullmatch(text[start:].strip())
        behind = last[1].strip() if last and start else ""
        if re.search("[A-Za-z]{3}", behind) and behind not in _KNOWN:
            raise UnreadableError(f"the words {behind[:30]!r} after the value")
    return None
