"""A rollout's stored tokens laid over its text."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from r1rl.inspect.reader.tokens import pieces
from r1rl.store.tokens import aligned


def byte_level() -> Tokenizer:
    """Every byte is a token, so one character may be several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>"])
    return tokenizer


@pytest.mark.parametrize("text", ["abc def", "naïve ± 3 😀!", "שלום", "  two  blanks", "a\nb\tc"])
def test_tokens_are_laid_over_their_text(text: str) -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode(text).ids
    found = aligned(tokenizer, text, [*ids, tokenizer.token_to_id("<eos>")], [-0.1] * (len(ids) + 1))
    assert found is not None
    assert "".join(text[token.start : token.end] for token in found) == text
    assert sum(token.logprob or 0 for token in found) == pytest.approx(-0.1 * len(ids))
    assert pieces(text, found) == [text[token.start : token.end] for token in found]


@pytest.mark.parametrize(
    ("text", "ids"),
    [pytest.param("xyz", "abc", id="another text"), pytest.param("abcd", "abc", id="a text that goes on"),
     pytest.param("abc", [10**6], id="an id there is not")],
)  # fmt: skip
def test_tokens_of_another_text_are_not(text: str, ids: Any) -> None:
    tokenizer = byte_level()
    numbers = tokenizer.encode(ids).ids if isinstance(ids, str) else ids
    assert aligned(tokenizer, text, numbers, None) is None


def test_a_text_cut_at_a_stop_string_keeps_its_tokens() -> None:
    tokenizer = byte_level()
    found = aligned(tokenizer, "yes", tokenizer.encode("yes</answer> more").ids, None)
    assert [(token.start, token.end) for token in found or ()] == [(0, 1), (1, 2), (2, 3)]
