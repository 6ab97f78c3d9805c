"""Tokens as the text that rewards, the store and evaluations see: one reading of them for all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transformers import PreTrainedTokenizerBase


def text_of(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], ends: Collection[int] = ()) -> str:
    """The text of a completion or of a part of it.

    Special tokens are part of it, for `<think>` may be one, but not those that end, begin or pad a text: the
    tokenizer's own and `ends`, the other ids that end a completion.
    """
    silent = {*ends, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
    return str(tokenizer.decode([token for token in token_ids if token not in silent], skip_special_tokens=False))
