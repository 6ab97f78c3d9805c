"""Where a completion reasons, and where it answers."""

from __future__ import annotations


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
