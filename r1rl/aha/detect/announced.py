r"""Committed candidate answers that the text announces, of tasks that are not Countdown.

- what stands in `\boxed{...}`, and what "the answer is" and the like are followed by;
- what "so the total is", "therefore the result is" are followed by, unless the total is one of something ("the total
  cost of the apples"), which may be a step on the way;
- "x = 5" where the question asks for x; "option B is correct" where letters are asked for.

A question ("is the answer 5?"), a condition, a denial ("the answer is not 5") and a hedge ("5 or 6") announce nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from r1rl.aha.detect.reasoning import Reasoning
from r1rl.verify import extraction
from r1rl.verify import math as math_verifier

MAX_CANDIDATES: Final = 200
MAX_TEXT: Final = 60
_MAX_BOX: Final = 400

_BE: Final = (
    r"(?:is|are|was|=|:|would be|should be|must be|will be|has to be|comes? (?:out )?to(?: be)?|becomes|equals?|being)"
)
_ADVERB: Final = (
    r"(?:\s+(?:then|thus|therefore|simply|just|exactly|approximately|about|equal to|definitely|indeed|actually|still"
    r"|also|now|going to be|option|choice|equals?|hence|clearly|really|probably))"
)
NO_LETTER: Final = r"(?<![^\W_])"
"""Before a word: no letter or digit, so that it is not the end of another word."""
_ANSWER: Final = re.compile(
    rf"{NO_LETTER}(?:(?:answer|solution)\b"
    r"(?: (?:to|for|of) (?:the|this|our) (?:question|problem|equation|puzzle|exercise))?"
    rf"(?: (?:i|we) (?:get|got|have|found|obtain))?[*_\s]{{0,4}}{_BE}{_ADVERB}{{0,3}}[:*_\s]{{0,6}}"
    r"|(?:so|thus|therefore|hence|then|finally|which means|this means|altogether|overall|in total)\b,?"
    r"(?: (?:that|we|i) (?:get|find|have|know|see))?(?: that)?"
    r" (?:the|our|her|his|their|a)? ?(?:final|overall|grand|correct|whole|combined)? ?"
    r"(?:total|result|sum|value|final number|amount)(?: (?:number|amount|value|sum|of))? "
    rf"{_BE}{_ADVERB}{{0,3}}[:*_\s]{{0,6}})"
)
_VARIABLE: Final = re.compile(
    r"(?:find|solve for|value of|what is|determine|compute|calculate)\s+(?:the value of\s+)?[$\\(*]{0,3}([a-z])\b(?!')",
    re.IGNORECASE,
)
NUMBER: Final = re.compile(
    r"[-−]?\s?[$€£]?\s?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,30})(?:\.[0-9]{1,30})?(?:\s?/\s?[0-9]{1,30})?\s?%?"
)
GOES_ON: Final = re.compile(
    r"\s*(?:[-+*^×÷·=_]\s*(?:[0-9(a-z$\\]|\.[0-9])|/\s*(?:[0-9($\\]|\.[0-9]|[a-z]\b)|\\(?:times|cdot|div)|times\b|plus\b|minus\b|divided\b|multiplied\b|x\s*[0-9]"
    r"|(?:or|to|and|-|–)\s*\$?[0-9]|\.?[0-9])"
)
_MATHS: Final = re.compile(r"\$\$?([^$\n]{1,120})\$\$?|\\\(([^\n]{1,120}?)\\\)|\\\[\s*([^\n]{1,120}?)\s*\\\]")
_LETTER: Final = re.compile(r"(?:option |choice )?(?:\*\*)?(?:\(([A-Za-z])\)|([A-Z])(?![\w']))")
_THAT_OPTION: Final = re.compile(
    r"\b(?:(?:option|choice|answer) )?\(?([A-Z])\)? (?:is|must be|should be|seems)"
    r"(?: likely| probably| clearly| definitely)? (?:the )?(?:most )?(?:correct|right|best|appropriate|likely)"
    r" (?:answer|option|choice)\b|\b(?:option|choice|answer) \(?([A-Z])\)? is (?:the )?(?:correct|right)"
    r"|\b(?:[Tt]hat's|[Tt]hat is|[Ww]hich is|[Tt]his is|is|matches|corresponds to|would be) (?:indeed |exactly )?"
    r"(?:option|choice|answer) \(?([A-Z])\b(?! or)"
)
_ARTICLE: Final = re.compile(r"A [a-z]")
_DOUBT: Final = re.compile(
    r"\b(?:if|whether|suppose|assume|assuming|unless|could|might|may|can|isn't|not|perhaps|maybe|is|was|why|when|say)\b"
    r"[^.!?\n]{0,60}$"
)
_DENIAL: Final = re.compile(
    r"\s*(?:\?|,? (?:right|correct)\?|is (?:wrong|incorrect|not)|(?:which|that) (?:is|can't|cannot) (?:wrong|not|be))"
)
_QUESTION: Final = re.compile(r"[^.!\n;]{0,40}\?")


class Candidate(NamedTuple):
    """`text` is what is graded; `completion[start:end]` is where it stands, with the words that commit to it.

    `worked`: an equation is part of it.
    """

    start: int
    end: int
    text: str
    worked: bool = False


def announced(text: Reasoning, *, verifier: str, question: str = "") -> list[Candidate]:
    """The announced candidates in the reasoning, in order, none overlapping. Linear in the text."""
    completion, folded, spans = text.completion, text.folded, text.spans
    found: list[Candidate] = []
    if "\\boxed" in completion:
        found += _boxed(completion, spans)
    for start, end in spans:
        for match in _ANSWER.finditer(folded, start, end):
            if (value := _value_at(completion, match.end(), end, verifier)) is None:
                continue
            said, stop = value
            if _DOUBT.search(folded, max(start, match.start() - 60), match.start()) or _denied(folded, stop, end):
                continue
            found.append(Candidate(match.start(), stop, said))
    if verifier == "choice":
        for start, end in spans:
            for m in _THAT_OPTION.finditer(completion, start, end):
                doubted = _DOUBT.search(folded, max(start, m.start() - 60), m.start()) or _denied(folded, m.end(), end)
                if not doubted:
                    found.append(Candidate(m.start(), m.end(), m[1] or m[2] or m[3]))
    elif question and "=" in completion and (asked := _VARIABLE.findall(question[-2000:])):
        found += _variable(completion, spans, asked[-1])
    found.sort(key=lambda candidate: (candidate.start, -candidate.end))
    kept: list[Candidate] = []
    for candidate in found:
        if not kept or candidate.start >= kept[-1].end:
            kept.append(candidate)
    return kept[:MAX_CANDIDATES]


def _boxed(completion: str, spans: Sequence[tuple[int, int]]) -> list[Candidate]:
    found: list[Candidate] = []
    for start, end in spans:
        at = completion.find("\\boxed", start, end)
        while at >= 0 and len(found) < MAX_CANDIDATES:
            piece = completion[at : min(end, at + _MAX_BOX)]
            closing = _closing(piece)
            if closing > 0:
                content = extraction.boxed(piece[: closing + 1])[0]
                if content is not None:
                    found.append(Candidate(at, at + closing + 1, content))
            at = completion.find("\\boxed", at + max(6, closing + 1), end)
    return found


def _closing(piece: str) -> int:
    depth = 0
    for match in re.finditer(r"\\.|[{}]", piece, re.DOTALL):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0 and match[0] == "}":
            return match.start()
    return -1


def _value_at(completion: str, start: int, end: int, verifier: str) -> tuple[str, int] | None:
    """The value that stands at `start`, and where it ends."""
    if completion.startswith(("not ", "\\boxed", "$\\boxed"), start):
        return None  # denied, or found as a box
    if verifier == "choice":
        letter = _LETTER.match(completion, start, end)
        if letter is None or _ARTICLE.match(completion, start, end):
            return None
        return (letter[1] or letter[2]).upper(), letter.end()
    if maths := _MATHS.match(completion, start, end):
        text = next(group for group in maths.groups() if group is not None)
        text = text.rpartition("=")[2].strip()
        if "\\boxed" in text or not text:
            return None
        return text, maths.end()
    if number := NUMBER.match(completion, start, end):
        if not GOES_ON.match(completion, number.end(), end):
            return number[0].strip(), len(number[0].rstrip()) + number.start()
        return _after_expression(completion, start, end)
    if verifier in ("exact", "gym"):
        text = re.split(
            r"[\n.!?;<]|, (?:so|because|since|and|but|which|as)\b",
            completion[start : min(end, start + 200)],
            maxsplit=1,
        )[0]
        text = text.strip(" \t*_\"'`:")
        if 0 < len(text) <= MAX_TEXT:
            at = completion.index(text, start)
            return text, at + len(text)
    return None


_RIGHT_SIDE: Final = re.compile(
    r"[-+*/^×÷·()0-9.,\s$\\a-z{}]{1,80}?=\s*(?P<value>[-−]?\s?\$?[0-9][0-9,]*(?:\.[0-9]+)?)(?!\s*[-+*/^×÷=]\s*[0-9(])"
)


def _after_expression(completion: str, start: int, end: int) -> tuple[str, int] | None:
    """`3 * 5 = 15`: the value after the sign; an expression without one is no value."""
    match = _RIGHT_SIDE.match(completion, start, min(end, start + 160))
    return (match["value"].rstrip(",").strip(), match.end("value")) if match else None


def _denied(folded: str, start: int, end: int) -> bool:
    return bool(_DENIAL.match(folded, start, end) or _QUESTION.match(folded, start, end))


def _variable(completion: str, spans: Sequence[tuple[int, int]], name: str) -> list[Candidate]:
    pattern = re.compile(rf"(?<![\w\\^_*/+{{-])(?<![-+*/=] )\$?{re.escape(name)}\s*=\s*(?=[-−$\\0-9])")
    found = []
    for start, end in spans:
        for match in pattern.finditer(completion, start, end):
            rest = NUMBER.match(completion, match.end(), end)
            if rest is None or GOES_ON.match(completion, rest.end(), end):
                continue
            before = completion[max(start, match.start() - 60) : match.start()].lower()
            if not _DOUBT.search(before) and not re.search(
                r"\b(?:let|set|try|for|with|when|where|take|check)\b[^.\n]{0,40}$", before
            ):
                found.append(Candidate(match.start(), len(rest[0].rstrip()) + rest.start(), rest[0].strip()))
    return found


@lru_cache(maxsize=16_384)  # a rollout names the same few numbers over and over
def number(text: str) -> Any:
    """The exact value of a plain number, None of any other text."""
    found = math_verifier.plain_number(text) if len(text) <= MAX_TEXT else None
    return found
