"""What kind of text a completion is: detectors are measured by kind, and a figure is shown only of kinds they were
measured on.

A kind is told by the verifier, by the length of the reasoning and by its language, here and nowhere else. The measured
ones are named in `r1rl.aha.validate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

COUNTDOWN: Final = "countdown"
CODE: Final = "code"
FOREIGN: Final = "another language"
LONG: Final = 200
"""So many words of reasoning, and a text is long; a sentence that comes again and again counts once."""

_SUBJECTS: Final = {"math": "maths", "choice": "multiple choice", "exact": "puzzle", "gym": "puzzle"}
PROSE: Final = "prose"
KINDS: Final = (
    COUNTDOWN,
    *(f"{length} {what}" for what in (*dict.fromkeys(_SUBJECTS.values()), PROSE) for length in ("short", "long")),
    CODE,
    FOREIGN,
)
"""Every kind, as it is called in annotations and tables."""

_SAMPLE: Final = 20_000
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_COMMON: Final = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "for", "from", "has", "have", "he", "her", "his"}
    | {"how", "i", "if", "in", "is", "it", "its", "let", "me", "my", "need", "no", "not", "of", "on", "or", "she", "so"}
    | {"that", "the", "then", "there", "they", "this", "to", "was", "we", "what", "which", "will", "with", "you"}
)
_SENTENCE_END: Final = re.compile(r"[.!?]\s+|\n+")
_ENOUGH: Final = 40  # words, fewer say nothing about a language
_LEAST_COMMON: Final = 0.1  # of a text's words; English has four times as many


def text_kind(completion: str, spans: Sequence[tuple[int, int]], verifier: str | None, *, code_only: bool) -> str:
    """The kind of a completion that reasons at `spans`; `code_only` as its hygiene says. Linear in the text."""
    if verifier == COUNTDOWN:
        return COUNTDOWN
    if verifier == CODE or code_only:
        return CODE
    reasoning = " ".join(completion[start:end] for start, end in spans)
    if _is_foreign(reasoning[:_SAMPLE]):
        return FOREIGN
    length = "long" if is_long(completion, spans) else "short"
    return f"{length} {_SUBJECTS.get(verifier or '', PROSE)}"


def is_long(completion: str, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether the reasoning has `LONG` words or more, as white space parts them, in distinct sentences."""
    sentences = {sentence for start, end in spans for sentence in _SENTENCE_END.split(completion[start:end])}
    return sum(len(sentence.split()) for sentence in sentences) >= LONG


def _is_foreign(text: str) -> bool:
    """Whether most letters are not Latin, or hardly any word is one of English's commonest."""
    letters = [char for char in text if char.isalpha()]
    if sum(char > "ɏ" for char in letters) * 2 > len(letters):
        return True
    words = [word for word in _WORD.findall(text.lower()) if len(word) > 1 or word in "ai"]
    if len(words) < _ENOUGH:
        return False
    return sum(word in _COMMON for word in words) < _LEAST_COMMON * len(words)
