"""Where any of many words stand in a text, in one pass over it (Aho and Corasick): what the detectors begin with."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Final, TypeAlias

from ahocorasick_rs import AhoCorasick

_HALF_CHARACTERS: Final = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")  # of no UTF-8 text


Places: TypeAlias = "Mapping[str, list[int]]"
"""Where each word that stands in a text begins, in order."""


class Words:
    """Words to look for, as they are: inside other words too, and where they overlap. Linear in the text."""

    def __init__(self, *words: str) -> None:
        self._words = tuple(dict.fromkeys(words))
        self._automaton = AhoCorasick(self._words)

    def places(self, text: str) -> dict[str, list[int]]:
        """Where the words begin that stand in `text`, in order."""
        words = self._words
        found: dict[str, list[int]] = {}
        for index, start, _ in self._matches(text):
            word = words[index]
            if word in found:
                found[word].append(start)
            else:
                found[word] = [start]
        return found

    def __or__(self, others: Words) -> Words:
        """The words of both."""
        return Words(*self._words, *others._words)

    def starts(self, text: str) -> list[int]:
        """Where some word begins, in order."""
        return sorted({start for _, start, _ in self._matches(text)})

    def among(self, places: Places, start: int, end: int) -> list[int]:
        """Where some word of `text[start:end]` begins in `text`, in order: of the `places` of these and more words."""
        found: set[int] = set()
        for word in self._words:
            if word in places:
                at = places[word]
                found.update(at[bisect_left(at, start) : bisect_right(at, end - len(word))])
        return sorted(found)

    def _matches(self, text: str) -> list[tuple[int, int, int]]:
        try:
            return self._automaton.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:
            return self._automaton.find_matches_as_indexes(_HALF_CHARACTERS.sub("\ufffd", text), overlapping=True)
