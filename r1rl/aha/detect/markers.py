"""L1: words that often go with reflection, found with their spans.

Compare a rate with the same prompts at step 0, and read it next to the attempts (`r1rl.aha.detect.attempts`), which say
whether anything changed; `labelled` puts the two together.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from r1rl.aha.detect.lexicons import LEXICONS, Lexicon, Pattern
from r1rl.aha.detect.words import Words

if TYPE_CHECKING:
    from r1rl.aha.detect.attempts import Attempt

__all__ = ["LEXICONS", "Label", "Lexicon", "Marker", "Pattern", "find", "find_all", "fold", "labelled"]

Label = Literal["effective", "confirmatory", "harmful", "idle"]


class Marker(NamedTuple):
    """A hit: `text == source[start:end]`, in characters; `kind` is the class of the pattern that hit."""

    start: int
    end: int
    text: str
    kind: str


# Words that leave the next word at the start of a clause.
_OPENERS: Final = frozenset(
    {"but", "oh", "no", "nope", "so", "and", "hmm", "hm", "ok", "okay", "actually", "ah", "well", "wait", "yes"}
    | {"think", "guess", "see", "because", "unfortunately", "sorry"}
)
_LONGEST_OPENER: Final = max(map(len, _OPENERS))
_CONTEXT: Final = 40
_AHEAD: Final = 120  # characters after a key that a match may take
_NO_WORD: Final = re.compile(r"(?![\w']|-\w)")  # as after every pattern
_LAST_WORD: Final = re.compile(r"[^\W\d]+$")
_TAG: Final = re.compile(r"</?(?!think>|answer>)[a-z][^<>\n]{0,64}>")  # less those that no marker can begin in


def find(text: str, lexicon: str = "strict") -> list[Marker]:
    """Markers in `text`, left to right, none overlapping; case-folded and word-bounded, never inside tag markup.

    Linear in the length of the text. Raises ValueError for an unknown lexicon.
    """
    if lexicon not in LEXICONS:
        raise ValueError(f"lexicon={lexicon!r}: need one of {', '.join(LEXICONS)}")
    return find_all(text, [lexicon])[lexicon]


def find_all(text: str, lexicons: Iterable[str] = LEXICONS, *, folded: str | None = None) -> dict[str, list[Marker]]:
    """The markers of several lexicons, as `find` gives them one by one, in one go; `folded` is `fold(text)`."""
    folded = fold(text) if folded is None else folded
    names = tuple(lexicons)
    hits: dict[str, list[Hit]] = {name: [] for name in names}
    words, keys = _keyed(names)
    for key, places in words.places(folded).items():
        plain, direct, around, begins = keys[key]
        if plain or direct:
            _look_at(hits, folded, places, len(key), plain, direct, begins)
        for one in around:
            _look_around(hits, folded, places, len(key), one)
    tags = [found.span() for found in _TAG.finditer(folded)] if "<" in folded and any(hits.values()) else []
    return {
        name: [Marker(start, end, text[start:end], kind) for start, _, end, kind in _distinct(of_lexicon, tags)]
        for name, of_lexicon in hits.items()
    }


Hit: TypeAlias = "tuple[int, int, int, str]"  # start, the rank of the pattern, end, kind


class _Sought(NamedTuple):
    """A pattern, the lexicons that hold it and its rank in each."""

    pattern: Pattern
    within: list[tuple[str, int]]


class _Key(NamedTuple):
    """The patterns that hold a key: `plain` ones are the key, matches of `direct` ones begin with the key, matches of
    `around` ones hold it further on.

    `begins` matches wherever a direct pattern does, to look once where several may begin; None for one pattern alone.
    """

    plain: list[_Sought]
    direct: list[_Sought]
    around: list[_Sought]
    begins: re.Pattern[str] | None


def _look_at(
    hits: dict[str, list[Hit]],
    folded: str,
    places: list[int],
    size: int,
    plain: list[_Sought],
    direct: list[_Sought],
    begins: re.Pattern[str] | None,
) -> None:
    """Add the hits that begin at one of the `places` of a key of `size` characters."""
    for at in places:
        if at and ((before := folded[at - 1]).isalnum() or before in "_'"):
            continue
        if plain and _NO_WORD.match(folded, at + size):
            for pattern, within in plain:
                for name, rank in within:
                    hits[name].append((at, rank, at + size, pattern.kind))
        if direct and (begins is None or begins.match(folded, at)):
            for pattern, within in direct:
                if found := pattern.compiled.match(folded, at):
                    _add(hits, folded, at, found.end(), pattern, within)


def _look_around(hits: dict[str, list[Hit]], folded: str, places: list[int], size: int, sought: _Sought) -> None:
    """Add the hits of a pattern that hold one of the places of a key of `size` characters."""
    pattern, within = sought
    done = 0
    for at in places:
        if at < done or (pattern.ahead and not folded.startswith(pattern.ahead, at + size)):
            continue
        found = pattern.search(folded, max(done, at - pattern.back), at + _AHEAD)
        # A match that touches the window's end might not be one in the whole text.
        if found and found.end(1) < at + _AHEAD - 2:
            done = found.end(1)
            _add(hits, folded, found.start(), done, pattern, within)


@lru_cache(maxsize=64)
def _keyed(names: tuple[str, ...]) -> tuple[Words, dict[str, _Key]]:
    table: dict[str, dict[Pattern, list[tuple[str, int]]]] = {}
    for name in names:
        for rank, pattern in enumerate(LEXICONS[name].patterns):
            for key in pattern.keys:
                table.setdefault(key, {}).setdefault(pattern, []).append((name, rank))
    keys = {}
    for key, patterns in table.items():
        sought = [_Sought(pattern, within) for pattern, within in patterns.items()]
        direct = [one for one in sought if not (one.pattern.plain or one.pattern.back)]
        keys[key] = _Key(
            plain=[one for one in sought if one.pattern.plain],
            direct=direct,
            around=[one for one in sought if one.pattern.back],
            begins=re.compile("|".join(one.pattern.compiled.pattern for one in direct)) if len(direct) > 1 else None,
        )
    return Words(*keys), keys


def _add(
    hits: dict[str, list[Hit]], folded: str, start: int, end: int, pattern: Pattern, within: list[tuple[str, int]]
) -> None:
    if not pattern.opens_clause or _opens_clause(folded, start):
        for name, rank in within:
            hits[name].append((start, rank, end, pattern.kind))


def _distinct(hits: list[Hit], tags: list[tuple[int, int]]) -> list[Hit]:
    """The hits in order, none overlapping, none inside a tag."""
    hits.sort()
    distinct: list[Hit] = []
    done = 0
    for hit in hits:
        start = hit[0]
        if start >= done and not (tags and _within(start, tags)):
            distinct.append(hit)
            done = hit[2]
    return distinct


def _within(position: int, spans: list[tuple[int, int]]) -> bool:
    index = bisect_right(spans, (position, sys.maxsize)) - 1
    return index >= 0 and position < spans[index][1]


def fold(text: str) -> str:
    """Lower case and straight apostrophes, of the same length, so that spans fit the original text."""
    folded = text.lower()
    if len(folded) != len(text):  # characters whose lower case is longer ("İ") stay as they are
        folded = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return folded.replace("’", "'")


def _opens_clause(folded: str, start: int) -> bool:
    before = folded[max(0, start - _CONTEXT) : start].rstrip(" \t\"'*_(")
    if not before or not before[-1].isalpha():
        return True
    word = _LAST_WORD.search(before, len(before) - _LONGEST_OPENER - 1)
    return word is not None and word[0] in _OPENERS


def labelled(markers: Sequence[Marker], attempts: Sequence[Attempt]) -> list[Label]:
    """What each marker led to, by the last attempt that ends before it and the next one, which may be under way.

    `effective`: wrong, then right. `harmful`: right, then wrong. `confirmatory`: both right, or the same wrong value
    again. `idle`: another wrong value, or no attempt on one of its sides. Attempts in order, none overlapping.
    """
    labels: list[Label] = []
    index = 0
    for marker in markers:
        while index < len(attempts) and attempts[index].end <= marker.start:
            index += 1
        before = attempts[index - 1] if index else None
        after = attempts[index] if index < len(attempts) else None
        if before is None or after is None:
            labels.append("idle")
        elif before.right != after.right:
            labels.append("effective" if after.right else "harmful")
        else:
            labels.append("confirmatory" if before.right or before.value == after.value else "idle")
    return labels
