"""The committed answer: exactly one pair of tags."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify import answer_tag, answer_tag_reason


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<answer>22</answer>", "22", id="bare"),
        pytest.param("<think>a</think>\n<answer> 3*5 + 7 </answer>", "3*5 + 7", id="stripped"),
        pytest.param("<answer>\na\nb\n</answer>", "a\nb", id="several lines"),
        pytest.param("<answer>1 < 2</answer>", "1 < 2", id="a less-than sign"),
        pytest.param("before <answer>22</answer> after", "22", id="text around"),
        pytest.param("<answer><think>22</think></answer>", "<think>22</think>", id="other tags are content"),
    ],
)
def test_one_pair_gives_its_content(text, answer):
    assert answer_tag(text) == answer
    assert answer_tag_reason(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "no <answer>", id="empty text"),
        pytest.param("22", "no <answer>", id="no tags"),
        pytest.param("22</answer>", "no <answer>", id="only the end"),
        pytest.param("<answer>22", "no </answer>", id="unclosed"),
        pytest.param("<answer>22<answer>", "<answer> 2 times", id="opened twice, never closed"),
        pytest.param("<answer>1</answer><answer>2</answer>", "<answer> 2 times", id="two pairs"),
        pytest.param("<answer><answer>1</answer>", "<answer> 2 times", id="opened twice"),
        pytest.param("<answer>1</answer></answer>", "</answer> 2 times", id="closed twice"),
        pytest.param("</answer>22<answer>", "</answer> before <answer>", id="reversed"),
        pytest.param("<ANSWER>22</ANSWER>", "no <answer>", id="upper case"),
        pytest.param("<answer >22</answer >", "no <answer>", id="blank in the tag"),
        pytest.param("<answer></answer>", "answer is empty", id="empty"),
        pytest.param("<answer> \n </answer>", "answer is empty", id="blank"),
        pytest.param(
            f"<answer>{'1' * 10_001}</answer>",
            "answer too long: 10001 characters, at most 10000",
            id="too long",
        ),
    ],
)
def test_anything_else_gives_a_reason(text, reason):
    assert answer_tag(text) is None
    assert answer_tag_reason(text) == reason


def test_megabytes_of_tags_are_judged_at_once():
    started = time.monotonic()
    assert answer_tag("<answer>" * 500_000) is None
    assert answer_tag("<" * 5_000_000) is None
    assert time.monotonic() - started < 1.0


@given(st.text() | st.lists(st.sampled_from(["<answer>", "</answer>", "a", " "])).map("".join))
def test_a_text_has_either_an_answer_or_a_reason(text):
    assert (answer_tag(text) is None) == (answer_tag_reason(text) != "")
