"""Where a line of reasoning ends in a number: "24 * 12 = 288. So Tom has 288 eggs. Wait, ..." ends in 288.

A line goes to the next words that turn it (a strict marker: "wait", "let me check", "I made a mistake") or to the end
of the reasoning. It ends in its last evaluated equation, or in a statement of the result after that; working and
statement are one candidate. Working after it that no equation reads ("25% of 288 is 72") ends the line instead. A line
that the token cap cut off ends in a statement only. An equation worked again with another result ("12 - 5 = 8.
12 - 5 = 7.") ends a line too. Where none of a whole reasoning's lines ends in a number, a total in its last words does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from r1rl.aha.detect.announced import Candidate, number
from r1rl.aha.detect.markers import Marker
from r1rl.aha.detect.reasoning import Reasoning
from r1rl.aha.detect.statements import (
    Result,
    conclusions,
    last_total,
    last_unread,
    results,
    worked_in_words,
)

_WEAK: Final = frozenset({"hesitate", "doubt"})


def with_line_ends(announced: Sequence[Candidate], text: Reasoning) -> list[Candidate]:
    """The announced candidates, each with the working that leads to it, and the line ends that none of them is."""
    completion, folded, spans = text.completion, text.folded, text.spans
    worked = list(results(completion, text.equations))
    found: list[Candidate] = []
    for index, (start, end) in enumerate(spans):
        of_span = (result for result in worked if start <= result.start < end)
        events = sorted([*of_span, *conclusions(completion, folded, start, end)])
        said = [candidate for candidate in announced if start <= candidate.start < end]
        turns = [marker for marker in text.markers if start <= marker.start < end]
        cut = index + 1 == len(spans) and not text.closed
        unread = partial(_unread, text, worked_in_words(completion, folded, start, end))
        found += _of_span(said, events, turns, unread, start, end, cut=cut)
    if not found and text.closed:
        totals = (last_total(completion, folded, start, end) for start, end in reversed(spans))
        found += [Candidate(*total[:3]) for total in totals if total is not None][:1]
    return found


def _of_span(
    said: Sequence[Candidate],
    events: Sequence[Result],
    turns: Sequence[Marker],
    unread: Callable[[int, int], Result | None],
    start: int,
    end: int,
    *,
    cut: bool,
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
        line, of_line = said[first_said:last_said], events[first:last]
        if complete:
            done = max(start, line[-1].end if line else 0, of_line[-1].end if of_line else 0)
            if (more := unread(done, until)) is not None:
                of_line = [*of_line, more]
        found += _of_line(line, of_line, complete=complete)
        first, first_said, start = last, last_said, until
    return found


def _unread(text: Reasoning, words: Sequence[Result], start: int, end: int) -> Result | None:
    """The last value between `start` and `end` that is worked in no equation that could be read."""
    last = next((word for word in reversed(words) if start <= word.start and word.end <= end), None)
    return last_unread(text, start if last is None else last.end, end) or last


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
