"""The format rewards: one reason per way to break the format."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewards
from rewards.format import TAGS, failure, soft_failure

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
    ("one line break between", "", "<think>a</think>\n<answer>b</answer>", ""),
    ("no break between, breaks inside", "", "<think>\na\n</think><answer>\nb\n</answer>", ""),
    ("tab between", "", "<think>a</think>\t<answer>b</answer>", ""),
    ("windows line breaks", "", "<think>\r\na\r\n</think>\r\n<answer>\r\nb\r\n</answer>\r\n", ""),
    ("no-break space after", "", "<think>a</think><answer>b</answer>\u00a0", ""),
    ("angle brackets in formulas", "", "<think>a<b>c</think><answer>x<y</answer>", ""),
    ("half a tag in the thought", "", "<think>a <thin</think><answer>b</answer>", ""),
    ("tag in words", "", "<think>the answer tag</think><answer>b</answer>", ""),
    ("right to left thought", "", "<think>\u202ea</think><answer>b</answer>", ""),
    ("surrogate in the thought", "", "<think>\ud800</think><answer>b</answer>", ""),
    ("prefill with a line break", "<think>\n", "a\n</think>\n<answer>b</answer>", ""),
    ("prefill of half a tag", "<thi", "nk>a</think><answer>b</answer>", ""),
    ("prefill up to the answer", "<think>a</think><answer>", "b</answer>", ""),
    ("prefill, whole format again", "<think>", "<think>a</think><answer>b</answer>" * 2, "<think> 3 times"),
    ("prefill alone", "<think>", "", "no </think>"),
    ("prefill, text after", "<think>", "a</think><answer>b</answer>\n\nNote", "text after </answer>"),
    ("the whole twice", "", "<think>a</think><answer>b</answer>" * 2, "<think> 2 times"),
    ("the whole twice, on lines", "", "<think>\na\n</think>\n<answer>\nb\n</answer>\n" * 2, "<think> 2 times"),
    ("a second thought after", "", "<think>a</think><answer>b</answer><think>c</think>", "<think> 2 times"),
    ("thought opened in a thought", "", "<think>a<think>b</think><answer>c</answer>", "<think> 2 times"),
    ("thought nested in a thought", "", "<think>a<think>b</think></think><answer>c</answer>", "<think> 2 times"),
    ("answer nested in the answer", "", "<think>a</think><answer><answer>b</answer></answer>", "<answer> 2 times"),
    ("answer in both", "", "<think><answer>a</answer></think><answer>b</answer>", "<answer> 2 times"),
    ("a thousand </think>", "", "<think>a" + "</think>" * 1000 + "<answer>b</answer>", "</think> 1000 times"),
    ("all closings first", "", "</think></answer><think>a<answer>b", "</think> before <think>"),
    ("openings, then closings", "", "<think><answer>a</think></answer>", "<answer> before </think>"),
    ("both inverted", "", "</answer>b<answer></think>a<think>", "</think> before <think>"),
    ("closing slash missing", "", "<think>a<think><answer>b<answer>", "<think> 2 times"),
    ("self-closing tags", "", "<think/>a<answer/>b", "no <think>"),
    ("full-width brackets", "", "\uff1cthink\uff1ea</think><answer>b</answer>", "no <think>"),
    ("escaped brackets", "", "&lt;think&gt;a&lt;/think&gt;<answer>b</answer>", "no <think>"),
    ("square brackets", "", "[think]a[/think][answer]b[/answer]", "no <think>"),
    ("another tag name", "", "<thinking>a</thinking><answer>b</answer>", "no <think>"),
    ("line break in a tag", "", "<think\n>a</think><answer>b</answer>", "no <think>"),
    ("zero width space in a tag", "", "<think>a</think><ans\u200bwer>b</answer>", "no <answer>"),
    ("full stop between", "", "<think>a</think>.<answer>b</answer>", "text between </think> and <answer>"),
    ("box between", "", "<think>a</think>\\boxed{b}<answer>b</answer>", "text between </think> and <answer>"),
    ("box after", "", "<think>a</think><answer>b</answer>\\boxed{b}", "text after </answer>"),
    ("end-of-text written out", "", "<think>a</think><answer>b</answer><|endoftext|>", "text after </answer>"),
    ("code fence around", "", "```<think>a</think><answer>b</answer>```", "text before <think>"),
    ("byte order mark before", "", "\ufeff<think>a</think><answer>b</answer>", "text before <think>"),
    ("null byte between", "", "<think>a</think>\x00<answer>b</answer>", "text between </think> and <answer>"),
    ("combining mark after", "", "<think>a</think><answer>b</answer>\u0301", "text after </answer>"),
    ("no-break space as a thought", "", "<think>\u00a0</think><answer>b</answer>", "nothing inside <think>"),
]


def test_the_table_is_long_enough_and_no_row_is_there_twice():
    assert len(CASES) >= 60
    assert len({case[0] for case in CASES}) == len({case[1:3] for case in CASES}) == len(CASES)


# What others pay by: re.match with DOTALL and MULTILINE, where `$` is the end of any line.
OPEN_R1 = r"^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$"
OPEN_R1_EARLIER = r"^<think>.*?</think>\s*<answer>.*?</answer>$"
TRL_THINK = r"^<think>(?!.*<think>)(.*?)</think>.*$"
LINES = "<think>\na\n</think>\n<answer>\nb\n</answer>"


@pytest.mark.parametrize(
    ("pattern", "text", "reason"),
    [
        pytest.param(OPEN_R1, LINES + "\nand more", "text after </answer>", id="pays text after the last tag"),
        pytest.param(OPEN_R1, LINES + "\n" + LINES, "<think> 2 times", id="pays the whole format twice"),
        pytest.param(OPEN_R1, LINES + "\n<answer>c</answer>", "<answer> 2 times", id="pays a second answer"),
        pytest.param(
            OPEN_R1, "<think>\n<think>\n</think>\n<answer>\nb\n</answer>", "<think> 2 times", id="pays nested thoughts"
        ),
        pytest.param(OPEN_R1, LINES.replace("\n", "", 1), "", id="refuses a thought on the line of its tag"),
        pytest.param(OPEN_R1, LINES.replace("</think>\n", "</think>"), "", id="refuses no break between the pairs"),
        pytest.param(OPEN_R1, LINES.replace("</think>\n", "</think>\n\n"), "", id="refuses an empty line between"),
        pytest.param(OPEN_R1, "\n" + LINES, "", id="refuses a line break before"),
        pytest.param(OPEN_R1, LINES.replace("\n", "\r\n"), "", id="refuses windows line breaks"),
        pytest.param(OPEN_R1, LINES.replace("\na\n", "\n\n"), "nothing inside <think>", id="pays an empty thought"),
        pytest.param(OPEN_R1_EARLIER, LINES + "\nUser: more", "text after </answer>", id="earlier: pays the next turn"),
        pytest.param(
            OPEN_R1_EARLIER, "<think></think><answer></answer>", "nothing inside <think>", id="earlier: pays empty tags"
        ),
        pytest.param(
            OPEN_R1_EARLIER,
            "<think>a<answer>b</answer></think><answer>c</answer>",
            "<answer> 2 times",
            id="earlier: pays an answer inside the thought",
        ),
        pytest.param(TRL_THINK, "<think>a</think>", "no <answer>", id="TRL: asks for no answer"),
        pytest.param(
            TRL_THINK, "<think>a</think></think></think>", "</think> 3 times", id="TRL: pays repeated </think>"
        ),
    ],
)
def test_where_the_regular_expressions_of_others_are_wrong(pattern, text, reason):
    assert failure(text) == reason
    paid_by_them = re.match(pattern, text, re.DOTALL | re.MULTILINE) is not None
    assert paid_by_them == (reason != "")


def test_prefilled_tags_that_others_never_see():
    completion = "a\n</think>\n<answer>\nb\n</answer>"
    assert re.match(OPEN_R1, completion, re.DOTALL | re.MULTILINE) is None
    assert rewards.get("format")([completion], prefill=["<think>\n"]) == [1.0]


SOFT = [
    ("strict", "<think>a</think><answer>b</answer>", ""),
    ("text everywhere outside", "Sure! <think>a</think> so <answer>b</answer> Done.", ""),
    ("line breaks in the thought", "<think>a\nb</think>\n\n<answer>c\nd</answer>", ""),
    ("empty thought", "<think> </think><answer>b</answer>", "nothing inside <think>"),
    ("empty answer", "<think>a</think><answer></answer>", "nothing inside <answer>"),
    ("duplicated tag", "<think>a</think></think><answer>b</answer>", "</think> 2 times"),
    ("nested", "<think>a<answer>b</answer></think>", "<answer> before </think>"),
    ("other order", "<answer>b</answer><think>a</think>", "<answer> before </think>"),
    ("a tag missing", "<think>a</think>b</answer>", "no <answer>"),
]


@pytest.mark.parametrize(("text", "reason"), [c[1:] for c in SOFT], ids=[c[0] for c in SOFT])
def test_the_soft_format(text, reason):
    reward = rewards.get("format-soft")
    assert reward.reasons([text]) == [reason]
    assert reward([text]) == [0.0 if reason else 1.0]


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "\n"]), max_size=10).map("".join))
def test_strict_is_soft_with_nothing_outside(text):
    bare = re.sub(r"<think>.*?</think>|<answer>.*?</answer>", "", text, flags=re.DOTALL)
    assert (failure(text) == "") == (soft_failure(text) == "" and not bare.strip())


COUNTS = [
    ("all four", "<think>a</think><answer>b</answer>", 1.0),
    ("no line breaks needed, text allowed", "x<think>a</think>y<answer>b</answer>z", 1.0),
    ("none", "the answer is b", 0.0),
    ("opened only", "<think>a", 0.25),
    ("answer cut off", "<think>a</think><answer>b", 0.75),
    ("only an answer", "<answer>b</answer>", 0.5),
    ("a duplicated kind counts nothing", "<think>a</think></think><answer>b</answer>", 0.75),
    ("all duplicated", "<think>a</think><answer>b</answer>" * 2, 0.0),
    ("answer first", "<answer>b</answer><think>a</think>", 0.5),
    ("reversed", "</answer><answer></think><think>", 0.25),
    ("a duplicate does not block the later", "<think><think></think><answer>b</answer>", 0.75),
]


@pytest.mark.parametrize(("text", "value"), [c[1:] for c in COUNTS], ids=[c[0] for c in COUNTS])
def test_the_tag_count(text, value):
    assert rewards.get("tag-count")([text]) == [value]


def test_the_tag_count_knows_the_prefill():
    assert rewards.get("tag-count")(["a</think><answer>b</answer>"], prefill=["<think>"]) == [1.0]


@given(st.lists(st.sampled_from([*TAGS, "a"]), max_size=10).map("".join))
def test_the_soft_format_implies_all_tags_counted(text):
    value = rewards.get("tag-count")([text])[0]
    assert value in (0.0, 0.25, 0.5, 0.75, 1.0)
    if not soft_failure(text):
        assert value == 1.0


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


# state -> token -> next state; what is not there breaks the format. Content states need a token that is not blank.
MACHINE = {
    "before": {"blank": "before", "<think>": "thinking, empty"},
    "thinking, empty": {"blank": "thinking, empty", "text": "thinking"},
    "thinking": {"blank": "thinking", "text": "thinking", "</think>": "between"},
    "between": {"blank": "between", "<answer>": "answering, empty"},
    "answering, empty": {"blank": "answering, empty", "text": "answering"},
    "answering": {"blank": "answering", "text": "answering", "</answer>": "after"},
    "after": {"blank": "after"},
}


def machine_accepts(text):
    """Slow oracle: cut the text into tags and single characters, and walk the table."""
    state = "before"
    while text:
        token = next((tag for tag in TAGS if text.startswith(tag)), text[0])
        text = text[len(token) :]
        kind = token if token in TAGS else "blank" if token.isspace() else "text"
        state = MACHINE[state].get(kind)
        if state is None:
            return False
    return state == "after"


PIECES = st.sampled_from(
    [*TAGS, *TAGS, "<", "</", "think>", "answer>", "<Think>", "a", " ", "\n", "\u00a0", "\u200b", "\x00"]
)
ALMOST = st.tuples(*(st.lists(PIECES, max_size=2).map("".join) for _ in range(5))).map(
    lambda filler: "".join(part for pair in zip(filler, (*TAGS, ""), strict=True) for part in pair)
)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join) | ALMOST | st.text(max_size=40))
def test_it_agrees_with_a_state_machine_over_tokens(text):
    assert (failure(text) == "") == machine_accepts(text)


@given(ALMOST, st.integers(0, 80))
def test_where_the_prefill_ends_does_not_matter(text, cut):
    reward = rewards.get("format")
    assert reward([text[cut:]], prefill=[text[:cut]]) == reward([text])
