from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.inspect.run_data import Attempt, Marker, load
from r1rl.inspect.samples import before_and_after, choose, choose_randomly, pieces, shown


def attempt(start: int, end: int) -> Attempt:
    return Attempt(start, end, "2", "2", right=False, slip=False, repeat=False, status="complete")


@pytest.mark.parametrize(
    ("position", "name", "count"),
    # The last evaluation of conftest's PATHS: WR R, WR W, WR R, R WWR.
    [(0, "wrong → right", 12), (1, "right first time", 9), (2, "wrong", 3)],
)
def test_kinds_come_with_their_denominators(run_dir: Path, position: int, name: str, count: int) -> None:
    drawn = choose(load(run_dir))[position]
    assert (drawn.name, drawn.count, drawn.total, len(drawn.rollouts)) == (name, count, 24, 1)


def test_chosen_rollouts_are_of_their_kind(run_dir: Path) -> None:
    corrected, first_time, wrong = choose(load(run_dir), per_kind=20)
    assert all("wrong_right" in r.transitions for r in corrected.rollouts)
    assert all(r.correct and r.first_right for r in first_time.rollouts)
    assert not any(r.correct for r in wrong.rollouts)
    assert [len(d.rollouts) for d in (corrected, first_time, wrong)] == [12, 9, 3]


def test_a_draw_is_repeatable_and_depends_on_its_seed(run_dir: Path) -> None:
    data = load(run_dir)
    assert choose_randomly(data, 8, seed=1) == choose_randomly(data, 8, seed=1)
    assert any(choose_randomly(data, 8, seed=s).rollouts != choose_randomly(data, 8).rollouts for s in range(1, 5))
    assert choose_randomly(data, 3).total == 24


def test_a_prompt_before_and_after_was_wrong_and_became_right(run_dir: Path) -> None:
    pair = before_and_after(load(run_dir))
    assert pair is not None
    assert (pair.before.prompt_id, pair.before.row["sample_idx"]) == (
        pair.after.prompt_id,
        pair.after.row["sample_idx"],
    )
    assert (pair.before.correct, pair.after.correct) == (False, True)
    assert (pair.before.step, pair.after.step) == (0, 20)
    # By PATHS: both samples of 1-6-8, the first of the two others that miss; each under three names.
    assert (pair.count, pair.total) == (12, 24)
    assert before_and_after(load(run_dir)) == pair


def test_pieces_mark_the_ends_of_an_attempt_around_a_marker() -> None:
    found = list(pieces("ab wait cd", [attempt(0, 10)], [Marker(3, 7, "interrupt", "idle")], longest=100))
    assert [(p.text, p.opens, p.closes, p.marker is not None) for p in found] == [
        ("ab ", True, False, False),
        ("wait", False, False, True),
        (" cd", False, True, False),
    ]


def test_the_middle_of_a_long_text_is_left_out() -> None:
    found = list(pieces("a" * 50 + "b" * 50, [attempt(40, 60)], [], longest=21))
    assert [(p.text, p.left_out) for p in found] == [("a" * 11, 0), ("", 79), ("b" * 10, 0)]


@given(
    text=st.text(max_size=60),
    spans=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=4),
    longest=st.integers(1, 80),
)
def test_pieces_lose_nothing_but_the_middle(text: str, spans: list[tuple[int, int]], longest: int) -> None:
    attempts = [attempt(min(s), max(s)) for s in spans]
    found = list(pieces(text, attempts, [], longest))
    kept = "".join(p.text for p in found)
    left_out = sum(p.left_out for p in found)
    assert len(kept) + left_out == len(text)
    assert len(kept) == min(len(text), longest)
    if not left_out:
        assert kept == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\x00b", "a\\x00b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("a\u200bb", "a\\u200bb"),
        ("a\rb", "a\\x0db"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("línea\n\tдва 三 ÷ 🙂", "línea\n\tдва 三 ÷ 🙂"),
    ],
    ids=[
        "null",
        "bidi",
        "line separator",
        "escape",
        "zero width",
        "carriage return",
        "tag letter",
        "ordinary text",
    ],
)
def test_invisible_characters_are_shown(text: str, escaped: str) -> None:
    assert "".join(stretch for stretch, _ in shown(text)) == escaped
