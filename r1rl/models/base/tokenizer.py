"""The tiny base's tokenizer: one token a number, an operator, a tag or a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1rl.models.base.corpus import LARGEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
WORDS = ("Use", "to", "make", "target", "got", "yes", "no", "wait", "try", "again")
SYMBOLS = ("+", "-", "*", "/", "=", "(", ")", ",", ".", ":")


def build() -> PreTrainedTokenizerFast:
    """A word-level `transformers` tokenizer of 127 entries; decoding puts one space between tokens.

    The tags are ordinary entries, not special tokens: `skip_special_tokens` must not swallow them.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries = [PAD, EOS, UNKNOWN, *TAGS, *WORDS, *SYMBOLS, *map(str, range(LARGEST + 1))]
    tokenizer = Tokenizer(models.WordLevel({text: i for i, text in enumerate(entries)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"</?[a-z]+>|[0-9]+|[A-Za-z]+|[^\sA-Za-z0-9]"), behavior="removed", invert=True
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
