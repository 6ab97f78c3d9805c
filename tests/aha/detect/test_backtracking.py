"""The solver against plain enumeration, and what counts as a restart, a resumption, a state given up."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from r1rl.aha.detect.backtracking import Backtracking, backtracking, reachable
from tests.aha.detect.tracing import trace


def enumerated(values: list[Fraction], target: int) -> bool:
    if len(values) == 1:
        return values[0] == target
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            if i != j:
                rest = [value for k, value in enumerate(values) if k not in (i, j)]
                made = [left + right, left - right, left * right, *([left / right] if right else [])]
                if any(enumerated([*rest, value], target) for value in made):
                    return True
    return False


def test_the_solver_agrees_with_enumeration() -> None:
    chance = random.Random(1)
    seen = set()
    for _ in range(400):
        values = [chance.randint(-3, 9) for _ in range(chance.choice((1, 2, 3, 3, 4)))]
        target = chance.randint(-2, 30)
        expected = enumerated([Fraction(value) for value in values], target)
        assert reachable(tuple(sorted(values)), target) == expected, (values, target)
        seen.add((len(values), expected))
    assert len(seen) >= 7  # live and dead states of each size


def measured(text: str, numbers: list[int], target: int = 22, *, closed: bool = True) -> Backtracking:
    return backtracking(trace(text, numbers, target), numbers, target, closed=closed)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        pytest.param("3*5=15, 15+7=22", (0, 0, 0), id="straight on"),
        pytest.param("3+5=8, 8+7=15 no. 3*5=15, 15+7=22", (1, 0, 0), id="from the start"),
        pytest.param("3*5=15, 15-7=8 no. 15+7=22", (0, 1, 0), id="from a result"),
        pytest.param("3+5=8, 8+7=15 no. 5+3=8, 7+8=15 no", (1, 0, 1), id="the same again"),
        pytest.param("3*5+7=22. So the answer is 7+5*3", (0, 0, 0), id="a conclusion"),
        pytest.param("3+5=8. 3*5=15, 15+7=22", (1, 0, 0), id="left half way"),
    ],
)
def test_restarts_resumptions_duplicates(text: str, counts: tuple[int, int, int]) -> None:
    found = measured(text, [3, 5, 7])
    assert (found.restarts, found.resumes, found.duplicate_retries) == counts


@pytest.mark.parametrize(
    ("text", "closed", "states"),
    [
        pytest.param("3*5=15. 3+5=8, 8+7=15", True, (0, 1, 1, 1), id="a live one left, a dead one kept"),
        pytest.param("3+5=8. 3*5=15, 15+7=22", True, (1, 1, 0, 1), id="a dead one left, a live one kept"),
        pytest.param("3*5=15", True, (0, 0, 1, 1), id="given up at the end"),
        pytest.param("3*5=15", False, (0, 0, 0, 0), id="cut off: nobody knows"),
        pytest.param("3*5=16. 3+5=8, 8+7=15", True, (0, 1, 0, 0), id="after a slip"),
    ],
)
def test_states_left(text: str, closed: bool, states: tuple[int, int, int, int]) -> None:
    found = measured(text, [3, 5, 7], closed=closed)
    assert (found.dead_left, found.dead_seen, found.live_left, found.live_seen) == states
