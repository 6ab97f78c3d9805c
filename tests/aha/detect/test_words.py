"""Many words in one pass: the places that looking for each by itself gives, of any text and in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.aha.detect.words import Words

WORDS = ("so", "sos", "wait", "ait", "the answer", "✓", "😀", " by ")
TEXTS = st.lists(st.sampled_from([*WORDS, "s", "o", " ", "é", "\ud800", "\x00"]) | st.text(max_size=3), max_size=30)


@given(TEXTS.map("".join))
def test_the_places_are_those_of_each_word(text: str) -> None:
    expected = {
        word: [at for at in range(len(text)) if text.startswith(word, at)] for word in WORDS if text.count(word)
    }
    assert Words(*WORDS).places(text) == expected


@pytest.mark.parametrize("unit", ["so", "sos", "wait ", "✓", "x", "\ud800so"])
def test_a_long_text_is_read_in_bounded_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.monotonic()
    assert sum(map(len, Words(*WORDS).places(text).values())) <= 2 * len(text)
    assert time.monotonic() - started < 20  # seconds; a quadratic walk takes hours
