"""The format reward: one reason per way to break it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards
from rewards.format import TAGS, failure

CASES = [
    # (id, prefill, completion, reason; "" = paid)
    ("as in the paper", "", "<think> a </think> <answer> b </answer>", ""),
    ("no blanks", "", "<think>a</think><answer>b</answer>", ""),
    ("line breaks", "", "\n<think>\na\n\nb\n</think>\n\n<answer>\nc\n</answer>\n", ""),
    ("several lines of thought", "", "<think>a\nb\nc</think>\n<answer>d</answer>", ""),
    ("a less-than sign", "", "<think>1 < 2</think><answer>b</answer>", ""),
    ("other tags inside", "", "<think><b>a</b></think><answer><i>b</i></answer>", ""),
    ("prefilled <think>", "<think>", "a</think><answer>b</answer>", ""),
    ("prefilled thought", "Let me think.\n<think>", "a</think><answer>b</answer>", "text before <think>"),
    ("prefill carries the thought", "<think>a", "</think><answer>b</answer>", ""),
    ("prefill and again <think>", "<think>", "<think>a</think><answer>b</answer>", "<think> 2 times"),
    ("prefill, then only an answer", "<think>", "a <answer>b</answer>", "no </think>"),
    ("empty", "", "", "no <think>"),
    ("no tags", "", "the answer is b", "no <think>"),
    ("only an answer", "", "<answer>b</answer>", "no <think>"),
    ("only a thought", "", "<think>a</think>", "no <answer>"),
    ("unclosed thought", "", "<think>a<answer>b</answer>", "no </think>"),
    ("unclosed answer", "", "<think>a</think><answer>b", "no </answer>"),
    ("answer never opened", "", "<think>a</think>b</answer>", "no <answer>"),
    ("truncated in the tag", "", "<think>a</think><answer>b</answer", "no </answer>"),
    ("upper case", "", "<THINK>a</THINK><ANSWER>b</ANSWER>", "no <think>"),
    ("one tag capitalised", "", "<think>a</Think><answer>b</answer>", "no </think>"),
    ("blank in a tag", "", "< think>a</think><answer>b</answer>", "no <think>"),
    ("attribute in a tag", "", "<think>a</think><answer id='1'>b</answer>", "no <answer>"),
    ("two thoughts", "", "<think>a</think><think>a</think><answer>b</answer>", "<think> 2 times"),
    ("two answers", "", "<think>a</think><answer>b</answer><answer>c</answer>", "<answer> 2 times"),
    ("closed twice", "", "<think>a</think></think><answer>b</answer>", "</think> 2 times"),
    ("answer closed three times", "", "<think>a</think><answer>b" + "</answer>" * 3, "</answer> 3 times"),
    ("answer first", "", "<answer>b</answer><think>a</think>", "<answer> before </think>"),
    ("thought inverted", "", "</think>a<think><answer>b</answer>", "</think> before <think>"),
    ("answer inverted", "", "<think>a</think></answer>b<answer>", "</answer> before <answer>"),
    ("answer inside the thought", "", "<think>a<answer>b</answer></think>", "<answer> before </think>"),
    ("thought inside the answer", "", "<answer><think>a</think>b</answer>", "<answer> before </think>"),
    ("crossed", "", "<think>a<answer></think>b</answer>", "<answer> before </think>"),
    ("tag quoted in the thought", "", "<think>use <answer></think><answer>b</answer>", "<answer> 2 times"),
    ("text before", "", "Sure! <think>a</think><answer>b</answer>", "text before <think>"),
    ("text between", "", "<think>a</think> so <answer>b</answer>", "text between </think> and <answer>"),
    ("text after", "", "<think>a</think><answer>b</answer> Done.", "text after </answer>"),
    ("next turn after", "", "<think>a</think><answer>b</answer>\nUser:", "text after </answer>"),
    ("full stop after", "", "<think>a</think><answer>b</answer>.", "text after </answer>"),
    ("null byte after", "", "<think>a</think><answer>b</answer>\x00", "text after </answer>"),
    ("zero width space before", "", "\u200b<think>a</think><answer>b</answer>", "text before <think>"),
    ("empty thought", "", "<think></think><answer>b</answer>", "nothing inside <think>"),
    ("blank thought", "", "<think> \n </think><answer>b</answer>", "nothing inside <think>"),
    ("prefilled blank thought", "<think>", "\n</think><answer>b</answer>", "nothing inside <think>"),
    ("empty answer", "", "<think>a</think><answer></answer>", "nothing inside <answer>"),
    ("blank answer", "", "<think>a</think><answer>\n\t</answer>", "nothing inside <answer>"),
]


@pytest.mark.parametrize(("prefill", "completion", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_format_and_every_way_to_break_it(prefill, completion, reason):
    reward = rewards.get("format")
    assert reward.reasons([completion], prefill=[prefill]) == [reason]
    assert reward([completion], prefill=[prefill]) == [0.0 if reason else 1.0]


def test_prefill_may_be_absent_or_none():
    text = "<think>a</think><answer>b</answer>"
    assert rewards.get("format")([text]) == [1.0]
    assert rewards.get("format")([text], prefill=[None]) == [1.0]
    with pytest.raises(ValueError, match="reward='format': column 'prefill' has 2 values for 1 completions"):
        rewards.get("format")([text], prefill=["", ""])


def test_megabytes_are_judged_at_once():
    started = time.monotonic()
    for text in ("<think>" * 500_000, "<" * 5_000_000, "<think>" + " " * 5_000_000 + "</think>"):
        assert failure(text)
    assert time.monotonic() - started < 1.0


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "\n"]), max_size=10).map("".join))
def test_it_agrees_with_a_parser_that_walks_the_text(text):
    """Oracle: consume the text from left to right, piece by piece."""

    def walk():
        rest = text.lstrip()
        for opening, closing in (("<think>", "</think>"), ("<answer>", "</answer>")):
            if not rest.startswith(opening):
                return False
            content, found, rest = rest.removeprefix(opening).partition(closing)
            if not found or not content.strip() or any(tag in content for tag in TAGS):
                return False
            rest = rest.lstrip()
        return not rest

    assert (failure(text) == "") == walk()
