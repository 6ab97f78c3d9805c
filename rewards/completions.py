"""What TRL hands to a reward, as plain texts and checked columns."""

from collections.abc import Sequence
from typing import Any

Completion = str | list[dict[str, Any]]
"""A text, or the messages of a conversational completion."""


def text_of(completion: Completion) -> str:
    """The text of a completion; of a conversation, the content of its last message ("" if it has none).

    A content may itself be a list of parts, of which the text parts are joined.
    """
    if isinstance(completion, str):
        return completion
    if not completion:
        return ""
    content = completion[-1].get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if part.get("type") == "text")


def column(name: str, values: Sequence[Any] | None, completions: Sequence[Any], *, reward: str) -> Sequence[Any]:
    """A column that the reward needs. Raises `ValueError` naming it if it is missing or uneven."""
    if values is None:
        raise ValueError(f"reward={reward!r}: column {name!r} is missing; every row of the dataset needs it")
    if isinstance(values, str) or len(values) != len(completions):
        count = "one string" if isinstance(values, str) else f"{len(values)} values"
        raise ValueError(f"reward={reward!r}: column {name!r} has {count} for {len(completions)} completions")
    return values


def with_prefill(completions: Sequence[Completion], prefill: Sequence[str | None] | None, *, reward: str) -> list[str]:
    """Each completion's text behind the part of the answer that its prompt already opened, if any."""
    texts = [text_of(completion) for completion in completions]
    if prefill is None:
        return texts
    openings = column("prefill", prefill, completions, reward=reward)
    return [(opening or "") + text for opening, text in zip(openings, texts, strict=True)]
