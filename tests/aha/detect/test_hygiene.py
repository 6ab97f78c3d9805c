"""Hygiene flags by example, and their edges."""

from __future__ import annotations

import pytest

from r1rl.aha.detect.hygiene import code_only, continues_after_answer, hygiene, loops, mixed_language

CODE = "import math\nfor a in numbers:\n    print(a)\n    total = a + 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("I will think. " * 12, True, id="a sentence"),
        pytest.param("36" + "0" * 120, True, id="a digit"),
        pytest.param("so " * 20, False, id="short"),
        pytest.param("." * 200, False, id="no letters"),
        pytest.param("".join(f"{i} + {i} = {2 * i}, " for i in range(40)), False, id="much alike"),
        pytest.param("x " + "again and again " * 3 + "y" * 3, False, id="three times"),
        pytest.param("", False, id="empty"),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    assert loops(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("<answer> 5 </answer>", False, id="ends there"),
        pytest.param("<answer> 5 </answer><|im_end|>", False, id="special token"),
        pytest.param("<answer> 5 </answer> and", True, id="more text"),
        pytest.param("The total is 5.\nUser: next", True, id="a made-up turn"),
        pytest.param("The user: a person", False, id="a word with a colon"),
        pytest.param("Question: 5?", False, id="at the very start"),
    ],
)
def test_continues_after_answer(text: str, expected: bool) -> None:
    assert continues_after_answer(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(CODE, True, id="plain"),
        pytest.param(f"```python\n{CODE}```", True, id="fenced"),
        pytest.param("for 5 eggs we return the box\n" * 4, False, id="prose with its words"),
        pytest.param(CODE + "Now I think about it.\n" * 4, False, id="half prose"),
    ],
)
def test_code_only(text: str, expected: bool) -> None:
    assert code_only(text, [(0, len(text))]) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("so we get 我们先来看一下这些数字", True, id="Chinese"),
        pytest.param("so we get Сначала посмотрим", True, id="Russian"),
        pytest.param("我们先来看一下这些数字", False, id="one language"),
        pytest.param("the angle α is 3 × 5 ≠ 22 – naïve", False, id="signs and accents"),
        pytest.param("plain", False, id="ASCII"),
    ],
)
def test_mixed_language(text: str, expected: bool) -> None:
    assert mixed_language(text) is expected


def test_clean_is_none_of_them() -> None:
    assert hygiene("3 + 5 = 8", "stop", [(0, 9)]).clean
    cut = hygiene("3 + 5 = 8", "length", [(0, 9)])
    assert cut.truncated
    assert not cut.clean
