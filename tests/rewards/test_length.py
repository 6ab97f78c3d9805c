"""The length rewards, by hand-worked rows, by TRL's own functions, and by what they must never do."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewards

RIGHT, WRONG = "<think>a</think><answer>12</answer>", "<think>a</think><answer>13</answer>"


def columns(completions, lengths, gold="12", **more):
    count = len(completions)
    return {
        "completions": completions,
        "completion_ids": [[7] * length for length in lengths],
        "gold": [gold] * count,
        "meta": ["{}"] * count,
        "verifier": ["exact"] * count,
        "prompts": ["question"] * count,
    } | more


@pytest.mark.parametrize(
    ("length", "value"),
    [
        pytest.param(0, 0.0, id="nothing written"),
        pytest.param(79, 0.0, id="below the soft cap"),
        pytest.param(80, 0.0, id="at the soft cap L - C"),
        pytest.param(81, -0.05, id="one token into the cache"),
        pytest.param(90, -0.5, id="half the cache"),
        pytest.param(100, -1.0, id="at the hard cap L"),
        pytest.param(101, -1.0, id="beyond it"),
        pytest.param(10_000, -1.0, id="far beyond it"),
    ],
)
def test_soft_overlong_by_hand(length, value):
    reward = rewards.get("soft-overlong", max_tokens=100, cache_tokens=20)
    assert reward(["x" * 5], completion_ids=[[1] * length]) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("text", "length", "options", "value"),
    [
        pytest.param(RIGHT, 0, {}, 1.0, id="right and short"),
        pytest.param(RIGHT, 50, {}, 0.75, id="right, half way"),
        pytest.param(RIGHT, 25, {}, 0.5 + 0.25 * (1 + math.sqrt(0.5)), id="right, a quarter of the way"),
        pytest.param(RIGHT, 100, {}, 0.5, id="right, at the cap"),
        pytest.param(RIGHT, 200, {}, 0.5, id="clamped: unclamped it would be 1 again"),
        pytest.param(WRONG, 0, {}, -1.0, id="wrong and short"),
        pytest.param(WRONG, 50, {}, -0.75, id="wrong, half way"),
        pytest.param(WRONG, 100, {}, -0.5, id="wrong, at the cap"),
        pytest.param(WRONG, 200, {}, -0.5, id="wrong, clamped"),
        pytest.param("no tags", 50, {}, -0.75, id="no answer is wrong"),
        pytest.param(RIGHT, 99, {"exceeded": -10}, 0.5 + 0.25 * (1 + math.cos(math.pi * 0.99)), id="just not exceeded"),
        pytest.param(RIGHT, 100, {"exceeded": -10}, -10.0, id="exceeded at the cap, though right"),
        pytest.param(WRONG, 0, {"wrong_short": -10, "wrong_long": 0}, -10.0, id="the paper's values"),
        pytest.param(RIGHT, 0, {"correct_short": 0.5, "correct_long": 1.0}, 0.5, id="longer is better, on request"),
        pytest.param("so \\boxed{12}", 0, {"extraction": "boxed"}, 1.0, id="another extraction"),
    ],
)
def test_cosine_by_hand(text, length, options, value):
    reward = rewards.get("cosine", max_tokens=100, **options)
    assert reward(**columns([text], [length])) == [pytest.approx(value)]


KIMI = [
    # (id, [(text, tokens)...], rewards)
    ("shortest and longest right", [(RIGHT, 10), (RIGHT, 20), (RIGHT, 30)], [0.5, 0.0, -0.5]),
    ("a short wrong one is not paid", [(WRONG, 10), (RIGHT, 30)], [0.0, -0.5]),
    ("a long wrong one loses", [(RIGHT, 10), (WRONG, 30)], [0.5, -0.5]),
    ("a wrong one sets the span too", [(WRONG, 10), (RIGHT, 20), (WRONG, 30)], [0.0, 0.0, -0.5]),
    ("all equally long", [(RIGHT, 10), (WRONG, 10)], [0.0, 0.0]),
    ("alone", [(RIGHT, 10)], [0.0]),
    ("empty completions", [("", 0), (RIGHT, 4)], [0.0, -0.5]),
]


@pytest.mark.parametrize(("rows", "values"), [case[1:] for case in KIMI], ids=[case[0] for case in KIMI])
def test_kimi_by_hand(rows, values):
    texts, lengths = zip(*rows, strict=True)
    assert rewards.get("kimi-length")(**columns(list(texts), lengths)) == values


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param({"prompts": ["p", "q", "p", "q"]}, id="by prompt"),
        pytest.param({"prompts": ["same"] * 4, "prompt_id": ["p", "q", "p", "q"]}, id="by prompt_id"),
        pytest.param({"prompts": [[{"role": "user", "content": text}] for text in "pqpq"]}, id="by conversation"),
    ],
)
def test_kimi_compares_siblings_only(groups):
    batch = columns([RIGHT] * 4, [10, 100, 20, 200], **groups)
    assert rewards.get("kimi-length")(**batch) == [0.5, 0.5, -0.5, -0.5]


@pytest.mark.parametrize(("name", "options"), [("cosine", {"max_tokens": 9}), ("kimi-length", {})])
def test_an_unusable_gold_is_none(name, options):
    assert rewards.get(name, **options)(**columns([RIGHT, WRONG], [1, 2], gold="")) == [None, None]


ALL = [("soft-overlong", {"max_tokens": 9, "cache_tokens": 3}), ("cosine", {"max_tokens": 9}), ("kimi-length", {})]


@pytest.mark.parametrize(("name", "options"), ALL)
def test_token_counts_are_needed_and_characters_do_not_matter(name, options):
    reward = rewards.get(name, **options)
    batch = columns([RIGHT, RIGHT], [3, 8])
    longer = columns([RIGHT.replace(">a<", ">" + "a" * 500 + "<"), RIGHT], [3, 8])
    assert reward(**batch) == reward(**longer)
    with pytest.raises(ValueError, match=f"reward='{name}': column 'completion_ids' is missing"):
        reward(**{**batch, "completion_ids": None})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param("soft-overlong", {"max_tokens": 10, "cache_tokens": 11}, "cache_tokens=11: need 1 to", id="C > L"),
        pytest.param("soft-overlong", {"max_tokens": 10, "cache_tokens": 0}, "cache_tokens=0: need", id="C = 0"),
        pytest.param("soft-overlong", {"max_tokens": 10.5, "cache_tokens": 1}, "max_tokens=10.5: expected", id="half"),
        pytest.param("soft-overlong", {}, "options .* do not fit: .*max_tokens", id="no caps"),
        pytest.param("cosine", {"max_tokens": 0}, "max_tokens=0: need at least 1", id="no tokens"),
        pytest.param("cosine", {"max_tokens": True}, "max_tokens=True: expected a whole", id="a bool"),
        pytest.param("cosine", {"max_tokens": 9, "wrong_long": "no"}, "wrong_long='no': expected a num", id="a word"),
        pytest.param("cosine", {"max_tokens": 9, "exceeded": math.nan}, "exceeded=nan: expected a", id="not a number"),
        pytest.param("cosine", {"max_tokens": 9, "extraction": "tag"}, "extraction='tag': unknown", id="extraction"),
        pytest.param("kimi-length", {"extraction": "tag"}, "extraction='tag': unknown", id="extraction of Kimi's"),
    ],
)
def test_options_are_checked_at_once(name, options, message):
    with pytest.raises(ValueError, match=message):
        rewards.get(name, **options)


@given(st.integers(0, 300), st.integers(0, 300), st.booleans())
def test_longer_is_never_better_for_right_and_never_worse_for_wrong_answers(one, other, correct):
    cosine = rewards.get("cosine", max_tokens=100)
    shorter, longer = sorted((one, other))
    assert (cosine.of(shorter, correct) >= cosine.of(longer, correct)) == (correct or min(one, 100) == min(other, 100))
    overlong = rewards.get("soft-overlong", max_tokens=100, cache_tokens=30)
    assert -1 <= overlong.of(longer) <= overlong.of(shorter) <= 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), min_size=1, max_size=8))
def test_kimi_agrees_with_the_formula_and_pays_no_wrong_answer(rows):
    lengths = [length for _, length in rows]
    values = rewards.get("kimi-length")(**columns([RIGHT if right else WRONG for right, _ in rows], lengths))
    low, high = min(lengths), max(lengths)
    for (right, length), value in zip(rows, values, strict=True):
        share = 0.5 - (length - low) / (high - low) if high > low else 0.0
        assert value == (share if right else min(0, share))


@settings(deadline=None)  # the first example imports TRL
@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(1, 30), st.data())
def test_trl_pays_the_same(lengths, hard, data):
    theirs = pytest.importorskip("trl.rewards")
    soft = data.draw(st.integers(1, hard))
    ids = [[1] * length for length in lengths]
    mine = rewards.get("soft-overlong", max_tokens=hard, cache_tokens=soft)(["x"] * len(ids), completion_ids=ids)
    assert mine == pytest.approx(theirs.get_soft_overlong_punishment(hard, soft)(completion_ids=ids))
