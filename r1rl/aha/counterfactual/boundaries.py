"""Where a counterfactual cuts a rollout: at markers, and at other boundaries of the same reasoning.

A boundary lies between two clauses. One that begins the clause of a marker is a marker's; one that ends such a clause
("wait ,") is neither, as it lies inside the reflection; all others are plain, and what the markers' are compared with.
Clauses with markers in a row ("But wait, let me check") are one reflection.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import Final

from r1rl.aha.detect import markers
from r1rl.aha.detect.reasoning import reasoning_spans

_BOUNDARY: Final = re.compile(r"(?:[.!?](?=\s)|[,;:](?=\s)|\n)\s*")
_CLAUSE: Final = 80
"""Characters in front of a marker in which its clause may begin."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A boundary, in characters of the completion.

    Args:
        before: end of what stands before it, without a comma that leads on.
        at: where the next clause begins.
        end: where the stretch that begins here ends: before the next marker's clause, or with the reasoning.
    """

    before: int
    at: int
    end: int


def cuts(completion: str, prefill: str = "", lexicon: str = "strict") -> tuple[list[Cut], list[Cut]]:
    """The boundaries of the reasoning at which a marker's clause begins, and the plain ones, each in order.

    The end of a closed reasoning is a plain boundary too, with nothing behind it. Linear in the text; raises
    ValueError for an unknown lexicon.
    """
    found = markers.find(completion, lexicon)
    at_markers: list[Cut] = []
    plain: list[Cut] = []
    for start, end in reasoning_spans(completion, prefill):
        inside = [marker for marker in found if start <= marker.start < end]
        mine, others = _cuts_of_span(completion, start, end, inside)
        at_markers += mine
        plain += others
    return at_markers, plain


def _cuts_of_span(text: str, start: int, end: int, found: list[markers.Marker]) -> tuple[list[Cut], list[Cut]]:
    stop = start + len(text[start:end].rstrip())
    places: list[tuple[int, int]] = [(start, start)]  # (before, at)
    for match in _BOUNDARY.finditer(text, start, stop):
        kept = match.start() + (text[match.start()] in ".!?")
        places.append((start + len(text[start:kept].rstrip()) if kept == match.start() else kept, match.end()))
    starts = [at for _, at in places]
    own: dict[int, tuple[int, int]] = {}  # index of a place, or -1 - start of a marker far from any -> the cut
    spoiled: set[int] = set()  # places inside a reflection
    for marker in found:
        index = bisect.bisect_right(starts, marker.start) - 1
        if marker.start - starts[index] <= _CLAUSE:
            own[index] = places[index]
        else:
            own[-1 - marker.start] = (start + len(text[start : marker.start].rstrip()), marker.start)
        spoiled.add(bisect.bisect_left(starts, marker.end))
    # A marker's clause right behind another's goes on with the same reflection.
    ordered = sorted(place for index, place in own.items() if index < 0 or index - 1 not in own)
    befores = [before for before, _ in ordered]

    def stretch(before: int, at: int) -> Cut:
        following = bisect.bisect_right(befores, before)
        return Cut(before, at, befores[following] if following < len(befores) else stop)

    plain = [
        stretch(*place)
        for index, place in enumerate(places)
        if index and index not in own and index not in spoiled and place[1] < stop
    ]
    if end < len(text) and stop > start:
        plain.append(Cut(stop, stop, stop))
    return [stretch(*place) for place in ordered], plain
