"""Numbers that a line of free text comes to: in an equation, in words that conclude, or in working without signs.

- `results`: equations, "24 * 12 = 288".
- `conclusions`: "So Tom has 288 eggs", "that gives 288", "the total is 288".
- `worked_in_words`: "25% of 80 is 20", "half of the 12 eggs is 6", "the difference between 9 and 4 is 5".
- `last_unread`: what stands after an "=" whose left side cannot be read, "2^3 = 8", "20% of 80 = 16".
- `last_total`: a total, a rest or a prediction, "the total number of eggs is 288", "288 eggs are left", "she will have
  288 eggs". Questions say such things too ("12 are left. How many were there?"), so it is a last resort.

A rate ("12 in each box"), a condition, a denial and a question come to nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from r1rl.aha.detect.announced import GOES_ON, NO_LETTER, NUMBER, number
from r1rl.aha.detect.equations import Equation, Value
from r1rl.aha.detect.reasoning import Reasoning

_CONCLUSION: Final = re.compile(
    rf"{NO_LETTER}(?=[aghilmrst])(?:so|therefore|thus|hence|altogether|in total|meaning"
    r"|(?:(?<=that )|(?<=this )|(?<=which ))(?:gives|makes|leaves|means|rounds (?:up|down))"
    r"|(?:(?<=the )|(?<=the final )|(?<=the overall ))(?:result|total|sum)(?= (?:is|was|equals) ))\b[,:]?"
    r"(?:\s{1,2}(?!(?:if|when|each|per|every|suppose|unless|because|since|than|not)\b)[a-z\'*$-]{1,20},?){0,12}"
    r"\s{1,2}\*{0,2}(?=[-$0-9])"
)
_REST: Final = re.compile(r"\*{0,2}[^.!?\n0-9=+*/]{0,60}(?=[.!?\n]|$)")

_IS: Final = (
    r"(?:is|are|was|were|equals|leaves|gives|makes|becomes|comes to|results in|(?:we|you|to) get|(?:we|you) have|=)"
)
_AT: Final = r" (?:now |then |therefore |exactly |only |equal to |a total of )?\*{0,2}(?=[-$0-9])"
_WORD: Final = r"(?:(?!(?:each|per|every|if|when|unless|suppose|not|could|might|may)\b)[a-z'-]{1,24},? )"
_NUMBER: Final = r"\$?[0-9][0-9,./%]{0,12} "
_IN_WORDS: Final = re.compile(
    rf"(?=[%dhpst])(?:(?:%|{NO_LETTER}(?:percent|half|third)) of {_WORD}{{0,3}}{_NUMBER}"
    rf"|{NO_LETTER}half {_WORD}{{0,3}}{_NUMBER}"
    rf"|{NO_LETTER}(?:difference|sum|product) (?:of|between) {_WORD}{{0,3}}{_NUMBER}(?:{_WORD}{{1,4}}{_NUMBER}){{1,4}})"
    rf"{_WORD}{{0,3}}?{_IS}{_AT}"
)
_EQUALS: Final = re.compile(r"=\s{0,2}(?=[-$0-9])")
_TOTAL: Final = re.compile(
    rf"\b(?:number|amount|total|sum|difference|remainder|rest) {_WORD}{{0,12}}?{_IS}{_AT}"
    rf"|\b(?:will|would|must) (?:now |then |still |only |also )?(?:have|be|need|get|cost|take|make){_AT}"
    rf"|(?=[$0-9])(?<![\w$.,/*+=-])(?={NUMBER.pattern} {_WORD}{{0,6}}?"
    r"(?:left|remaining|altogether|in all|in total)(?: over)?\s{0,2}(?:[.!?,\n<]|$))"
)
_SUPPOSED: Final = re.compile(
    r"\b(?:if|when|whether|suppose|assum(?:e|ing)|unless|each|per|every|isn't|not|perhaps|maybe)\b[^.!?\n]{0,60}$"
)
_RATE: Final = re.compile(r"[^.!?\n]{0,30}\b(?:each|per|every|apiece)\b|[^.!\n]{0,40}\?")

_LAST_DIGIT: Final = re.compile(r"[0-9](?=[^0-9]*$)")
_SENTENCE_END: Final = re.compile(r"[.!?]\s|\n")
_LAST_CHARS: Final = 400


class Result(NamedTuple):
    """`completion[start:end]` comes to `value`; `text` is how that is written. `worked`: in an equation."""

    start: int
    end: int
    text: str
    value: Any
    worked: bool = True
    operands: tuple[Value, ...] = ()
    template: str = ""


def results(completion: str, equations: Iterable[Equation]) -> Iterator[Result]:
    """The evaluated equations, in order: an expression and its claimed value, or what follows "is" or "=" alone."""
    for equation in equations:
        result, worked = equation.result, equation.worked
        if result is None:
            continue
        start, end = result.start, result.end
        text = completion[start:end]
        if worked is not None:
            stop = max(end, equation.sides[0].end)
            yield Result(equation.start, stop, text, result.claim, True, worked.values, worked.template)
        elif len(equation.sides) == 1 and completion[max(0, start - 4) : start].rstrip(" $").endswith("="):
            yield Result(start, end, text, result.claim)


def conclusions(completion: str, folded: str, start: int, end: int) -> Iterator[Result]:
    """Conclusions that name one number and work nothing out: "So Tom has 288 eggs.", "Hence, 288 pens."."""
    for match in _CONCLUSION.finditer(folded, start, end):
        stated = _at(completion, match.start(), match.end(), end, worked=False)
        if stated and (rest := _REST.match(completion, stated.end, end)):
            yield stated._replace(end=rest.end())


def worked_in_words(completion: str, folded: str, start: int, end: int) -> list[Result]:
    """Working that is told in words, without signs, and the value it comes to; in order."""
    found = (_at(completion, m.start(), m.end(), end, worked=True) for m in _IN_WORDS.finditer(folded, start, end))
    return [result for result in found if result is not None]


def last_unread(text: Reasoning, start: int, end: int) -> Result | None:
    """The value after the last "=" between `start` and `end`, where `results` has not read it."""
    completion, equations = text.completion, text.equations
    at = text.folded.rfind("=", start, end)
    sign = _EQUALS.match(text.folded, at, end) if at >= 0 else None
    if sign is None:
        return None
    place = bisect_right(equations, at, key=lambda equation: equation.start) - 1
    if place >= 0 and not _unread(completion, equations[place], at):
        return None
    return _at(completion, at, sign.end(), end, worked=True)


def _unread(completion: str, equation: Equation, at: int) -> bool:
    """Whether the sign at `at` states a value that `results` has not: "1 cup = 8 ounces" states none."""
    if at >= equation.end or completion[equation.start - 1 : equation.start].isalnum():  # "4(9) = 36"
        return True
    first, last = equation.sides[0], equation.sides[-1]
    return first.claim is not None and first.claim not in (1, last.claim)


def last_total(completion: str, folded: str, start: int, end: int) -> Result | None:
    """The last total, rest or prediction in the last sentence between `start` and `end` that holds a number."""
    digits = _LAST_DIGIT.search(folded, max(start, end - _LAST_CHARS), end)
    if digits is None:
        return None
    sentence = max(start, digits.start() - _LAST_CHARS)
    for found in _SENTENCE_END.finditer(folded, sentence, digits.start()):
        sentence = found.end()
    last: Result | None = None
    for match in _TOTAL.finditer(folded, sentence, end):
        if _SUPPOSED.search(folded, max(start, match.start() - 60), match.start()):
            continue
        stated = _at(completion, match.start(), match.end(), end, worked=False)
        if stated is not None and not _RATE.match(folded, stated.end, end):
            last = stated
    return last


def _at(completion: str, start: int, at: int, end: int, *, worked: bool) -> Result | None:
    """The number that stands at `at`, in a statement that begins at `start`; None where it is part of an expression."""
    value = NUMBER.match(completion, at, end)
    if value is None or GOES_ON.match(completion, value.end(), end):
        return None
    text = value[0].strip(" ,")
    worth = number(text)
    return None if worth is None else Result(start, at + len(value[0].rstrip(" ,")), text, worth, worked)
