"""L1: words that often go with reflection, found with their spans.

Compare a rate with the same prompts at step 0, and read it next to the attempts (`r1rl.aha.attempts`), which say
whether anything changed; `labelled` puts the two together.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from r1rl.aha.lexicons import LEXICONS, Lexicon, Pattern

if TYPE_CHECKING:
    from r1rl.aha.attempts import Attempt

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
_CONTEXT: Final = 40
_AHEAD: Final = 120  # characters after a key that a match may take
_NO_WORD: Final = re.compile(r"(?![\w']|-\w)")  # as after every pattern
_LAST_WORD: Final = re.compile(r"[^\W\d]+$")
_TAG: Final = re.compile(r"</?[a-z][^<>\n]{0,64}>")
_PLAIN_TAGS: Final = frozenset({"<think>", "</think>", "<answer>", "</answer>"})


def find(text: str, lexicon: str = "strict") -> list[Marker]:
    """Markers in `text`, left to right, none overlapping; case-folded and word-bounded, never inside tag markup.

    Linear in the length of the text. Raises ValueError for an unknown lexicon.
    """
    if lexicon not in LEXICONS:
        raise ValueError(f"lexicon={lexicon!r}: need one of {', '.join(LEXICONS)}")
    return find_all(text, [lexicon])[lexicon]


def find_all(text: str, lexicons: Iterable[str] = LEXICONS, *, folded: str | None = None) -> dict[str, list[Marker]]:
    """The markers of several lexicons, as `find` gives them one by one, in one go; `folded` is `fold(text)`."""
    hits = find_hits(fold(text) if folded is None else folded, tuple(lexicons))
    return {
        name: [Marker(start, end, text[start:end], kind) for start, _, end, kind in of_lexicon]
        for name, of_lexicon in hits.items()
    }


Hit: TypeAlias = "tuple[int, int, int, str]"  # start, the pattern's rank, end, kind


def find_hits(folded: str, names: tuple[str, ...]) -> dict[str, list[Hit]]:
    """What `find_all` makes its markers of, for who only counts most of them."""
    hits: dict[str, list[Hit]] = {name: [] for name in names}
    for root, inside in _keyed(names):
        if root in folded:
            for entry in inside:
                _look(hits, folded, entry)
    tags = None
    for name, of_lexicon in hits.items():
        if of_lexicon:
            if tags is None:
                tags = _tags(folded)
            hits[name] = _distinct(of_lexicon, tags)
    return hits


_Ranked: TypeAlias = "list[tuple[str, int, Pattern]]"  # lexicon, rank in it, pattern


class _Key(NamedTuple):
    """The patterns that hold a key: those that it is, those whose matches begin with it, those with it further on.

    `begins`: what matches where one of the second kind does, to look once where several may begin.
    """

    key: str
    plain: _Ranked
    direct: _Ranked
    around: _Ranked
    begins: re.Pattern[str]


def _look(hits: dict[str, list[Hit]], folded: str, entry: _Key) -> None:
    """Add the hits of the patterns of one key."""
    key, plain, direct, around, begins = entry
    size = len(key)
    seen = [-1] * len(around)
    at = folded.find(key)
    while at >= 0:
        end = at + size
        if (plain or direct) and not (at and ((before := folded[at - 1]).isalnum() or before in "_'")):
            if plain and _NO_WORD.match(folded, end):
                for name, rank, pattern in plain:
                    hits[name].append((at, rank, end, pattern.kind))
            if direct and begins.match(folded, at):
                for name, rank, pattern in direct:
                    if found := pattern.compiled.match(folded, at):
                        _add(hits[name], folded, found, rank, pattern)
        for index, (name, rank, pattern) in enumerate(around):
            if at < seen[index] or (pattern.ahead and not folded.startswith(pattern.ahead, end)):
                continue
            found = pattern.compiled.search(folded, max(0, seen[index], at - pattern.back), at + _AHEAD)
            # A match that touches the window's end might not be one in the whole text.
            if found and found.end() < at + _AHEAD - 2:
                seen[index] = found.end()
                _add(hits[name], folded, found, rank, pattern)
        at = folded.find(key, end)


@lru_cache(maxsize=64)
def _keyed(names: tuple[str, ...]) -> list[tuple[str, list[_Key]]]:
    """The keys, each under the shortest that it holds, which need not be looked for where that one is not."""
    table: dict[str, tuple[_Ranked, _Ranked, _Ranked]] = {}
    for name in names:
        for rank, pattern in enumerate(LEXICONS[name].patterns):
            for key in pattern.keys:
                plain, direct, around = table.setdefault(key, ([], [], []))
                (plain if pattern.plain else around if pattern.back else direct).append((name, rank, pattern))
    groups: dict[str, list[_Key]] = {}
    for key in sorted(table, key=len):
        root = next((shorter for shorter in groups if shorter in key), key)
        begins = re.compile("|".join(pattern.compiled.pattern for _, _, pattern in table[key][1]))
        groups.setdefault(root, []).append(_Key(key, *table[key], begins))
    return list(groups.items())


def _add(hits: list[Hit], folded: str, found: re.Match[str], rank: int, pattern: Pattern) -> None:
    if not pattern.opens_clause or _opens_clause(folded, found.start()):
        hits.append((found.start(), rank, found.end(), pattern.kind))


def _tags(folded: str) -> list[tuple[int, int]]:
    """Where tag markup is, less the tags that no marker can begin in."""
    if "<" not in folded:
        return []
    return [found.span() for found in _TAG.finditer(folded) if found[0] not in _PLAIN_TAGS]


def _distinct(hits: list[Hit], tags: list[tuple[int, int]]) -> list[Hit]:
    """In order, none overlapping, none inside a tag."""
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
    word = _LAST_WORD.search(before)
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
