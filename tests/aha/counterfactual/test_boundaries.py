"""Where a rollout is cut: beside markers, and away from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.aha.counterfactual.boundaries import cuts

TINY = (
    "<think> 1 + 2 = 3 , 3 + 3 = 6 no , wait , 1 + 3 = 4 , 4 + 2 = 6 no , try again : 2 + 3 = 5 yes </think> <answer>"
)
PROSE = "<think>The sum is 9. But wait, I should check. 4 + 5 is 9, so it holds.\n\nYes.</think> <answer>9</answer>"


def shown(text: str, prefill: str = "") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The last word before each cut, and the stretch behind it."""
    return tuple(  # type: ignore[return-value]
        [(text[: cut.before].split(" ")[-1], text[cut.at : cut.end]) for cut in part] for part in cuts(text, prefill)
    )


def test_cuts_of_the_tiny_model() -> None:
    at_markers, plain = shown(TINY)
    assert at_markers == [
        ("no", "wait , 1 + 3 = 4 , 4 + 2 = 6 no"),
        ("no", "try again : 2 + 3 = 5 yes"),
    ]
    # Not behind "wait ," and "try again :", which are inside the reflection; the reasoning's end is one.
    assert plain == [("3", "3 + 3 = 6 no"), ("4", "4 + 2 = 6 no"), ("yes", "")]


def test_a_sentence_keeps_its_full_stop_and_the_clause_of_the_marker_is_whole() -> None:
    at_markers, plain = shown(PROSE)
    assert at_markers[0] == ("9.", "But wait, I should check. 4 + 5 is 9, so it holds.\n\nYes.")
    assert ("9", "so it holds.\n\nYes.") in plain
    assert plain[-1] == ("holds.\n\nYes.", "")


@pytest.mark.parametrize(
    ("text", "prefill", "expected"),
    [
        pytest.param("", "", 0, id="nothing"),
        pytest.param("no marker here, at all", "", 0, id="no marker"),
        pytest.param("<think> a </think> wait, this is the answer", "", 0, id="outside the reasoning"),
        pytest.param(
            "wait, that is wrong, so 1 + 1 = 2", "<think>", 1, id="at the very start, thinking opened by the prompt"
        ),
        pytest.param("x" * 200 + " I made a mistake here", "", 1, id="far from any boundary"),
    ],
)
def test_markers_that_are_cut_at(text: str, prefill: str, expected: int) -> None:
    assert len(cuts(text, prefill)[0]) == expected


def test_an_open_reasoning_has_no_end_to_cut_at() -> None:
    assert all(cut.at < cut.end for cut in cuts("<think> 1 + 1 = 2 , 2 + 2 = 4")[1])


def test_unknown_lexicon() -> None:
    with pytest.raises(ValueError, match="lexicon='mine'"):
        cuts("wait", lexicon="mine")


@given(st.lists(st.sampled_from(["wait", ",", ".", "\n", " ", "a", "<think>", "</think>", "<answer>", "try again"])))
def test_any_text_is_cut_inside_its_reasoning(words: list[str]) -> None:
    text = " ".join(words)
    at_markers, plain = cuts(text)
    for cut in [*at_markers, *plain]:
        assert 0 <= cut.before <= cut.at <= len(text)
        assert cut.before <= cut.end <= len(text)
        assert text[cut.before : cut.at].strip(" ,;:\n") == ""
    assert not {cut.at for cut in at_markers} & {cut.at for cut in plain if cut.at < cut.end}
    assert at_markers == sorted(at_markers, key=lambda cut: cut.at)
