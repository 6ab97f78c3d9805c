"""Cuts in characters -> cuts in tokens: ids of a vocabulary, or pieces of text where an endpoint keeps its own."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from r1rl.rollout.texts import text_of

Token: TypeAlias = Any
"""An id (int), or a piece of text (str)."""

_PIECE: Final = re.compile(r"\s?[^\W\d_]+|\s?\d|\s?[^\w\s]+|\s|_")


class Cuts(ABC):
    """What is the same for both kinds of tokens."""

    @abstractmethod
    def text(self, tokens: Sequence[Token]) -> str:
        """The text as the store has it."""

    @abstractmethod
    def of(self, text: str) -> list[Token]:
        """The tokens of a text that stands behind another."""

    @abstractmethod
    def knows(self, text: str) -> bool:
        """Whether the text can be written: no word of it is unknown."""

    def until(self, tokens: Sequence[Token], char: int) -> list[Token]:
        """The longest beginning of `tokens` whose text is at most `char` characters long."""
        low, high = 0, len(tokens)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self.text(tokens[:middle])) <= char:
                low = middle
            else:
                high = middle - 1
        return list(tokens[:low])

    def added(self, tokens: Sequence[Token], text: str) -> list[Token]:
        """The tokens of `text`, to be put behind `tokens`; with a space between words where neither brings one."""
        if not text:
            return []
        before = self.text(tokens)
        if before and not before[-1].isspace() and text[0].isalnum():
            text = f" {text}"
        return self.of(text)


class TokenCuts(Cuts):
    """For one tokenizer and the ids that end a completion."""

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        self.tokenizer, self.ends = tokenizer, ends

    def text(self, tokens: Sequence[Token]) -> str:
        return text_of(self.tokenizer, tokens, self.ends)

    def of(self, text: str) -> list[Token]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def knows(self, text: str) -> bool:
        ids = self.of(text)
        return bool(ids) and self.tokenizer.unk_token_id not in ids


class TextCuts(Cuts):
    """For an endpoint: words, digits and signs with the space before them, about as many as a tokenizer's tokens."""

    def text(self, tokens: Sequence[Token]) -> str:
        return "".join(tokens)

    def of(self, text: str) -> list[Token]:
        return _PIECE.findall(text)

    def knows(self, text: str) -> bool:
        return bool(text)
