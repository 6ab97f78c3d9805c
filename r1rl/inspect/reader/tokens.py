"""A text cut into its tokens, or into what stands for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from r1rl.store.tokens import Token

WORDS: Final = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
"""What stands for tokens where none are known: a word or a sign with the white space before it."""


def pieces(text: str, tokens: Sequence[Token] | None) -> list[str]:
    """The text in tokens, or in words and signs where they are not known."""
    if tokens:
        found = [text[token.start : token.end] for token in tokens]
        return [*found, *WORDS.findall(text[tokens[-1].end :])]
    return WORDS.findall(text)
