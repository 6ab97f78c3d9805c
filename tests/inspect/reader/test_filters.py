"""A selection is its URL's query, and says what it does not understand."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.inspect.reader.filters import FLAGS, MARKERS, MOVES, SORTS, VERDICTS, Filters

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_RANGE = st.sampled_from(["", "20", "0..10", "..5", "3..", "10-40"])


@given(
    st.builds(
        Filters, run=_TEXT, kind=st.sampled_from(["", "train", "eval"]), sampling=st.sampled_from(["", "greedy"]),
        step=_RANGE, reward=st.sampled_from(["", "-0.5..1", "1.1"]), tokens=_RANGE, prompt=_TEXT, text=_TEXT,
        regex=_TEXT,
        verdict=st.lists(st.sampled_from(VERDICTS), unique=True).map(tuple),
        move=st.lists(st.sampled_from(MOVES), unique=True).map(tuple),
        marker=st.lists(st.sampled_from(MARKERS), unique=True).map(tuple),
        flag=st.lists(st.sampled_from(FLAGS), unique=True).map(tuple),
        sort=st.sampled_from(tuple(SORTS)), page=st.integers(1, 999),
    )
)  # fmt: skip
def test_a_selection_is_read_back_from_its_query(filters: Filters) -> None:
    assert Filters.read(parse_qsl(filters.query(), keep_blank_values=True)) == filters


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        pytest.param([("kind", "evl")], "kind='evl': need one of train, eval", id="a kind there is not"),
        pytest.param([("verdict", "right")], "need one of correct", id="a verdict there is not"),
        pytest.param([("move", "x" * 300)], "need one of wrong_right", id="a long value is not repeated"),
        pytest.param([("step", "a..b")], "step='a..b': need a number, or a range", id="no range"),
        pytest.param([("tokens", "nan")], "tokens='nan': need a number", id="not a number"),
        pytest.param([("reward", "1..inf")], "need a number", id="infinite"),
        pytest.param([("page", "0")], "pages count from 1", id="page zero"),
        pytest.param([("page", "two")], "page='two': need a number", id="a page in words"),
        pytest.param([("sort", "reward; DROP TABLE x")], "need one of newest", id="an order of SQL"),
        pytest.param([("text", "x" * 501)], "at most 500 are looked for", id="a long text"),
    ],
)
def test_what_is_not_understood_is_said(pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as raised:
        Filters.read(pairs)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300


def test_names_that_are_no_filter_are_left_to_others() -> None:
    assert Filters.read([("at", "x:eval-0-0:1"), ("shade", "1"), ("step", "")]) == Filters()


def test_a_query_holds_what_is_asked_for_alone() -> None:
    assert Filters().query() == ""
    assert Filters(step="20", move=("wrong_right",), page=2).query() == "step=20&move=wrong_right&page=2"
    assert Filters(step="20").query(step="", kind="eval") == "kind=eval"
