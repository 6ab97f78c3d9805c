"""The committed answer, by each policy."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.verify import answer_tag, extraction


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
    assert extraction.extract(text)[1] == ""


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
    assert extraction.extract(text)[1] == reason


def test_megabytes_of_tags_are_judged_at_once():
    started = time.monotonic()
    assert answer_tag("<answer>" * 500_000) is None
    assert answer_tag("<" * 5_000_000) is None
    assert time.monotonic() - started < 1.0


@given(st.text() | st.lists(st.sampled_from(["<answer>", "</answer>", "a", " "])).map("".join))
def test_a_text_has_either_an_answer_or_a_reason(text):
    assert (answer_tag(text) is None) == (extraction.extract(text)[1] != "")


BOXED = [
    # (id, text, answer or None, reason)
    ("one box", r"so \boxed{12}.", "12", ""),
    ("the last counts", r"\boxed{1} no, \boxed{2}", "2", ""),
    ("stripped", r"\boxed{ 12 }", "12", ""),
    ("braces inside", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", ""),
    ("escaped braces are no groups", r"\boxed{\{1, 2\}}", r"\{1, 2\}", ""),
    ("an escaped brace alone", r"\boxed{x \in \left\{ 1 \right.}", r"x \in \left\{ 1 \right.", ""),
    ("blank before the brace", "\\boxed {12}", "12", ""),
    ("line break before the brace", "\\boxed\n{12}", "12", ""),
    ("of nested ones the inner", r"\boxed{1 or \boxed{2}}", "2", ""),
    ("text after", r"\boxed{12} is the answer", "12", ""),
    ("in dollars", r"$\boxed{12}$", "12", ""),
    ("in a pair of tags", r"<answer>\boxed{12}</answer>", "12", ""),
    ("no box", "12", None, r"no \boxed"),
    ("empty text", "", None, r"no \boxed"),
    ("empty box", r"\boxed{ }", None, "answer is empty"),
    ("without braces", r"\boxed 12", "12", ""),
    ("a formula without braces", r"\boxed \frac12", None, r"\boxed without {"),
    ("thought, not said", r"<think>\boxed{12}</think> done", None, r"no \boxed"),
    ("thoughts that never end", r"<think>it is \boxed{12}", None, "no </think>"),
    ("thinking again", r"<think>a</think> \boxed{13} <think>\boxed{12}", None, "no </think>"),
    ("said after thinking", r"<think>\boxed{13}</think> \boxed{12}", "12", ""),
    ("thinking that began in the prompt", r"\boxed{13}</think> \boxed{12}", "12", ""),
    ("at the end", r"\boxed", None, r"\boxed without {"),
    ("another command", r"\boxedtwo{3}", None, r"\boxed without {"),
    ("not closed", r"\boxed{12", None, r"\boxed is not closed"),
    ("closed by an escaped brace", r"\boxed{12\}", None, r"\boxed is not closed"),
    ("cut off: the earlier box is a thought", r"\boxed{1} then \boxed{\frac{1}{2", None, r"\boxed is not closed"),
    ("too long", r"\boxed{" + "1" * 10_001 + "}", None, r"\boxed is not closed within 10000 characters"),
    ("just short enough", r"\boxed{" + "1" * 10_000 + "}", "1" * 10_000, ""),
]
BOXED_IN_ANSWER = [
    ("one box in the pair", r"<answer>so \boxed{12}</answer>", "12", ""),
    ("boxes outside do not matter", r"\boxed{1}<answer>\boxed{2}</answer>\boxed{3}", "2", ""),
    ("no pair", r"\boxed{12}", None, "no <answer>"),
    ("two pairs", r"<answer>\boxed{1}</answer>" * 2, None, "<answer> 2 times"),
    ("no box inside", r"\boxed{12}<answer>12</answer>", None, r"no \boxed in <answer>"),
    ("two boxes inside", r"<answer>\boxed{1} or \boxed{2}</answer>", None, r"\boxed 2 times in <answer>"),
    ("nested boxes", r"<answer>\boxed{\boxed{2}}</answer>", None, r"\boxed 2 times in <answer>"),
    ("closed outside the pair", r"<answer>\boxed{12</answer>}", None, r"\boxed is not closed in <answer>"),
    ("empty box", r"<answer>\boxed{}</answer>", None, "answer is empty in <answer>"),
]
LAST_NUMBER = [
    ("one number", "the answer is 12.", "12", ""),
    ("the last counts", "3 + 4 = 7", "7", ""),
    ("negative", "so x = -3", "-3", ""),
    ("unicode minus", "so x = \u22123", "-3", ""),
    ("at the very start", "-3", "-3", ""),
    ("a difference is no sign", "5-3", "3", ""),
    ("a difference of letters", "x-3", "3", ""),
    ("after a bracket", "(5)-3", "3", ""),
    ("in brackets", "(-3)", "-3", ""),
    ("decimal", "3.14", "3.14", ""),
    ("full stop", "It is 3.", "3", ""),
    ("grouped", "$1,234,567.50 in all", "1,234,567.50", ""),
    ("a list is not grouped", "12,13", "13", ""),
    ("four digits are no group", "1,2345", "2345", ""),
    ("fraction", "it is 3/4", "3/4", ""),
    ("negative fraction", "it is -3/4", "-3/4", ""),
    ("scientific", "about 1e5", "1e5", ""),
    ("unit behind", "12 apples", "12", ""),
    ("percent", "50%", "50", ""),
    ("GSM8K's mark", "#### 72", "72", ""),
    ("none", "twelve", None, "no number"),
    ("empty", "", None, "no number"),
    ("digits of other scripts are not read", "\u0661\u0662", None, "no number"),
    ("200 digits", "x" + "1" * 200, "1" * 200, ""),
    ("201 digits", "x" + "1" * 201, None, "number longer than 200 characters"),
    ("a million digits", "1" * 1_000_000, None, "number longer than 200 characters"),
]
TABLES = {"boxed": BOXED, "boxed-in-answer": BOXED_IN_ANSWER, "last-number": LAST_NUMBER}
ROWS = [pytest.param(name, *row[1:], id=f"{name}: {row[0]}") for name, table in TABLES.items() for row in table]


@pytest.mark.parametrize(("policy", "text", "answer", "reason"), ROWS)
def test_each_policy(policy, text, answer, reason):
    assert extraction.get(policy)(text) == (answer, reason)


def test_the_strict_policy_is_the_first_and_the_default_of_accuracy():
    assert extraction.names() == ["answer-tag", "boxed", "boxed-in-answer", "last-number"]
    assert extraction.get("answer-tag")("<answer>1</answer>") == ("1", "")


def test_an_unknown_policy_is_an_error():
    with pytest.raises(ValueError, match=r"extraction='box': unknown; allowed: answer-tag, boxed, .*try 'answer-tag'"):
        extraction.get("box")


HUGE = {
    "open boxes": "\\boxed{" * 300_000,
    "empty boxes": "\\boxed{}" * 300_000,
    "nested boxes": "\\boxed{" * 150_000 + "1" + "}" * 150_000,
    "backslashes": "\\" * 2_000_000,
    "braces": "{" * 2_000_000,
    "digits": "1" * 2_000_000,
    "groups": "1,111" * 400_000,
    "minus signs": "-" * 2_000_000 + "1",
    "dots": "1." * 1_000_000,
    "blanks in a box": "\\boxed" + " " * 2_000_000,
    "tags": "<answer>" * 250_000,
    "a box in a long pair": "<answer>" + "\\boxed{" * 200_000 + "</answer>",
    "a digit before megabytes": "1" + "x" * 2_000_000,
}


@pytest.mark.parametrize("policy", extraction.names())
@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_megabytes_are_bounded(policy, text):
    started = time.monotonic()
    answer, reason = extraction.get(policy)(text)
    assert time.monotonic() - started < 2.0
    assert len(answer or "") <= extraction.MAX_ANSWER_CHARS
    assert len(reason) <= 200


ANY_TEXT = (
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["\\boxed", "\\boxed{", "{", "}", "\\{", "\\}", "\\", "<answer>", "</answer>", "1", " "])
    ).map("".join)
    | st.text(alphabet="0123456789-,./eE+x ()\u2212", max_size=30)
)


@pytest.mark.parametrize("policy", extraction.names())
@settings(max_examples=200)
@given(text=ANY_TEXT)
def test_every_policy_gives_an_answer_or_a_reason(policy, text):
    answer, reason = extraction.get(policy)(text)
    assert (answer is None) == (reason != "")
    if answer is not None:
        assert answer
        assert answer == answer.strip()
        assert answer.replace("-", "") in text.replace("\u2212", "").replace("-", "")


def slow_boxed(text):
    """Oracle: every start from the right, every end from the left, braces counted in each slice anew."""
    starts = [index for index in range(len(text)) if text.startswith("\\boxed", index)]
    if not starts:
        return None
    behind = text[starts[-1] + len("\\boxed") :]
    if bare := re.match(r"[ \t]*[-+]?([0-9][0-9.,/]*)(?![A-Za-z0-9{])", behind):
        return bare[0].strip().rstrip(".,/")
    if bare := re.match(r"[ \t]+([A-Za-z])(?![A-Za-z0-9{])", behind):
        return bare[1]
    rest = behind.lstrip(" \t\r\n")
    for end in range(1, len(rest) + 1):
        plain = re.sub(r"\\.", "", rest[:end], flags=re.DOTALL)
        if not rest.startswith("{"):
            return None
        if plain.count("{") == plain.count("}") and not rest[:end].endswith("\\"):
            return rest[1 : end - 1].strip() or None
    return None


@settings(max_examples=500)
@given(ANY_TEXT)
def test_boxed_agrees_with_a_slow_oracle(text):
    assert extraction.boxed(text)[0] == slow_boxed(text)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["<answer>", "</answer>", "\\boxed{", "}", "1", " "]), max_size=10).map("".join))
def test_the_pair_agrees_with_a_slow_oracle(text):
    """Oracle: all ways to cut the text into before, content and after around two tags, without tags in any of them."""
    free = [
        (text[:start], text[start + 8 : end], text[end + 9 :])
        for start in range(len(text))
        for end in range(start + 8, len(text))
        if text.startswith("<answer>", start) and text.startswith("</answer>", end)
    ]
    contents = [cut[1].strip() for cut in free if not any("<answer>" in part or "</answer>" in part for part in cut)]
    expected = contents[0] if contents and contents[0] else None
    assert answer_tag(text) == expected
    inner = slow_boxed(expected) if expected and expected.count("\\boxed") == 1 else None
    assert extraction.boxed_in_answer(text)[0] == inner


@given(
    st.integers(-(10**15), 10**15),
    st.sampled_from(["", "so ", "x = ", "(", "1 + 1 = "]),
    st.sampled_from(["", ".", " m", ")", "!\n"]),
)
def test_the_last_number_is_read_back(number, before, after):
    for shown in (str(number), f"{number:,}"):
        assert extraction.last_number(before + shown + after) == (shown, "")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        pytest.param(r" $\boxed{ 1+2 }$ ", "1+2", id="two layers and spaces"),
        pytest.param("$$1$$", "1", id="the longer wrapper first"),
        pytest.param(r"\boxed{}", r"\boxed{}", id="around nothing"),
        pytest.param("$1", "$1", id="not closed"),
        pytest.param(r"\(" * 5 + "1" + r"\)" * 5, r"\(1\)", id="at most four layers"),
    ],
)
def test_wrappers_are_taken_off(text, inside):
    assert extraction.unwrap(text, extraction.MATH_WRAPPERS) == inside
