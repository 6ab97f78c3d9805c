"""1 for R1-Zero's format: `<think>...</think>`, then `<answer>...</answer>`, else nothing but white space."""

from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, with_prefill

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def failure(text: str) -> str:
    """Why `text` (prefill and completion) breaks the format, "" if it keeps it.

    Each tag once, in order, nothing outside the two pairs except white space. Both pairs need content: paying
    for an empty <think> would pay for not thinking. Tags are case-sensitive, as the prompt writes them.
    Source: the template of R1-Zero, arXiv 2501.12948v1, shows the tags; the exact rule here is ours.
    """
    for tag in TAGS:
        count = text.count(tag)
        if count == 0:
            return f"no {tag}"
        if count > 1:
            return f"{tag} {count} times"
    starts = [text.index(tag) for tag in TAGS]
    for index in range(1, len(TAGS)):
        if starts[index] < starts[index - 1]:
            return f"{TAGS[index]} before {TAGS[index - 1]}"
    think, think_end, answer, answer_end = starts
    if text[:think].strip():
        return "text before <think>"
    if not text[think + len("<think>") : think_end].strip():
        return "nothing inside <think>"
    if text[think_end + len("</think>") : answer].strip():
        return "text between </think> and <answer>"
    if not text[answer + len("<answer>") : answer_end].strip():
        return "nothing inside <answer>"
    if text[answer_end + len("</answer>") :].strip():
        return "text after </answer>"
    return ""


class Format:
    """1 if the completion is one <think> pair, one <answer> pair and otherwise white space; else 0."""

    __name__ = "format"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion, never None; columns as in `reasons`."""
        return [0.0 if reason else 1.0 for reason in self.reasons(completions, **columns)]

    def reasons(
        self,
        completions: Sequence[Completion],
        *,
        prefill: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[str]:
        """Why each completion, behind the `prefill` its prompt opened, breaks the format; "" if it keeps it.

        Raises `ValueError` if `prefill` is given and has another length than `completions`.
        """
        return [failure(text) for text in with_prefill(completions, prefill, reward=self.__name__)]
