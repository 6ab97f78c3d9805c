"""A reward for measuring: it tells nearly any two completions apart, so no group is without signal."""

from typing import Any


def characters(completions: list[str], **columns: Any) -> list[float]:
    """The completion's number of characters, in thousands."""
    return [len(text) / 1000 for text in completions]
