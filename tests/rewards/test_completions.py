"""What TRL hands over, as text."""

import pytest

from rewards.completions import text_of


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        pytest.param("plain", "plain", id="text"),
        pytest.param([{"role": "assistant", "content": "hello"}], "hello", id="one message"),
        pytest.param(
            [
                {"role": "assistant", "content": "a"},
                {"role": "tool", "content": "b"},
                {"role": "assistant", "content": "c"},
            ],
            "c",
            id="the last message counts",
        ),
        pytest.param([], "", id="no message"),
        pytest.param([{"role": "assistant", "content": None}], "", id="no content"),
        pytest.param([{"role": "assistant"}], "", id="no content key"),
        pytest.param(
            [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image"},
                        {"type": "text", "text": "b"},
                    ],
                }
            ],
            "ab",
            id="parts",
        ),
    ],
)
def test_the_text_of_a_completion(completion, text):
    assert text_of(completion) == text
