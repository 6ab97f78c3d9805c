r"""Math answers: exact numbers here, everything else by math-verify in a killable process.

Order of work: cheap rejections with a named reason, then numbers compared exactly as fractions (no process),
then math-verify on the LaTeX. Model text is never given to `eval`, `exec` or `sympify`: math-verify is used
with its LaTeX parser alone, because its plain-expression parser ends in sympy's `parse_expr`, which evaluates
Python.

Policy, where graders differ:
- The whole answer must be the value. "12 or 13", "12 13", "5=12", "12_8" are unparseable for gold 12
  (math-verify reads some of them as 12 or, summing a mixed number, as 25). `x = 12` is read as 12.
- One unit word may follow a number: "12 apples", "$12", "12 cm" are 12. Where gold has a unit too, the two
  must agree up to a plural s. A word that changes the number ("12 million", "12 dozen") is unparseable.
- `50%` equals both 50 and 0.5, as in math-verify.
- Prose is no gold: "twelve" is `bad_gold`, unless written `\text{twelve}`, which is compared as text.
- The base of gold must be given: 40 is another number than `40_9`, and a wrong number is never paid.
- A comma list and a bracketed one are different things: "(2,1)", a point or an interval, is not the values 1,2.
- Two plain decimals are compared exactly (0.33 is not 0.333); a decimal against a fraction goes to
  math-verify, which rounds at 6 places.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from r1rl.verify.extraction import MATH_WRAPPERS, unwrap
from r1rl.verify.pool import GraderPool
from r1rl.verify.verdict import Verdict, clip, quote

MAX_CHARS = 400
MAX_DEPTH = 20
MAX_DIGITS = 50
MAX_EXPONENT = 9999
MAX_FACTORIAL = 999
"""Limits on one answer: characters, nested brackets, digits in a row, an exponent, the n of n!."""

_CHANGES_VALUE = (
    "hundred thousand million billion trillion dozen score half halves third thirds quarter quarters or and "
)
_CHANGES_VALUE += (
    "not no pi ln log sin cos tan cot sec csc sqrt inf infinity exp mod div times squared cubed plus minus "
)
_CHANGES_VALUE += "over by"
_FORMULA = (
    "and or pi sin cos tan cot sec csc log ln exp sqrt frac inf infty arcsin arccos arctan mod gcd lcm det min max"
)
_NOT_UNITS, _FORMULA_WORDS = frozenset(_CHANGES_VALUE.split()), frozenset(_FORMULA.split())
_UNIT_NAMES = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound", "percent": "%", "pct": "%"}
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?"
_NUMBER = rf"(?:{_GROUPED}|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,2}})?)"
_UNIT = r"(?:\s*%|\s*[$\u20ac\u00a3]|\s*[A-Za-z]{2,}|\s[mgls])"
_PLAIN = re.compile(rf"([+-]?)\s*([$\u20ac\u00a3]?)\s*([+-]?)({_NUMBER})({_UNIT})?")
_RATIO = re.compile(r"([+-]?)(?:([0-9]+) )?([0-9]+)\s*/\s*([0-9]+)")
_LATEX_RATIO = re.compile(r"([+-]?)([0-9]*)\s*\\[dt]?frac\{\s*(-?[0-9]+)\s*\}\{\s*([0-9]+)\s*\}")
_WRAPPERS = (*MATH_WRAPPERS, ("\\mathrm{", "}"))
_TYPOGRAPHY = {"\u2212": "-", "\u00d7": "\\times ", "\u22c5": "\\cdot ", "\u00b7": "\\cdot ", "\u00f7": "\\div "}
_TYPOGRAPHY |= {"\u00a0": " ", "\u00b0": "^\\circ ", "\\$": "$", "\\%": "%", "{,}": ","}
_BASE = re.compile(r"[0-9]\s*_\s*\{?\s*([0-9]+)")
_AND_OR = re.compile(r"\\(?:text|mbox)\{\s*(?:and|or)\s*\}")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit)\{([^{}]*)\}")


class Number(NamedTuple):
    """A plain number and the unit written with it ("" if none)."""

    value: Fraction
    unit: str
    decimal: bool  # written with digits only, so that exact comparison is final


def rejection(text: str) -> str:
    """Why `text` is not handed to a parser at all, "" if it may be. Linear in `MAX_CHARS`."""
    if len(text) > MAX_CHARS:
        return f"too long: {len(text)} characters, at most {MAX_CHARS}"
    depth = braces = 0
    plain = text.isascii() and text.isprintable()
    for char in text:
        category = "" if plain else unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs", "Co", "Cn") and char not in "\t\r\n":
            return f"control character {quote(char)}"
        if category in ("Nd", "Nl", "No") and not char.isascii():
            return f"digit {quote(char)} is not ASCII"
        depth += (char in "([{") - (char in ")]}")
        braces += (char == "{") - (char == "}")
        if depth > MAX_DEPTH:
            return f"brackets nested deeper than {MAX_DEPTH}"
        if braces < 0:
            return "'}' without '{'"
    if braces:
        return "'{' without '}'"
    if not text.strip():
        return "empty"
    if re.search(rf"[0-9]{{{MAX_DIGITS + 1}}}", text):
        return f"number longer than {MAX_DIGITS} digits"
    if re.search(r"\^\s*\{[^{}]*(\^|\*\*|!)", text) or re.search(r"\^\s*\w\s*\^", text):
        return "tower of exponents"
    if "**" in text:
        return "'**' is not math notation"
    exponents = re.findall(r"\^\s*\{?\s*[+-]?\s*([0-9]+)", text)
    if any(int(digits) > MAX_EXPONENT for digits in exponents):
        return f"exponent above {MAX_EXPONENT}"
    factorials = re.findall(r"([0-9]+)\s*!", text)
    if re.search(r"!\s*!", text) or any(int(digits) > MAX_FACTORIAL for digits in factorials):
        return f"factorial above {MAX_FACTORIAL}!"
    return ""


def clean(text: str) -> str:
    r"""Typography to ASCII: minus signs, `\$`, `\%`, `{,}`, spacing commands, wrappers, a final full stop."""
    for found, plain in _TYPOGRAPHY.items():
        text = text.replace(found, plain)
    text = re.sub(r",\\!\s*(?=[0-9]{3}(?![0-9]))", ",", text).replace("\\!", "")  # 11,\! 111 is one number
    text = re.sub(r"(?<!\\)\\(?:,|;|:| |quad|qquad)(?![A-Za-z])", " ", text)
    text = unwrap(text, _WRAPPERS, _without_full_stop, _is_whole)
    return re.sub(r"\s+", " ", text).strip()


def _without_full_stop(text: str) -> str:
    text = text.strip()
    return text[:-1].strip() or text if text.endswith(".") else text


def _is_whole(opening: str, inside: str) -> bool:
    r"""Whether what opens before `inside` closes after it, unlike in `\boxed{1}+\boxed{2}` and `$1$ or $2$`."""
    depths = accumulate((char == "{") - (char == "}") for char in inside)
    return min(depths, default=0) >= 0 and not ("$" in opening and "$" in inside)


def plain_number(text: str) -> Number | None:
    r"""The number that cleaned `text` plainly is: `-1,234.5`, `$12`, `12 apples`, `1 1/2`, `\frac{3}{4}`."""
    text = _TEXT.sub(r" \1", text).strip() if text[:1].isdigit() or text[:1] in "+-$." else text
    if found := _PLAIN.fullmatch(text):
        sign, currency, inner_sign, digits, unit = found.groups(default="")
        unit = unit.strip()
        if (sign and inner_sign) or unit.casefold() in _NOT_UNITS or (currency and unit):
            return None
        value = Fraction(re.sub(r"\.(?![0-9])|,", "", digits))
        return Number(-value if "-" in (sign, inner_sign) else value, _unit_name(currency or unit), True)
    if found := _RATIO.fullmatch(text) or _LATEX_RATIO.fullmatch(text):
        sign, whole, top, bottom = found.groups(default="")
        if not int(bottom) or (whole and int(top) < 0):
            return None
        value = int(whole or 0) + Fraction(int(top), int(bottom))
        return Number(-value if sign == "-" else value, "", False)
    return None


def _unit_name(unit: str) -> str:
    """One spelling per unit: lower case, no plural s, `$` as dollar."""
    name = unit.casefold()
    stem = name if len(name) == 1 else name.removesuffix("s")
    return _UNIT_NAMES.get(stem, stem)


def _same_value(answer: Number, gold: Number) -> bool:
    if answer.value == gold.value:
        return True
    if "%" not in (answer.unit, gold.unit):
        return False
    answer_scale, gold_scale = (100 if number.unit == "%" else 1 for number in (answer, gold))
    return answer.value * gold_scale == gold.value * answer_scale


def _prose(text: str) -> str:
    r"""The first word that no formula holds ("" if none); LaTeX commands and `\text{}` are left out."""
    bare = re.sub(r"\\(?:begin|end)\{[a-z]+\}|\\[A-Za-z]+", " ", _TEXT.sub(" ", text))
    words = re.findall(r"[A-Za-z]{3,}", bare)
    return next((word for word in words if word.casefold() not in _FORMULA_WORDS), "")


def _not_one_value(text: str, gold: str) -> str:
    """Why the answer is not one value of the form that gold has; math-verify would accept some of these."""
    listed = _AND_OR.sub(",", text)
    spaced = _TEXT.sub(" ", listed)
    if re.search(r"[0-9.]\s+[0-9.]", spaced) or (re.search(r"[0-9]\s*\\text\{[^}]*\}\s*[0-9]", listed)):
        return "several numbers"
    if text.count("\\boxed") > 1:
        return "several \\boxed"
    if re.search(r"\.[0-9]*\.", text):
        return "two decimal points"
    if re.search(r"[0-9]\s*_", text) and ("_" not in gold or _BASE.findall(text) != _BASE.findall(gold)):
        return "an index on a number that gold has not"  # math-verify drops it: 12_8 would be 12_9
    if _BASE.findall(gold) and not _BASE.findall(text):
        return "gold names a base, the answer none"  # 40 is another number than 40_9
    bracketed = _bracketed_list(text), _bracketed_list(gold)
    if None not in bracketed and bracketed[0] != bracketed[1]:  # math-verify pays (2,1) for the two values 1,2
        return "brackets around a list, gold has none" if bracketed[0] else "a list without the brackets of gold"
    if "=" in text and "=" not in gold and not re.fullmatch(r"[A-Za-z]\w?(\([A-Za-z]\))?\s*=[^=]*", text):
        return "an equation, not a value"
    for word in sorted(_changing_words(text) - _changing_words(gold)):
        return f"the word {quote(word)} changes the value"
    for word in sorted(_changing_words(gold) - _changing_words(text) - {"and", "or"}):
        return f"the word {quote(word)} of gold is missing"
    return ""


def _changing_words(text: str) -> set[str]:
    r"""The words in `\text{}` that change a value: `5\text{ million}` is not 5, `1\text{ or }2` is two values."""
    words = {word.casefold() for word in re.findall(r"[A-Za-z]+", " ".join(_TEXT.findall(text)))}
    return words & _NOT_UNITS


def _bracketed_list(text: str) -> bool | None:
    r"""Whether a comma list stands in `()` or `[]` as a whole, as a point or interval does; None if it is no list.

    A set `\{1,2\}` counts as the bare list `1,2`; `x =` or `x \in` before the list does not count.
    """
    text = re.sub(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])", "", text)
    text = re.sub(r"^[A-Za-z]\s*(?:=|\\in(?![A-Za-z]))", "", text).strip().replace("\\{", "{").replace("\\}", "}")
    text = _AND_OR.sub(",", text)
    if text.startswith("{") and text.endswith("}") and _is_whole("{", text[1:-1]):
        text = text[1:-1]
    depths = list(accumulate((char in "([{") - (char in ")]}") for char in text))
    if any(char == "," and depth == 0 for char, depth in zip(text, depths, strict=True)):
        return False
    enclosed = text[:1] in ("(", "[") and text[-1:] in (")", "]") and depths[-1] == 0 and 0 not in depths[:-1]
    return True if enclosed and "," in text else None


def _choice(text: str) -> str:
    """A text as it is compared: case and spacing aside, `(C)` as `C`."""
    return re.sub(r"\(\s*([a-z])\s*\)", r"\1", " ".join(text.casefold().split()))


class Question(NamedTuple):
    """A question for the process; `if_gold_is_readable` overrules its verdict on a readable gold."""

    answer: str
    gold: str
    if_gold_is_readable: Verdict | None = None


class Gold(NamedTuple):
    r"""A gold answer: cleaned, the words if it is `\text{...}`, the number if it is plain, and as a question."""

    text: str
    words: str | None
    number: Number | None
    latex: str


@lru_cache(maxsize=16_384)  # siblings share theirs, and every epoch brings it again
def _read_gold(gold: str) -> Gold | Verdict:
    if reason := rejection(gold):
        return Verdict("bad_gold", None, clip(f"gold: {reason}"))
    wanted = clean(gold)
    words, number = _TEXT.fullmatch(wanted), plain_number(wanted)
    if not wanted or (not words and not number and _prose(wanted)):
        return Verdict("bad_gold", None, clip(f"gold: not a formula: {quote(wanted)}"))
    return Gold(wanted, words[1] if words else None, number, _latex(wanted, number))


def judge_here(answer: str, gold: str) -> Verdict | Question:
    """The verdict where no algebra is needed, else the question for the process.

    A refused answer still asks about a gold that is no plain number: a row with an unusable gold is
    `bad_gold` for every sibling of its group, not only for those whose answers got as far.
    """
    if not isinstance(gold, str):
        return Verdict("bad_gold", None, "gold is not a string")
    read = _read_gold(gold)
    if isinstance(read, Verdict):
        return read
    wanted, gold_text, gold_number, wanted_latex = read

    def refused(reason: str) -> Verdict | Question:
        verdict = Verdict("unparseable", None, clip(reason))
        return verdict if gold_text is not None or gold_number else Question("", wanted_latex, verdict)

    if reason := rejection(answer) if isinstance(answer, str) else "no answer":
        return refused(reason)
    given = clean(answer)
    if gold_text is not None:
        said = " ".join(_TEXT.sub(r"\1", given).split())
        if _choice(said) == _choice(gold_text):
            return Verdict("correct", clip(said), "")
        return Verdict("wrong", clip(said), f"text is not {quote(gold_text)}")
    number = plain_number(given)
    form = given if number is None else str(number.value)
    if (number is None or gold_number is None) and (reason := _not_one_value(form, wanted)):
        return refused(reason)
    if number is None:
        if word := _prose(given):
            return refused(f"not a formula: {quote(word)}")
    elif gold_number is not None:
        value = clip(str(number.value))
        if number.unit and gold_number.unit and number.unit != gold_number.unit:
            return Verdict("wrong", value, f"unit {quote(number.unit)} is not {quote(gold_number.unit)}")
        if _same_value(number, gold_number):
            return Verdict("correct", value, "")
        if number.decimal == gold_number.decimal:
            return Verdict("wrong", value, clip(f"value {value} is not {gold_number.value}"))
    return Question(_latex(given, number), wanted_latex)


def _latex(text: str, number: Number | None) -> str:
    """The text that the process parses: a plain number without its unit, else the cleaned text."""
    if number is None or not number.unit:
        return text
    return f"{number.value}\\%" if number.unit == "%" else str(number.value)


_pool = GraderPool("r1rl.verify.math_process:compare", name="math")


def verify_many(items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
    """Verdicts of (answer, gold, meta) triples, in order; `meta` is not used.

    Raises `RuntimeError` when math-verify's processes cannot be started. The pool keeps the time, see `pool_batch`.
    """
    judged = [judge_here(answer, gold) for answer, gold, _ in items]
    answers = iter(_pool.verify_many([(ask.answer, ask.gold) for ask in judged if isinstance(ask, Question)]))
    verdicts = []
    for ask in judged:
        verdict = next(answers) if isinstance(ask, Question) else ask
        if isinstance(ask, Question) and ask.if_gold_is_readable and verdict.status != "bad_gold":
            verdict = ask.if_gold_is_readable
        verdicts.append(verdict)
    return verdicts


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one math answer against `gold`; `value` is its parsed form. Never raises on any text."""
    return verify_many([(answer, gold, meta)])[0]
