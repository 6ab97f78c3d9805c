"""Transitions between attempts."""

from __future__ import annotations

import pytest

from r1rl.aha.detect.attempts import Attempt
from r1rl.aha.detect.transitions import transitions


def attempt(value: str | None, *, target: str = "22", repeats: bool = False) -> Attempt:
    return Attempt(0, 1, "x", "1 + 1", value, value, True, value == target, repeats)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([attempt("7")], [], id="one"),
        pytest.param([attempt("7"), attempt("22")], ["wrong_right"], id="corrected"),
        pytest.param([attempt("7"), attempt("8"), attempt("8")], ["wrong_different", "wrong_same"], id="wrong"),
        pytest.param([attempt("22"), attempt("22"), attempt("7")], ["right_right", "right_wrong"], id="given up"),
        pytest.param([attempt("7"), attempt("7", repeats=True), attempt("22")], ["wrong_right"], id="repeat left out"),
        pytest.param([attempt("22"), attempt("22", repeats=True)], [], id="conclusion is no transition"),
        pytest.param([attempt(None), attempt("7")], ["wrong_different"], id="division by zero"),
    ],
)
def test_transitions(attempts: list[Attempt], expected: list[str]) -> None:
    assert transitions(attempts) == expected
