"""L0 hygiene: rollouts whose reflection figures should be read apart. Every test is linear in the text.

- truncated: cut at the token cap.
- repetition loop: a stretch of at least `LOOP_CHARS` characters that is one unit at least four times in a row, or one
  digit `LOOP_DIGITS` times.
- continues after the answer: more text after `</answer>`, or a new turn, "User:", at the start of a line.
- code only: at least four fifths of the reasoning's lines are program code.
- mixed language: words of two scripts, LaTeX, Greek letters and tags aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

LOOP_CHARS: Final = 100
LOOP_DIGITS: Final = 40
_ONE_DIGIT: Final = re.compile(rf"([0-9])\1{{{LOOP_DIGITS - 1}}}")
_MAX_UNIT: Final = 400
_ANCHOR: Final = 24
_STEP: Final = 32
_CODE_SHARE: Final = 0.8
_MIN_CODE_LINES: Final = 3
_MIN_LETTERS: Final = 4
_MIN_SHARE: Final = 0.02

_ENDINGS: Final = re.compile(r"<\|?[A-Za-z_]{1,30}\|?>|</s>|\[/?[A-Z]{3,4}\]")
# What may stand before a colon at the start of a line.
_TURN: Final = re.compile(
    r"(?:^|\n|>)[ \t]*(?:#+ ?|\*\*)?(?:user|human|student|assistant|question|problem|instruction)"
    r"(?: ?\d+)?(?:\*\*)?\s*$",
    re.IGNORECASE,
)
_TURN_CHARS: Final = 40
_CODE_KEYS: Final = ("def ", "import ", "print(", "```", "return ", "for ", "#include", "console.log", "while ")
_CODE_LINE: Final = re.compile(
    r"\s*(?:def \w+\(|class \w+|import \w|from \w+ import|print\(|return\b|for \w+(?:, ?\w+)* in\b|while .*:\s*$"
    r"|if .*:\s*$|elif .*:\s*$|else:\s*$|try:\s*$|except\b|with .*:\s*$|[A-Za-z_][\w.\[\]]* ?[-+*/]?= ?\S"
    r"|[A-Za-z_][\w.]*\(.*\)\s*;?$|#|//|[{}\])]+;?\s*$"
    r"|(?:int|let|const|var|double|float) \w+|#include|assert\b|```)"
)
_FENCE: Final = re.compile(r"```[^\n`]{0,20}\n.*?(?:```|\Z)", re.DOTALL)
_NOT_WORDS: Final = re.compile(r"\\[A-Za-z]{1,40}|</?[a-z]{1,20}>")
_SCRIPTS: Final = tuple(
    re.compile(f"[{ranges}]")
    for ranges in (
        "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",  # Chinese and Japanese
        "\uac00-\ud7af\u1100-\u11ff",  # Hangul
        "\u0400-\u052f",  # Cyrillic
        "\u0590-\u05ff",  # Hebrew
        "\u0600-\u06ff\u0750-\u077f",  # Arabic
        "\u0900-\u0dff",  # the scripts of India
        "\u0e00-\u0eff",  # Thai and Lao
    )
)
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u024f]{2,}")
_GREEK: Final = re.compile("[\u0370-\u03ff]{3,}")


class Hygiene(NamedTuple):
    """What is wrong with a rollout's text, if anything."""

    truncated: bool
    repetition_loop: bool
    continues_after_answer: bool
    code_only: bool
    mixed_language: bool

    @property
    def clean(self) -> bool:
        """None of the five."""
        return not any(self)


def hygiene(completion: str, finish_reason: str | None, spans: Sequence[tuple[int, int]]) -> Hygiene:
    """`spans`: where the completion reasons, `reasoning_spans`. Never raises on any text."""
    return Hygiene(
        truncated=finish_reason == "length",
        repetition_loop=loops(completion),
        continues_after_answer=continues_after_answer(completion),
        code_only=code_only(completion, spans),
        mixed_language=mixed_language(completion),
    )


def loops(text: str) -> bool:
    """Whether some unit stands at least four times in a row, over at least LOOP_CHARS characters, or a digit does.

    A unit is looked for at every `_STEP`-th character, so that a stretch of LOOP_CHARS + _STEP is never missed.
    """
    if _ONE_DIGIT.search(text):
        return True
    for start in range(0, len(text) - LOOP_CHARS + 1, _STEP):
        again = text.find(text[start : start + _ANCHOR], start + 1, start + _ANCHOR + _MAX_UNIT)
        if again < 0:
            continue
        unit = again - start
        length = max(3 * unit, LOOP_CHARS - unit)
        if text[start : start + length] == text[again : again + length] and any(
            char.isalnum() for char in text[start : start + min(unit, LOOP_CHARS)]
        ):
            return True
    return False


def continues_after_answer(text: str) -> bool:
    """Whether a further turn is made up, or text follows the answer; special tokens do not count."""
    end = text.find("</answer>")
    if end >= 0 and any(char.isalnum() for char in _ENDINGS.sub("", text[end + len("</answer>") :])):
        return True
    at = text.find(":")
    while at >= 0:
        found = _TURN.search(text, max(0, at - _TURN_CHARS), at)
        if found and (found.start() > 0 or end >= 0):
            return True
        at = text.find(":", at + 1)
    return False


def code_only(text: str, spans: Iterable[tuple[int, int]]) -> bool:
    """Whether the reasoning is a program, in a fence or not, with no more than a fifth of other lines."""
    if not any(key in text for key in _CODE_KEYS):
        return False
    thoughts = "\n".join(text[start:end] for start, end in spans)
    fenced = sum(found.end() - found.start() for found in _FENCE.finditer(thoughts))
    if thoughts.strip() and fenced >= _CODE_SHARE * len(thoughts.strip()):
        return True
    lines = [line for line in thoughts.splitlines() if line.strip()]
    code = sum(_CODE_LINE.match(line[:200]) is not None for line in lines)
    return code >= _MIN_CODE_LINES and code >= _CODE_SHARE * len(lines)


def mixed_language(text: str) -> bool:
    """Whether words of two scripts occur, each at least 4 letters and a fiftieth of all letters."""
    if text.isascii():
        return False
    counts = [len(script.findall(text)) for script in _SCRIPTS]
    counts.append(sum(len(word) for word in _GREEK.findall(text)))
    if max(counts) < _MIN_LETTERS:
        return False
    counts.append(sum(len(word) for word in _LATIN.findall(_NOT_WORDS.sub(" ", text))))
    least = max(_MIN_LETTERS, _MIN_SHARE * sum(counts))
    return sum(count >= least for count in counts) > 1
