"""Whether two data sets hold the same question: by its words and numbers, however it is spelt.

A question is told by its n-grams of words, signs and numbers after spelling is evened out (case, white space, LaTeX's
other ways to write a thing). A question is taken for another one where it holds at least half of that one's n-grams and
all of its numbers: the same story with other numbers is another question.
Sources: Brown et al. 2020 (arXiv 2005.14165), n-grams; Broder 1997, sketches of sets.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from r1rl.tasks import Row

GRAM: Final = 8
"""Words of an n-gram."""
SHARE: Final = 0.5
"""Of the n-grams of a question that another one must hold to be taken for it."""
NEAR: Final = 0.8
"""Of two questions' n-grams together that both must have to be near duplicates."""

_MAX_CHARS = 20_000  # of a question that are looked at
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|big|bigg|displaystyle|limits|quad|qquad)(?![a-z])"), " "),
    (re.compile(r"\\[,;:!> ]|~"), " "),
    (re.compile(r"\\(?:text|mbox|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]{0,200})\}"), r" \1 "),
    (re.compile(r"\\frac\s*\{([^{}]{1,60})\}\s*\{([^{}]{1,60})\}"), r" \1 / \2 "),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r" \1 / \2 "),
    (re.compile(r"\\(?:cdot|times)(?![a-z])|[×·∙⋅]"), " * "),
    (re.compile(r"\\leq?(?![a-z])|≤"), " <= "),
    (re.compile(r"\\geq?(?![a-z])|≥"), " >= "),
    (re.compile(r"\\neq?(?![a-z])|≠"), " != "),
    (re.compile(r"\\(?:degree|circ)(?![a-z])|°"), " deg "),
    (re.compile(r"\\pi(?![a-z])"), " π "),
    (re.compile(r"\\(?:ldots|dots|cdots)(?![a-z])|…|\.\.\."), " ... "),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))|\{,\}"), ""),
)
_DOLLARS = re.compile(r"\$(?!\d)|(?<![\s(])\$|\\[()\[\]]|[{}]")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:?!\"'`“”‘’-–—()[]$\\")


def words(question: str) -> list[str]:
    """A question's words, numbers and signs with its spelling evened out; punctuation is none of them."""
    text = unicodedata.normalize("NFKC", question[:_MAX_CHARS]).casefold()
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    text = _DOLLARS.sub(" ", text)
    return [token for token in _TOKEN.findall(text) if token not in _PUNCTUATION]


def grams(tokens: Sequence[str], n: int = GRAM) -> set[tuple[str, ...]]:
    """Its n-grams; of a shorter question the whole."""
    if len(tokens) <= n:
        return {tuple(tokens)} if tokens else set()
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def numbers(tokens: Iterable[str]) -> Counter[str]:
    """Its numbers, each as often as it comes."""
    return Counter(token for token in tokens if token[0].isdigit())


@dataclass(frozen=True)
class Overlap:
    """A question that is in another set: which one it is taken for, and why."""

    row: Row
    other: Row
    why: str


class Index:
    """Questions that are not to be trained on, by their n-grams."""

    def __init__(self, rows: Iterable[Row], n: int = GRAM) -> None:
        self.n = n
        self.rows: list[Row] = []
        self._tokens: list[list[str]] = []
        self._grams: list[int] = []  # how many each has
        self._holders: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            tokens = words(row.question)
            its = grams(tokens, n)
            for gram in its:
                self._holders[hash(gram)].append(len(self.rows))
            self.rows.append(row)
            self._tokens.append(tokens)
            self._grams.append(len(its))

    def find(self, row: Row) -> Overlap | None:
        """The question of the index that a row is taken for, the one it holds most of."""
        tokens = words(row.question)
        held: Counter[int] = Counter()
        its = grams(tokens, self.n)
        for gram in its:
            held.update(self._holders.get(hash(gram), ()))
        # A question shorter than an n-gram is only found whole, or inside one as long.
        given = numbers(tokens)
        best: tuple[float, int] | None = None
        for number, count in held.items():
            share = count / self._grams[number]
            if share >= SHARE and (best is None or share > best[0]) and not numbers(self._tokens[number]) - given:
                best = (share, number)
        if best is None:
            return None
        share, number = best
        if tokens == self._tokens[number]:
            same = row.question == self.rows[number].question
            why = "the same text" if same else "the same words and numbers, spelt otherwise"
        else:
            why = f"holds {100 * share:.0f} % of its {self.n}-grams and all of its numbers"
        return Overlap(row, self.rows[number], why)


def overlaps(rows: Iterable[Row], index: Index) -> Iterator[tuple[Row, Overlap | None]]:
    """Every row, with what it is taken for; one at a time, so that a set may be larger than memory."""
    for row in rows:
        yield row, index.find(row)


_BANDS, _BAND_ROWS = 10, 3  # pairs of which 80 % is shared meet in some band in 99.9 % of cases
_PRIME = (1 << 61) - 1


def duplicates(rows: Sequence[Row], near: float = NEAR) -> list[Overlap]:
    """Rows whose question came before: the same words and numbers, or nearly the same words and the same numbers.

    Each is paired with the first such row.
    """
    generator = np.random.default_rng(0)
    multipliers = generator.integers(1, _PRIME >> 30, size=_BANDS * _BAND_ROWS, dtype=np.uint64)
    shifts = generator.integers(0, _PRIME >> 30, size=_BANDS * _BAND_ROWS, dtype=np.uint64)
    exact: dict[tuple[str, ...], int] = {}
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    kept: dict[int, tuple[set[tuple[str, ...]], Counter[str]]] = {}
    found = []
    for number, row in enumerate(rows):
        tokens = words(row.question)
        first = exact.setdefault(tuple(tokens), number)
        if first != number:
            same = row.question == rows[first].question
            found.append(Overlap(row, rows[first], "the same text" if same else "the same words and numbers"))
            continue
        its, given = grams(tokens, 3), numbers(tokens)
        if not its:
            continue
        hashes = np.array([zlib.crc32(" ".join(gram).encode()) for gram in its], dtype=np.uint64)
        least = ((hashes[:, None] * multipliers + shifts) % np.uint64(_PRIME)).min(axis=0)
        keys = [(band, least[band * _BAND_ROWS : (band + 1) * _BAND_ROWS].tobytes()) for band in range(_BANDS)]
        others = sorted({other for key in keys for other in buckets[key]})
        for other in others:
            theirs, their_numbers = kept[other]
            share = len(its & theirs) / len(its | theirs)
            if share >= near and given == their_numbers:
                found.append(Overlap(row, rows[other], f"shares {100 * share:.0f} % of its wording, and every number"))
                break
        else:
            kept[number] = (its, given)
            for key in keys:
                buckets[key].append(number)
    return found
