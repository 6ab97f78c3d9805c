r"""Candidate answers in long free text, of the kind that R1 and its like write.

There a line of reasoning turns every few sentences ("Hmm", "Wait, let me check"), and most numbers it turns at are
steps on the way, so `r1rl.aha.detect.line_ends` does not hold. What tells an answer from a step is what the text itself
calls its answer, somewhere, in a box or as "the answer is": every place that comes to that value is a candidate.

- What the text announces in so many words is a candidate whatever its value.
- "So the total is 250" is one if its value is an answer's, or if the text doubts it at once ("Wait, no").
- Any other result ("16 + 2 is 18", "So, g(3) is 18", "Thus, 18 eggs") is one if its value is an answer's. One that is
  supposed ("if it is 18"), asked, denied, or worked with further is none.

So a wrong result that the text never calls an answer and does not doubt at once is taken for a step.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from r1rl.aha.detect.announced import GOES_ON, MAX_CANDIDATES, NUMBER, Candidate, number
from r1rl.aha.detect.goal_tests import judged_after
from r1rl.aha.detect.reasoning import Reasoning
from r1rl.verify.extraction import answer_tag, boxed

_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_STRONG: Final = re.compile(r"[$*\s]{0,4}\\boxed|(?:answer|solution)\b")
_FRACTION: Final = re.compile(r"\\[dt]?frac\s?\{(-?[0-9]{1,12})\}\s?\{([0-9]{1,12})\}")
_OPENED: Final = (
    r"(?:[$*({\[\s]|\\[(\[]|\\text(?:bf)?\{|about|exactly|indeed|also|approximately|still|just|only|all|=){0,6}$"
)
_ASSERTED: Final = re.compile(
    r"(?:[=≈]|\b(?:is|are|was|be|equals?|equal to|gives?(?: me| us)?|get|gets|got|makes?|becomes?|leaves?|yields?"
    r"|means?|remains?|comes? (?:out )?to|come up with|results? in|total(?: of)?)\b|'s)" + _OPENED
)
_CONCLUDED: Final = re.compile(
    r"^[\s*#-]{0,8}(?:(?:yes|yep|yeah|okay|ok|and|but|alright)[,\s]{1,3}){0,2}(?:so|therefore|thus|hence|then|altogether"
    r"|in total|in conclusion)\b[^0-9]{0,140}$"
)
_OPERATED: Final = re.compile(r"[-+*/×÷^·]\s?[$({]?$|\\(?:times|cdot|div|pm)\s?$")
_SUPPOSED: Final = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|when|whether|unless|let's say|try|trying|given that)\b[^,]*$"
)
_UNSAID: Final = re.compile(
    r"\b(?:not|isn't|can't|couldn't|wouldn't|could|might|may|maybe|perhaps|than|each|per|every|problem|question|says?"
    r"|given|mentions?|states?)\b[^.;,]{0,24}$"
)
_WORKED: Final = re.compile(
    r"(?:(?:[0-9)}\]]|\bthen)\s?[-+*/×÷]\s?|\b(?:plus|minus|times|by|and then|another|add|adding)\s)"
    r"[$({]{0,2}[0-9][0-9.,]*[)}%]?[^0-9.\n]{0,16}(?:is|=|are|gives?(?: me| us)?|makes?|equals?|get|be)"
    + _OPENED
    + r"|[0-9)%}],? which (?:is|equals|gives)"
    + _OPENED
    + r"|\b(?:adding|subtracting|multiplying|dividing|divide|multiply|subtract|add)\b[^.\n]{0,80}"
    r"(?:is|=|gives?(?: me| us)?|makes?|get|leaves)" + _OPENED
)
_RATIO: Final = re.compile(r"[({}\s]*/[)({}\s]*")
_WINDOW: Final = 160
_DOUBTED: Final = frozenset({"interrupt", "reject", "error"})
_SOON: Final = 100
_FEW: Final = 12
_AT_ONCE: Final = 40


def long_candidates(said: Sequence[Candidate], text: Reasoning) -> list[Candidate]:
    """The candidates of a long reasoning, in order, none overlapping; `said` are the announced ones. Linear."""
    strong = [one for one in said if _STRONG.match(text.folded, one.start)]
    answers = {_worth(one.text) for one in strong} | _given(text)
    if not answers:
        seen = Counter(_worth(one.text) for one in said)
        answers = {worth for worth, times in seen.items() if times > 1}
    kept = [one for one in said if one in strong or _worth(one.text) in answers or _doubted(one, text)]
    found = sorted([*kept, *_results(answers, text)], key=lambda one: (one.start, -one.end))
    candidates: list[Candidate] = []
    done = 0
    for one in found[: 4 * MAX_CANDIDATES]:
        if one.end <= done:
            continue
        if candidates and _continues(text, candidates[-1], one):
            candidates[-1] = candidates[-1]._replace(end=one.end)
            done = one.end
            continue
        candidates.append(Candidate(max(one.start, done), one.end, one.text, one.worked or _worked(text, done, one)))
        done = one.end
    return candidates[:MAX_CANDIDATES]


def worked_anew(said: Sequence[Candidate], text: Reasoning) -> list[Candidate]:
    """Candidates that are no numbers, such as letters, `worked` where an equation stands between one and the next."""
    starts = [equation.start for equation in text.equations if equation.worked is not None]
    ends = [0, *(one.end for one in said)]
    return [
        one._replace(worked=bisect_left(starts, before) < bisect_left(starts, one.end))
        for before, one in zip(ends, said, strict=False)
    ]


def _continues(text: Reasoning, before: Candidate, one: Candidate) -> bool:
    """Whether one candidate says the other's value again at once: a working, and the statement of its result."""
    if one.start - before.end > _AT_ONCE or _worth(before.text) != _worth(one.text):
        return False
    first = bisect_left(text.markers, before.end, key=lambda marker: marker.start)
    turned = first < len(text.markers) and text.markers[first].start < one.end
    return not turned and not judged_after(text.folded, before.end, one.start)


def _worth(said: str) -> Any:
    """What two ways of writing the same answer share: its number, or the text without layout."""
    bare = said.replace("\\%", "%").strip(" $.")
    if fraction := _FRACTION.fullmatch(bare):
        bare = f"{fraction[1]}/{fraction[2]}"
    worth = number(bare.rstrip("%"))
    return re.sub(r"\s|\\[dt](?=frac)|\\[,;! ]|\$", "", bare) if worth is None else worth


def _given(text: Reasoning) -> set[Any]:
    """What stands after the reasoning as its answer."""
    rest = text.completion[text.spans[-1][1] :]
    answer = answer_tag(text.completion) if "<answer>" in text.completion else boxed(rest)[0]
    return set() if answer is None else {_worth(answer)}


def _doubted(one: Candidate, text: Reasoning) -> bool:
    first = bisect_left(text.markers, one.end, key=lambda marker: marker.start)
    return any(
        marker.start - one.end < _SOON and marker.kind in _DOUBTED for marker in text.markers[first : first + _FEW]
    )


def _results(answers: set[Any], text: Reasoning) -> Iterator[Candidate]:
    """Where the reasoning comes to one of `answers`, sentence by sentence."""
    numbers = {worth for worth in answers if not isinstance(worth, str)}
    spelt = [_spelt(worth) for worth in answers if isinstance(worth, str) and len(worth) > 1]
    for first, last in text.spans:
        for start, end in _sentences(text.completion, first, last):
            places = [*_places(text.completion, start, end, numbers)] if numbers else []
            places += [(m.start(), m.end(), m[0]) for way in spelt for m in way.finditer(text.completion, start, end)]
            for at, stop, said in sorted(places):
                if _is_result(text, start, at, stop, end):
                    yield Candidate(start, stop, said.strip())
                    break


def _sentences(completion: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    at = first
    for gap in _SENTENCE.finditer(completion, first, last):
        if gap.start() > at:
            yield at, gap.start()
        at = gap.end()
    if at < last:
        yield at, last


def _places(completion: str, start: int, end: int, numbers: set[Any]) -> Iterator[tuple[int, int, str]]:
    for found in NUMBER.finditer(completion, start, end):
        # A sign that parts two numbers is none of this one's.
        said = found[0].lstrip()
        at = found.end() - len(said)
        if said[0] in "-−" and completion[start:at].rstrip()[-1:].isalnum():
            said = said[1:].lstrip()
            at = found.end() - len(said)
        if "/" in said and not any(said.replace(" ", "") == str(worth) for worth in numbers):
            continue  # a division, not yet done
        if _worth(said) in numbers and not completion[at - 1 : at].isalnum():
            yield at, at + len(said.rstrip()), said
    for found in _FRACTION.finditer(completion, start, end):
        if _worth(found[0]) in numbers:
            yield found.start(), found.end(), found[0]


def _spelt(worth: str) -> re.Pattern[str]:
    return re.compile(r"\s*".join(map(re.escape, worth[:80])).replace(r"\\\s*f", r"\\\s*[dt]?f"))


def _is_result(text: Reasoning, start: int, at: int, stop: int, end: int) -> bool:
    completion, before = text.completion, text.folded[max(start, at - _WINDOW) : at]
    if GOES_ON.match(completion, stop, end) or _OPERATED.search(before):
        return False
    if completion[end - 1 : end] == "?" and not text.folded.endswith("right?", start, end):
        return False
    if _SUPPOSED.search(before) or _UNSAID.search(before):
        return False
    return bool(_ASSERTED.search(before) or _CONCLUDED.search(before))


def _worked(text: Reasoning, floor: int, one: Candidate) -> bool:
    """Whether a working that comes to the candidate's value stands in it, or closely before it but after `floor`."""
    head = text.folded[max(floor, one.start, one.end - _WINDOW) : one.end]
    if _WORKED.search(head[: head.rfind(one.text.casefold())] if one.text.casefold() in head else head):
        return True
    worth, low = _worth(one.text), max(floor, one.start - _WINDOW)
    last = bisect_left(text.equations, one.end, key=lambda equation: equation.start)
    for equation in reversed(text.equations[max(0, last - _FEW) : last]):
        if equation.start < low:
            break
        if equation.worked is None or (equation.result is None and _RATIO.fullmatch(equation.worked.template)):
            continue  # "8/15" is a value
        if equation.result is None or equation.result.claim == worth:
            return True
    return False
