"""L1: words that often go with reflection, found with their spans.

Compare a rate with the same prompts at step 0, and read it next to the attempts (`r1rl.aha.detect.attempts`), which say
whether anything changed; `labelled` puts the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from r1rl.aha.detect.lexicons import LEXICONS, Lexicon, Pattern

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
_CONTEXT: Final = 40
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
    """The markers of several lexicons, as `find` gives them one by one; `folded` is `fold(text)`."""
    folded = fold(text) if folded is None else folded
    if "<" in folded:
        folded = _TAG.sub(lambda tag: ";" * len(tag[0]), folded)  # no marker holds one
    return {
        name: [Marker(start, end, text[start:end], kind) for start, end, kind in _hits(folded, LEXICONS[name])]
        for name in lexicons
    }


def _hits(folded: str, lexicon: Lexicon) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind of the hits, in order."""
    at = 0
    while found := lexicon.compiled.search(folded, at):
        start = found.start()
        pattern = next(pattern for pattern in lexicon.patterns if pattern.compiled.match(folded, start))
        if pattern.opens_clause and not _opens_clause(folded, start):
            at = start + 1
        else:
            at = found.end()
            yield start, at, pattern.kind


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
