"""What TRL hands to a reward, as plain texts and checked columns."""

import json
from collections.abc import Sequence
from typing import Any

Completion = str | list[dict[str, Any]]
"""A text, or the messages of a conversational completion."""


class TextReward:
    """A reward that depends on nothing but a completion's text: a subclass says what a text is worth in `of`.

    `tags` of a reward, this kind or another, are the texts without which it never pays.
    """

    def of(self, text: str) -> float:
        """The reward of one text, the part that the prompt already opened included."""
        raise NotImplementedError

    def __call__(
        self, completions: Sequence[Completion], *, prefill: Sequence[str | None] | None = None, **columns: Any
    ) -> list[float | None]:
        """One reward per completion, never None. Raises `ValueError` for a `prefill` of another length."""
        return [self.of(text) for text in with_prefill(completions, prefill, reward=self)]


def text_of(completion: Completion) -> str:
    """The text of a completion; of a conversation, the content of its last message ("" if it has none).

    A content may itself be a list of parts, of which the text parts are joined.
    """
    if isinstance(completion, str):
        return completion
    content = (completion[-1].get("content") if completion else "") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if part.get("type") == "text")


def column(name: str, values: Sequence[Any] | None, completions: Sequence[Any], *, reward: object) -> Sequence[Any]:
    """A column that the reward needs. Raises `ValueError` naming both if it is missing or uneven."""
    label = getattr(reward, "__name__", type(reward).__name__)
    if values is None:
        raise ValueError(f"reward={label!r}: column {name!r} is missing; every row of the dataset needs it")
    if isinstance(values, str) or len(values) != len(completions):
        count = "one string" if isinstance(values, str) else f"{len(values)} values"
        raise ValueError(f"reward={label!r}: column {name!r} has {count} for {len(completions)} completions")
    return values


def lengths(completion_ids: Any, completions: Sequence[Completion], *, reward: object) -> list[int]:
    """Each completion's length in tokens, from the column `completion_ids`, which TRL passes without padding."""
    return [len(ids) for ids in column("completion_ids", completion_ids, completions, reward=reward)]


def with_prefill(
    completions: Sequence[Completion], prefill: Sequence[str | None] | None, *, reward: object
) -> list[str]:
    """Each completion's text behind the part of the answer that its prompt already opened, if any."""
    texts = [text_of(completion) for completion in completions]
    if prefill is None:
        return texts
    openings = column("prefill", prefill, completions, reward=reward)
    return [(opening or "") + text for opening, text in zip(openings, texts, strict=True)]


def meta_of(meta: str | dict[str, Any]) -> dict[str, Any] | None:
    """A row's `meta`, a mapping or its JSON; None if it is neither."""
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except ValueError:
            return None
    return meta if isinstance(meta, dict) else None
