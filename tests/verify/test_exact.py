"""The exact verifier: what counts as the same string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify.exact import MAX_CHARS, normalise, verify
from r1rl.verify.verdict import MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        pytest.param("Paris", "Paris", id="equal"),
        pytest.param("PARIS", "paris", id="case"),
        pytest.param("Strasse", "Stra\u00dfe", id="case folding of sharp s"),
        pytest.param("  New \n\t York ", "New York", id="white space"),
        pytest.param("New\u00a0York", "New York", id="no-break space"),
        pytest.param("\uff30aris", "Paris", id="full-width letter"),
        pytest.param("e\u0301t\u00e9", "\u00e9te\u0301", id="combining accents"),
        pytest.param("o\ufb03ce", "office", id="ligature"),
        pytest.param("x\u00b2", "x2", id="superscript: documented, formulas belong to math"),
    ],
)
def test_the_same_string(answer, gold):
    verdict = verify(answer, gold, {})
    assert (verdict.status, verdict.reason) == ("correct", "")


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        pytest.param("Rome", "wrong", "text is not 'paris'", id="another"),
        pytest.param("Paris.", "wrong", "text is not 'paris'", id="punctuation counts"),
        pytest.param("Paris or Rome", "wrong", "text is not 'paris'", id="hedged"),
        pytest.param("Par is", "wrong", "text is not 'paris'", id="a blank inside"),
        pytest.param("Paris\u200b", "wrong", "text is not 'paris'", id="zero width space is no white space"),
        pytest.param("P\u0430ris", "wrong", "text is not 'paris'", id="a Cyrillic letter"),
        pytest.param("", "unparseable", "empty", id="empty"),
        pytest.param(" \n", "unparseable", "empty", id="blank"),
        pytest.param(None, "unparseable", "no answer", id="none"),
        pytest.param("a" * 10_001, "unparseable", "too long: 10001 characters, at most 10000", id="too long"),
    ],
)
def test_another_string_says_why(answer, status, reason):
    verdict = verify(answer, "Paris", {})
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    "gold", ["", " ", None, 12, "a" * (MAX_CHARS + 1)], ids=["empty", "blank", "none", "int", "long"]
)
def test_unusable_gold(gold):
    assert verify("Paris", gold, {}).status == "bad_gold"


@given(st.text(max_size=50))
def test_normalising_twice_changes_nothing_and_every_text_is_itself(text):
    assert normalise(normalise(text)) == normalise(text)
    verdict = verify(text, text, {})
    assert verdict.status == ("correct" if normalise(text) else "bad_gold")
    assert len(verdict.value or "") <= MAX_TEXT_CHARS
    assert (verdict.value or "").isascii()
