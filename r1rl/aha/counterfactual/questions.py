"""The parts of a rollout that another prompt is made of: its question, its reasoning, its own answer."""

from __future__ import annotations

from typing import Final

from r1rl.aha.counterfactual.writers import Row
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.verify import extraction as policies

_TURNS: Final = (("User: ", "Assistant:"), ("<|im_start|>user\n", "<|im_end|>"))
"""What opens and closes the question of plain templates, and of ChatML."""


def around(row: Row) -> tuple[str, str, str]:
    """What stands before the question in a prompt, the question, and what stands behind it.

    Of a prompt without turns that are known all is the question.
    """
    prompt = str(row["prompt"])
    for opening, closing in _TURNS:
        start = prompt.rfind(opening) + len(opening)
        stop = prompt.find(closing, start)
        if start >= len(opening) and stop >= 0:
            question = prompt[start:stop].rstrip()
            return prompt[:start], question, prompt[start + len(question) :]
    return "", prompt, ""


def reasoning(row: Row) -> tuple[int, int] | None:
    """The first reasoning of a rollout, in characters, without blanks at its end; None where it is empty."""
    text = row["completion"]
    for start, end in reasoning_spans(text, row.get("prefill") or ""):
        stop = start + len(text[start:end].rstrip())
        if stop > start:
            return start, stop
    return None


def own_answer(row: Row, extraction: str) -> tuple[str, int] | None:
    """A rollout's own answer as it wrote it behind what opens one, with what closes it, and where the opening begins.

    None where it has none.
    """
    text = row["completion"]
    answer, _ = policies.get(extraction)((row.get("prefill") or "") + text)
    if answer is None:
        return None
    opening, closing = {
        "answer-tag": (policies.OPEN, policies.CLOSE),
        "boxed-in-answer": (policies.BOX + "{", "}"),
        "boxed": (policies.BOX + "{", "}"),
    }.get(extraction, ("", ""))
    at = text.rfind(opening) if opening else text.rfind(answer)
    if at < 0:
        return None
    if extraction != "answer-tag":
        return answer + closing, at
    return text[at + len(opening) : text.index(closing, at) + len(closing)], at
