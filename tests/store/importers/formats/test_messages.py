"""Chat messages as text: what the model read, and of what it wrote only that."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from r1rl.store.importers.formats.messages import read_text, written_text

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("value", "text", "seen"),
    [
        pytest.param("a", "a", {}, id="a text"),
        pytest.param([said("a")], "a", {}, id="one message"),
        pytest.param(
            [said("a"), {"role": "tool", "content": "x"}, said("b")], "a\n\nb", {"turns": 1}, id="a tool between"
        ),
        pytest.param([said("a", reasoning_content="t")], "<think>\nt\n</think>\na", {}, id="thoughts apart"),
        pytest.param(
            [said([{"type": "reasoning", "reasoning": "t"}, {"type": "text", "text": "a"}])],
            "<think>\nt\n</think>\na",
            {},
            id="thoughts in parts",
        ),
        pytest.param(
            [said([{"type": "reasoning", "reasoning": "x", "redacted": True}, {"type": "text", "text": "a"}])],
            "a",
            {"media": 1},
            id="thoughts that are encrypted",
        ),
        pytest.param([said(["a", IMAGE, "b"])], "ab", {"media": 1}, id="an image"),
        pytest.param([said(None, tool_calls=[{"name": "f"}])], '<tool_call>{"name": "f"}</tool_call>', {}, id="a call"),
        pytest.param([said(None, tool_calls=3)], "", {}, id="calls that are none"),
        pytest.param([{"content": "a"}], "a", {}, id="no role"),
        pytest.param([], "[]", {}, id="no messages"),
        pytest.param(5, "5", {}, id="a number"),
    ],
)
def test_what_the_model_wrote(value: Any, text: str, seen: dict[str, int]) -> None:
    counted: Counter[str] = Counter()
    assert written_text(value, counted) == text
    assert +counted == Counter(seen)


def test_what_the_model_read() -> None:
    counted: Counter[str] = Counter()
    conversation = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "q"}]},
    ]
    assert read_text(conversation, counted) == "system: s\nuser: q"
    assert counted == {"media": 1}
