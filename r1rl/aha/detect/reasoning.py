"""Where a completion reasons, and where it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1rl.aha.detect.equations import Equation
from r1rl.aha.detect.markers import Marker


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A completion, and what is read of its reasoning before candidate answers are looked for in it.

    `folded` is the completion in lower case and of the same length. `spans` say where it reasons; `equations` and
    `markers`, the strict ones, stand there. `closed`: the reasoning ends by itself, not at the token cap. `long`: as
    `r1rl.aha.detect.text_kind` says.
    """

    completion: str
    folded: str
    spans: Sequence[tuple[int, int]]
    equations: Sequence[Equation]
    markers: Sequence[Marker]
    closed: bool
    long: bool = False


def reasoning_spans(completion: str, prefill: str = "") -> list[tuple[int, int]]:
    """Where the completion reasons, as (start, end) in characters.

    From <think> (from the start where there is none or `prefill` opens it) to </think>; without </think> to the
    first <answer>, else to the end. Whatever stands between <answer> and </answer> is left out.
    """
    end = completion.find("</think>")
    closed = end >= 0
    if not closed:
        end = len(completion)
    opening = -1 if "<think>" in prefill else completion.find("<think>", 0, end)
    start = 0 if opening < 0 else opening + len("<think>")
    spans = []
    while (answer := completion.find("<answer>", start, end)) >= 0:
        spans.append((start, answer))
        after = completion.find("</answer>", answer, end) if closed else -1
        if after < 0:
            return spans
        start = after + len("</answer>")
    spans.append((start, end))
    return spans
