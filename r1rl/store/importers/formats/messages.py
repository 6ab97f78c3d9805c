"""Chat messages as the text that a model read, and the text that it wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from r1rl.store.importers.formats.base import Seen

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")


def is_messages(value: object) -> bool:
    """Whether a value is a list of chat messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(message, dict) for message in value)


def read_text(value: object, seen: Seen) -> str:
    """A text, or the contents of chat messages: one message is its content, more are "role: content" lines."""
    if is_messages(value):
        said = [(str(message.get("role", "")), _content(message.get("content"), seen)) for message in value]  # type: ignore[attr-defined]
        return said[0][1] if len(said) == 1 else "\n".join(f"{role}: {content}" for role, content in said)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def written_text(value: object, seen: Seen) -> str:
    """What the model wrote: a text, or of several messages those of the assistant, apart by an empty line."""
    if not is_messages(value) or not any(message.get("role") == "assistant" for message in value):  # type: ignore[attr-defined]
        return read_text(value, seen)
    messages: list[dict[str, Any]] = value  # type: ignore[assignment]
    own = [message for message in messages if message.get("role") == "assistant"]
    seen["turns"] += len(own) > 1 or len(own) < len(messages)
    return "\n\n".join(_turn(message, seen) for message in own)


def split(messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation as what came before the model's first turn, and the rest."""
    roles = [message.get("role") for message in messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    return list(messages[:first]), list(messages[first:])


def _turn(message: dict[str, Any], seen: Seen) -> str:
    """One turn of the model: its thoughts, its words, and what it called."""
    thoughts = next((said for name in _THOUGHTS if isinstance(said := message.get(name), str) and said), "")
    parts = [f"<think>\n{thoughts}\n</think>"] if thoughts else []
    parts.append(_content(message.get("content"), seen))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        said = call if isinstance(call, str) else json.dumps(call, ensure_ascii=False)
        parts.append(f"<tool_call>{said}</tool_call>")
    return "\n".join(part for part in parts if part)


def _content(content: object, seen: Seen) -> str:
    """A message's content; of one in parts the texts and thoughts."""
    if not isinstance(content, list):
        return "" if content is None else content if isinstance(content, str) else json.dumps(content)
    parts = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif isinstance(part, dict) and isinstance(part.get("reasoning"), str) and not part.get("redacted"):
            parts.append(f"<think>\n{part['reasoning']}\n</think>\n")
        else:
            seen["media"] += 1
    return "".join(parts)
