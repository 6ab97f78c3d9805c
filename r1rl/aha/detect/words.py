"""Where any of many words stand in a text, in one pass over it (Aho and Corasick)."""

from __future__ import annotations

import re
from typing import Final

from ahocorasick_rs import AhoCorasick

_HALF_CHARACTERS: Final = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")  # of no UTF-8 text


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

    def _matches(self, text: str) -> list[tuple[int, int, int]]:
        try:
            return self._automaton.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:
            return self._automaton.find_matches_as_indexes(_HALF_CHARACTERS.sub("\ufffd", text), overlapping=True)
