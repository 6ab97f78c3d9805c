"""The text of a synthetic trace under way, its labelled spans, and what may be unclean about it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

_CODE: Final = (
    "```python\nnumbers = [{numbers}]\nfor a in numbers:\n    for b in numbers:\n        print(a, b, a + b)\n```"
)
_FOREIGN: Final = (
    "我们先来看一下这些数字,然后再想一想应该怎么做才能得到答案。这个题目看起来不难,但是需要一点耐心。",
    "Сначала посмотрим на данные числа, потом подумаем, как из них получить нужный ответ. Это не очень трудно.",
    "まずはこの数字を見て、それからどうすれば答えになるかを考えましょう。それほど難しくはありません。",
)
_LOOPED: Final = (
    "The numbers are all there. ",
    "I will think about it. ",
    "so it goes and ",
    "Let us look at the numbers, one after the other. ",
)


def kinds_of_transition(attempts: list[dict[str, Any]]) -> list[str]:
    """Transitions of labelled attempts (`value`, `right`, `repeat`), restatements left out."""
    kinds = []
    for before, after in pairwise([attempt for attempt in attempts if not attempt["repeat"]]):
        if before["right"]:
            kinds.append("right_right" if after["right"] else "right_wrong")
        elif after["right"]:
            kinds.append("wrong_right")
        else:
            kinds.append("wrong_same" if before["value"] == after["value"] else "wrong_different")
    return kinds


@dataclass(slots=True)
class Page:
    """A text that grows, and the spans in it (`type`, `start`, `end` in characters, and what their type has)."""

    text: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)

    def write(self, text: str) -> None:
        self.text += text

    def span(self, text: str, kind: str, **label: Any) -> None:
        """Write `text` as one labelled span; white space at its ends stays outside."""
        start = len(self.text) + len(text) - len(text.lstrip())
        self.text += text
        self.spans.append({"type": kind, "start": start, "end": len(self.text.rstrip()), **label})

    def attempt(self, text: str, value: Fraction, *, right: bool, repeat: bool, **label: Any) -> None:
        self.span(text, "attempt", value=str(value), right=right, repeat=repeat, **label)

    def unreflective(self, sentence: str) -> None:
        """A sentence that holds a marker's word and no second thought; one span, the whole sentence."""
        self.span(sentence, "marker", reflective=False)
        self.write(" ")

    def labels(self) -> dict[str, Any]:
        return {
            "completion": self.text,
            "transitions": kinds_of_transition([span for span in self.spans if span["type"] == "attempt"]),
            "hygiene": [],
            "spans": self.spans,
        }


def tidy(trace: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The finished trace: one in four unclean in one way, and the columns of a store row that the detectors read.

    What is added holds no attempt; what replaces the text takes all labels with it.
    """
    text: str = trace["completion"]
    flaw = rng.choice(("", "", "", "loop", "cut", "user", "code", "foreign")) if rng.random() < 0.6 else ""
    finish = "eos"
    spans, transitions, hygiene = trace["spans"], trace["transitions"], trace["hygiene"]
    think_end = text.index("</think>")
    if flaw == "loop":
        text = text[:think_end].rstrip() + "\n" + rng.choice(_LOOPED) * rng.randint(12, 40)
        finish, hygiene = "length", ["truncated", "repetition_loop"]
    elif flaw == "cut":
        text, finish, hygiene = text[:think_end].rstrip(), "length", ["truncated"]
    elif flaw == "user":
        text += "\n\nUser: Tell me another one.\nAssistant:"
        finish, hygiene = "stop", ["continues_after_answer"]
    elif flaw == "code":
        text, hygiene = _CODE.format(numbers=", ".join(str(rng.randint(1, 20)) for _ in range(4))), ["code_only"]
        spans, transitions = [], []
    elif flaw == "foreign":
        text = f"{text[:think_end].rstrip()}\nOr in other words: {rng.choice(_FOREIGN)} {text[think_end:]}"
        hygiene = ["mixed_language"]
    if flaw in ("loop", "cut"):  # a line of working that the cap cuts off has no end, so it is no attempt
        last = [span for span in spans if span["type"] == "attempt"][-1:]
        if last and not last[0].get("stated", True):
            spans = [span for span in spans if span is not last[0]]
            transitions = kinds_of_transition([span for span in spans if span["type"] == "attempt"])
    if flaw in ("loop", "cut", "code"):
        trace = {**trace, "guess": None, "verdict": "unparseable"}
        if flaw == "code":
            trace = {**trace, "prefill": "", "counts": dict.fromkeys(trace.get("counts", {}), 0)}
    return {
        **trace,
        "completion": text,
        "finish_reason": finish,
        "n_tokens": max(1, len(text) // 4),
        "hygiene": hygiene,
        "spans": spans,
        "transitions": transitions,
    }
