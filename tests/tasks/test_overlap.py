"""Questions in other words of the same spelling are found, the same story with other numbers is kept."""

from __future__ import annotations

import random
import re

import pytest

from r1rl.tasks import Row, overlap
from r1rl.tasks.overlap import Index, duplicates, words


def row(question: str, number: int = 0) -> Row:
    return Row(f"q{number}", question, "1", {})


QUESTION = "Ann has 12 marbles and gives 5 of them to her brother Tom. How many marbles does Ann have left?"


def story(seed: int) -> str:
    """An invented word problem of some length, another one for each seed."""
    draw = random.Random(seed)
    name, thing, place = (
        draw.choice(words)
        for words in (
            ("Ann", "Bo", "Cem", "Dora", "Eve", "Finn", "Gus", "Hana"),
            ("apples", "stamps", "bricks", "shells", "coins", "cards"),
            ("market", "harbour", "library", "garden", "station"),
        )
    )
    a, b, c = (draw.randint(10, 99) for _ in range(3))
    return (
        f"{name} takes {a} {thing} to the {place} number {seed} and finds {b} more on the way back. On the next day "
        f"{name} shares them out among {c} friends, $\\frac{{{a}}}{{{b}}}$ of a box each. How many {thing} are left?"
    )


def respelt(text: str) -> str:
    return text.replace("\\frac", "\\dfrac").replace("$\\dfrac", "\\(\\left.\\dfrac").replace("$ of", "\\right. \\) of")


WAYS = {
    "the same text": lambda text: text,
    "white space and case": lambda text: "  ".join(text.upper().split(" ")).replace("FRAC", "frac") + "\n",
    "LaTeX": respelt,
    "inside a longer text": lambda text: f"Solve this problem. {text} Give the answer as a whole number.",
    "a fraction in a line": lambda text: re.sub(r"\$\\frac\{(\d+)\}\{(\d+)\}\$", r"\1/\2", text),
}


@pytest.mark.parametrize("way", WAYS)
def test_planted_overlaps_are_found(way: str) -> None:
    index = Index([row(story(seed), seed) for seed in range(10)])
    for seed in range(10):
        found = index.find(row(WAYS[way](story(seed))))
        assert found is not None, WAYS[way](story(seed))
        assert found.other.prompt_id == f"q{seed}"


def changed(text: str, which: int) -> str:
    """One number of it made another one."""
    places = list(re.finditer(r"\d+", text))
    place = places[which % len(places)]
    return text[: place.start()] + str(int(place[0]) + 1000) + text[place.end() :]


def test_the_same_stories_with_other_numbers_are_kept() -> None:
    index = Index([row(story(seed), seed) for seed in range(50)])
    for seed in range(50):
        assert index.find(row(changed(story(seed), seed))) is None


@pytest.mark.parametrize(
    ("text", "other"),
    [
        pytest.param("$\\dfrac{3}{4}$", "\\(\\frac{3}{4}\\)", id="dfrac and brackets"),
        pytest.param("\\frac34", "3/4", id="fraction without braces"),
        pytest.param("2 \\cdot 5", "2 × 5", id="times"),
        pytest.param("a\\le b", "$a ≤ b$", id="at most"),
        pytest.param("1,200 miles", "1200 miles", id="thousands"),
        pytest.param("1{,}200 miles", "1200 miles", id="thousands in LaTeX"),
        pytest.param("\\text{Ann}  has\n5", "ann HAS 5", id="text, case and space"),
        pytest.param("$5$ dollars", "5 dollars", id="dollar signs of formulas"),
        pytest.param("90^\\circ", "90°", id="degrees"),
    ],
)
def test_spellings(text: str, other: str) -> None:
    strip = lambda tokens: [token for token in tokens if token != "^"]  # noqa: E731
    assert strip(words(text)) == strip(words(other))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        pytest.param("x + 5", "x - 5", id="another sign"),
        pytest.param("x^2", "x^3", id="another power"),
        pytest.param("0.5", "5", id="another decimal"),
        pytest.param("f(x) > 3", "f(x) < 3", id="another relation"),
    ],
)
def test_meanings_stay_apart(text: str, other: str) -> None:
    assert words(text) != words(other)


def test_a_short_question_is_found_whole_alone() -> None:
    index = Index([row("What is 3 + 4?")])
    assert index.find(row("what is  3+4")) is not None
    assert index.find(row("What is 3 + 5?")) is None
    assert index.find(row("")) is None


def test_what_is_told() -> None:
    index = Index([row(QUESTION, 7)])
    whys = [index.find(row(text)).why for text in (QUESTION, QUESTION.upper(), QUESTION + " Think first.")]
    assert whys == [
        "the same text",
        "the same words and numbers, spelt otherwise",
        "holds 100 % of its 8-grams and all of its numbers",
    ]


def test_duplicates_exact_and_near() -> None:
    texts = [story(0), story(1), story(1).lower(), story(0).replace("on the way ", "on her way "), changed(story(0), 0)]
    found = {each.row.prompt_id: each for each in duplicates([row(text, n) for n, text in enumerate(texts)])}
    assert {name: each.other.prompt_id for name, each in found.items()} == {"q2": "q1", "q3": "q0"}
    assert found["q2"].why == "the same words and numbers"
    assert "every number" in found["q3"].why


def test_hostile_text_is_bounded() -> None:
    for text in ("\\frac" * 50_000, "{" * 100_000, "\\text{" * 30_000, "9," * 60_000, "$" * 100_000, "\\left" * 40_000):
        overlap.words(text)
