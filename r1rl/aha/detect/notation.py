"""Mathematical notation of running text as plain signs: Unicode and LaTeX signs, words such as "times" and "gives".

Every character keeps its place, so that spans fit the original. Work is linear in the text, and no text raises.
"""

from __future__ import annotations

import re
from typing import Final

_SIGNS: Final = str.maketrans("×·⋅∙✕÷−–≈\u00a0[]$`&", "*****/--= ()   ")
_FRACTION: Final = re.compile(r"\\[dt]?frac\s{0,3}\{([^{}]{1,80})\}\s{0,3}\{([^{}]{1,80})\}")
_LATEX: Final = re.compile(r"\\(?:\\|[()\[\],;:! ]|[A-Za-z]{1,20})")
_LATEX_SIGNS: Final = {"times": "*", "cdot": "*", "ast": "*", "div": "/", "approx": "=", "equiv": "=", "\\": "\n"}
_LATEX_BLANK: Final = frozenset({"left", "right", "boxed", "quad", "qquad", "displaystyle", "bigl", "bigr"})
_VERB: Final = (
    r"(?:is equal to|equals to|equals|equal to|gives us|gives(?: you)?|yields|makes|is|to get|to make|to give)"
)
# Only after a number or a bracket, which are rare in prose, and not where more digits or a sign follow, so that the
# search is quick.
_WORDS: Final = re.compile(
    rf"([0-9)](?![0-9]|\s[-+/=(0-9])[\s*]{{0,6}})(?=[a-z,])((?:,\s?)?(?:(?:which|that|this|it) )?{_VERB}"
    r"|times|plus|minus|divided by|multiplied by)(?!\w|\s[-0-9./]{1,20} (?:less|more|fewer|higher|lower|greater)\b)"
)
# "3 plus 5 is 8, times 2 makes 16" goes on from the 8.
_GOES_ON: Final = re.compile(r",(?<=[0-9)],)\s(?:and |then )?(?=(?:times|plus|minus|divided by|multiplied by) [-0-9(])")
# "7/3 is 14/3 less than 7" states a distance, no expression.
_DISTANCE: Final = re.compile(r"[0-9]/(?=[0-9]{1,12} (?:less|more|greater|higher|lower) than)")
# A unit between a number and a sign: "18 cups / 2 cups = 9", "50 cents - 5 cents".
_UNIT: Final = re.compile(
    r"([0-9])( (?=[a-z]{2,14} [-+*/=])"
    r"(?!(?:and|or|so|then|to|by|is|are|was|no|yes|not|but|from|wait|got|with|if|as) )[a-z]{2,14})"
    r"(?= [-+*/=] ?[-(]?[0-9])"
)
_WORD_SIGNS: Final = {"times": "*", "multiplied by": "*", "plus": "+", "minus": "-", "divided by": "/"}
_HAS_WORDS: Final = (" is ", "equal", " give", "yields", " make", "to get", "times", "plus", "minus", " by ")
_THOUSANDS: Final = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_LETTER_TIMES: Final = re.compile(r"[xX](?<=[0-9)\s].)(?=\s{0,2}[0-9(])")
_BULLET: Final = re.compile(r"^[ \t]*[-*+•](?=[ \t])", re.MULTILINE)


def normalise(text: str) -> str:
    """`text` with ASCII signs for words, LaTeX and Unicode signs; its length stays, so spans fit the original."""
    text = text.translate(_SIGNS)
    text = _THOUSANDS.sub(_without_commas, text)
    if "\\" in text:
        for _ in range(3):  # innermost first: a fraction of fractions of fractions
            text, changed = _FRACTION.subn(_fraction_inline, text)
            if not changed:
                break
        text = _LATEX.sub(_latex, text).replace("{", "(").replace("}", ")")
    if "**" in text:
        text = re.sub(r"\*{2,}", _stars, text)
    text = text.replace("//", "^^")
    text = _LETTER_TIMES.sub("*", text)
    if any(word in text for word in _HAS_WORDS):
        text = _WORDS.sub(_word, _GOES_ON.sub(_blank, text))
    if " than" in text:
        text = _DISTANCE.sub(lambda found: found[0][0] + ";", text)
    if "=" in text:
        text = _UNIT.sub(lambda found: found[1] + " " * len(found[2]), text)
    return _BULLET.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _word(found: re.Match[str]) -> str:
    word = found[2]
    if not (found[1][-1].isspace() or word[0] == ","):
        return found[0]  # "2is", "3times"
    return found[1] + _WORD_SIGNS.get(word, "=").ljust(len(word))


def _without_commas(found: re.Match[str]) -> str:
    # "1,200" is one number; in "100*1=100,100+7" the comma parts two equations.
    after = found.string[found.end() : found.end() + 2].lstrip()
    if found.string[: found.start()].rstrip(" ")[-1:] == "=" and after[:1] in tuple("+-*/"):
        return found[0]
    return found[0].replace(",", "").rjust(len(found[0]), "0")


def _fraction_inline(found: re.Match[str]) -> str:
    return f"(({found[1]})/({found[2]}".ljust(len(found[0]) - 2) + "))"


def _latex(found: re.Match[str]) -> str:
    name = found[0][1:]
    if name in _LATEX_SIGNS:
        return _LATEX_SIGNS[name].rjust(len(found[0]))
    # Layout vanishes; other commands (\text, \neq, \to) end an expression.
    return " " * len(found[0]) if name in _LATEX_BLANK or not name.isalpha() else ";".ljust(len(found[0]))


def _stars(found: re.Match[str]) -> str:
    # "3**5" and "3 ** 5" are powers, which end nothing well; "**3*5 = 15**" is bold type.
    text, before, after = found.string, found.start() - 1, found.end()
    left, right = text[before : before + 1] if before >= 0 else "", text[after : after + 1]
    glued = (left.isdigit() or left == ")") and (right.isdigit() or right == "(")
    power = glued or left == " " == right
    return ("^" if power else " ") * len(found[0])
