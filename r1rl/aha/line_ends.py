"""Where a line of reasoning ends in a number: "24 * 12 = 288. So Tom has 288 eggs. Wait, ..." ends in 288.

A line goes to the next words that turn it (a strict marker: "wait", "let me check", "I made a mistake") or to the end
of the reasoning. It ends in its last evaluated equation, or in a statement of the result after that; working and
statement are one candidate. A line that the token cap cut off ends in a statement only. An equation worked again with
another result ("12 - 5 = 8. 12 - 5 = 7.") ends a line too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from r1rl.aha.announced import GOES_ON, NUMBER, Candidate, matches, number
from r1rl.aha.equations import Equation, Value
from r1rl.aha.markers import Marker

_STATED: Final = re.compile(
    r"(?:so|therefore|thus|hence|altogether|in total|(?:(?<=that )|(?<=this )|(?<=which ))(?:gives|makes|leaves|means)"
    r"|(?:(?<=the )|(?<=the final )|(?<=the overall ))(?:result|total|sum)(?= (?:is|was|equals) ))\b[,:]?"
    r"(?:\s{1,2}(?!(?:if|when|each|per|every|suppose|unless|because)\b)[a-z\'*$-]{1,20},?){0,12}\s{1,2}\*{0,2}(?=[-$0-9])"
)
_WORDS: Final = (
    *("so", "therefore", "thus", "hence", "altogether", "in total", "gives", "makes", "leaves", "means"),
    *("result", "total", "sum"),
)
_REST: Final = re.compile(r"\*{0,2}[^.!?\n0-9=+*/]{0,60}(?=[.!?\n]|$)")
_WEAK: Final = frozenset({"hesitate"})


class Result(NamedTuple):
    """`completion[start:end]` comes to `value`; `text` is how that is written. `worked`: in an equation."""

    start: int
    end: int
    text: str
    value: Any
    worked: bool = True
    operands: tuple[Value, ...] = ()
    template: str = ""


def results(completion: str, equations: Sequence[tuple[int, Equation]]) -> Iterator[Result]:
    """The evaluated equations, in order: an expression and its claimed value, or what follows "is" or "=" alone."""
    for offset, equation in equations:
        if equation.final is None:
            continue
        first, last = equation.sides[0], equation.sides[equation.final]
        start, end = offset + last.start, offset + last.end
        if len(equation.sides) == 1:
            if completion[max(0, start - 4) : start].rstrip(" $").endswith("="):
                yield Result(start, end, completion[start:end], last.claim)
            continue
        left = next((side for side in equation.sides if side.claim is None), None)
        if left is not None:
            begin, stop = offset + first.start, max(end, offset + first.end)
            yield Result(begin, stop, completion[start:end], last.claim, True, left.values, left.template)


def _stated(completion: str, folded: str, start: int, end: int) -> Iterator[Result]:
    """Conclusions with one number and nothing worked: "So Tom has 288 eggs.", "Hence, 288 pens."."""
    for match in matches(_STATED, folded, _WORDS, start, end):
        value = NUMBER.match(completion, match.end(), end)
        if value is None or GOES_ON.match(completion, value.end(), end):
            continue
        stop = match.end() + len(value[0].rstrip(" ,"))
        rest = _REST.match(completion, stop, end)
        if rest is None:
            continue
        text = value[0].strip(" ,")
        worth = number(text)
        if worth is not None:
            yield Result(match.start(), rest.end(), text, worth, worked=False)


def with_line_ends(
    announced: Sequence[Candidate],
    completion: str,
    folded: str,
    spans: Sequence[tuple[int, int]],
    equations: Sequence[tuple[int, Equation]],
    markers: Sequence[Marker],
    *,
    closed: bool,
) -> list[Candidate]:
    """The announced candidates, each with the working that leads to it, and the line ends that none of them is."""
    worked = list(results(completion, equations))
    found: list[Candidate] = []
    for place, (start, end) in enumerate(spans):
        of_span = [result for result in worked if start <= result.start < end]
        events = sorted([*of_span, *_stated(completion, folded, start, end)])
        said = [candidate for candidate in announced if start <= candidate.start < end]
        turns = [marker for marker in markers if start <= marker.start < end]
        cut = place + 1 == len(spans) and not closed
        found += _of_span(said, events, turns, end, cut=cut)
    return found


def _of_span(
    said: Sequence[Candidate], events: Sequence[Result], turns: Sequence[Marker], end: int, *, cut: bool
) -> list[Candidate]:
    found: list[Candidate] = []
    first_said = first = 0
    for place in range(len(turns) + 1):
        until = turns[place].start if place < len(turns) else end
        last, last_said = first, first_said
        while last < len(events) and events[last].start < until:
            last += 1
        while last_said < len(said) and said[last_said].start < until:
            last_said += 1
        if place < len(turns) and turns[place].kind in _WEAK and _goes_on(events, last):
            continue
        complete = place < len(turns) or not cut
        found += _of_line(said[first_said:last_said], events[first:last], complete=complete)
        first, first_said = last, last_said
    return found


def _goes_on(events: Sequence[Result], place: int) -> bool:
    """Whether the equation after "hmm" works with the result before it."""
    if not 0 < place < len(events):
        return False
    return events[place - 1].value in events[place].operands


def _of_line(said: Sequence[Candidate], events: Sequence[Result], *, complete: bool) -> list[Candidate]:
    found: list[Candidate] = []
    done = 0  # events before this one are part of a candidate or lead to one
    for candidate in said:
        worth = number(candidate.text)
        last = done
        while last < len(events) and events[last].start < candidate.end:
            last += 1
        found += _reworked(events[done:last])
        start, worked = candidate.start, False
        for event in reversed(events[done:last]):
            if event.value != worth or worth is None:
                break
            start, worked = min(start, event.start), worked or event.worked
        found.append(candidate._replace(start=start, worked=worked))
        done = last
    rest = events[done:]
    found += _reworked(rest)
    if rest and (complete or not rest[-1].worked):
        last_one = rest[-1]
        if not (said and number(said[-1].text) == last_one.value):  # else the announcement explained
            start, worked = last_one.start, last_one.worked
            for event in reversed(rest[:-1]):
                if event.value != last_one.value or worked:
                    break
                start, worked = event.start, event.worked
            found.append(Candidate(start, last_one.end, last_one.text, worked))
    return found


def _reworked(events: Sequence[Result]) -> list[Candidate]:
    """Results that the next equation corrects: the same operands, another value."""
    found = []
    for before, after in pairwise(events):
        same = bool(before.operands) and (before.operands, before.template) == (after.operands, after.template)
        if same and before.value != after.value:
            found.append(Candidate(before.start, before.end, before.text, worked=True))
    return found
