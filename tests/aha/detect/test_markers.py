"""Marker lexicons: word-bounded, case-folded, spans into the original text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.aha.detect.markers import LEXICONS, find


def hits(text: str, lexicon: str = "strict") -> list[str]:
    return [marker.text for marker in find(text, lexicon)]


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        pytest.param("Wait, 3 * 5 is 15", ["Wait"], "interrupt", id="sentence start"),
        pytest.param("got 7 no , wait , 9 * 2 = 18", ["wait"], "interrupt", id="tiny base"),
        pytest.param("got 7 no , wait", ["wait"], "interrupt", id="text ends there"),
        pytest.param("But wait! There", ["wait"], "interrupt", id="after but"),
        pytest.param("= 8\nWAIT - no", ["WAIT"], "interrupt", id="line start, capitals"),
        pytest.param("Wait a minute, that", ["Wait a minute"], "interrupt", id="phrase"),
        pytest.param("so 15 wait that is", ["wait"], "interrupt", id="no punctuation"),
        pytest.param("<think>wait, no", ["wait"], "interrupt", id="after a tag"),
        pytest.param("Wait…", ["Wait"], "interrupt", id="ellipsis"),
        pytest.param("Hold on, 3", ["Hold on"], "interrupt", id="hold on"),
        pytest.param("5. Hmm, but 5 + 1. Hmmmm, that seems off. hm", ["Hmm", "Hmmmm", "hm"], "hesitate", id="hmm"),
        pytest.param("Aha! 22", ["Aha"], "aha", id="aha"),
        pytest.param("Let me check: 3", ["Let me check"], "verify", id="let me check"),
        pytest.param("let me just double-check this", ["let me just double-check"], "verify", id="one hit, not two"),
        pytest.param("let’s verify it", ["let’s verify"], "verify", id="curly apostrophe"),
        pytest.param("I should re-examine it", ["I should re-examine"], "verify", id="re-examine"),
        pytest.param("let me\n recheck", ["let me\n recheck"], "verify", id="over a line break"),
        pytest.param("Let me verify this. Let me check", ["Let me verify", "Let me check"], "verify", id="both"),
        pytest.param("Double check the sum", ["Double check"], "verify", id="double check"),
        pytest.param("Check again. Then", ["Check again"], "verify", id="check again"),
        pytest.param("so I try again with 7", ["try again"], "retry", id="try again"),
        pytest.param("Let's try another combination", ["try another combination"], "retry", id="another combination"),
        pytest.param("That's not right.", ["That's not right"], "reject", id="that's not right"),
        pytest.param("3+4=8, that isn't correct", ["that isn't correct"], "reject", id="isn't"),
        pytest.param("No that is wrong", ["that is wrong"], "reject", id="no that is wrong"),
        pytest.param("= 21. This doesn't work", ["This doesn't work"], "reject", id="doesn't work"),
        pytest.param("I made a mistake in", ["I made a mistake"], "error", id="made a mistake"),
        pytest.param("the mistake I made was", ["mistake I made"], "error", id="mistake I made"),
        pytest.param("there is an arithmetic error", ["there is an arithmetic error"], "error", id="error"),
        pytest.param("Hmm, not sure about that", ["Hmm"], "hesitate", id="hmm before a doubt"),
        pytest.param("Let me go through it once more", ["Let me go through it once more"], "verify", id="once more"),
        pytest.param("Let me make sure of it", ["Let me make sure"], "verify", id="make sure"),
        pytest.param("But just to be thorough,", ["just to be thorough"], "verify", id="to be thorough"),
        pytest.param("8. Alternatively, add them", ["Alternatively"], "rethink", id="alternatively"),
        pytest.param("Another way to think about it", ["Another way"], "rethink", id="another way"),
        pytest.param("Is that correct?", ["Is that correct"], "doubt", id="a question to itself"),
        pytest.param("Maybe I misread the task", ["Maybe I misread"], "doubt", id="maybe misread"),
        pytest.param("Is there any chance of 7?", ["Is there any chance"], "doubt", id="any chance"),
    ],
)
def test_strict_hits(text: str, expected: list[str], kind: str) -> None:
    assert hits(text) == expected
    assert {marker.kind for marker in find(text)} == {kind}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("await, awaits and waiting", id="inside a word"),
        pytest.param("You have to wait, then go.", id="wait as a verb"),
        pytest.param("Wait for the bus. Wait until 5.", id="imperative"),
        pytest.param("The wait: 5 minutes", id="wait as a noun"),
        pytest.param("It was 5 wait times and a wait-list", id="compound"),
        pytest.param("We drive, wait, and walk", id="in a list of verbs"),
        pytest.param("<wait> <retry reason='let me check'> </wait>", id="inside tags"),
        pytest.param("Check against the list and check the price", id="check without again"),
        pytest.param("Find the sentence that is wrong", id="relative clause"),
        pytest.param("which of these is not correct?", id="question"),
        pytest.param("A common mistake and a rounding error", id="mistake in a text"),
        pytest.param("however, but", id="connectives are not strict"),
        pytest.param("Let me try (3 * 5) + 7 = 22 yes", id="a plain attempt"),
        pytest.param("Ohm and rhythm, hum", id="letters of hmm"),
        pytest.param("How many? Hmm, let me think. Hmm, 3 times 5", id="hmm before a thought"),
        pytest.param("online or, alternatively, at the door", id="alternatively of a choice"),
        pytest.param("There is another way in. Let me add them", id="another way of a path"),
        pytest.param("", id="empty"),
    ],
)
def test_strict_misses(text: str) -> None:
    assert hits(text) == []


@pytest.mark.parametrize(
    ("lexicon", "text", "expected"),
    [
        pytest.param(
            "r1-nature",
            "Wait: mistake However but RETRY error verify wrong evaluate check",
            ["Wait", "mistake", "However", "but", "RETRY", "error", "verify", "wrong", "evaluate", "check"],
            id="r1-nature, all ten",
        ),
        pytest.param("r1-nature", "await, butter checked errors unwrong reevaluate", [], id="r1-nature, word-bounded"),
        pytest.param("oat", "Re-evaluate, then check again", ["Re-evaluate", "check again"], id="oat"),
        pytest.param("oat", "reevaluation reexamine", ["reevaluation", "reexamine"], id="oat, longer words"),
        pytest.param("oat", "wait, check, however", [], id="oat has no wait"),
        pytest.param("simplerl", "Wait, however try again", ["Wait", "however", "try again"], id="simplerl"),
        pytest.param("simplerl", "await, check", [], id="simplerl, word-bounded"),
        pytest.param("simplerl", "<wait> <retry>", [], id="simplerl, inside tags"),
    ],
)
def test_published_lists(lexicon: str, text: str, expected: list[str]) -> None:
    assert hits(text, lexicon) == expected


@pytest.mark.parametrize(("lexicon", "size"), [("r1-nature", 10), ("oat", 15), ("simplerl", 7)])
def test_published_lists_hit_each_of_their_terms(lexicon: str, size: int) -> None:
    terms = [pattern.kind for pattern in LEXICONS[lexicon].patterns]
    assert len(set(terms)) == size
    for term in terms:
        assert [(m.text, m.kind) for m in find(f"so, {term.upper()}.", lexicon)] == [(term.upper(), term)]


def test_unknown_lexicon_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="lexicon='nature': need one of strict, r1-nature, oat, orz, simplerl"):
        find("wait", "nature")


def test_every_lexicon_is_versioned_and_sourced() -> None:
    for name, lexicon in LEXICONS.items():
        assert lexicon.name == name
        assert lexicon.version >= 1
        assert lexicon.source


PIECES = st.sampled_from(["wait", "Wait,", " ", "İ", "ß", "let me", "check", "that's not", "right", "<", ">", "’"])


@given(st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join), st.sampled_from(sorted(LEXICONS)))
def test_spans_fit_any_text(text: str, lexicon: str) -> None:
    end = 0
    for marker in find(text, lexicon):
        assert end <= marker.start < marker.end
        assert text[marker.start : marker.end] == marker.text
        end = marker.end


@pytest.mark.parametrize("unit", ["wait ", "wait, ", "let me ", "check" + " " * 500, "<a", "h", "i made a ", "İ"])
def test_long_text_is_linear(unit: str) -> None:
    started = time.monotonic()
    find(unit * (300_000 // len(unit)))
    assert time.monotonic() - started < 20  # seconds; a quadratic search takes hours
