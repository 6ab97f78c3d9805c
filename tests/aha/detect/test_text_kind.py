"""Every kind of text is told by one function, from the verifier, the length and the language."""

from __future__ import annotations

import pytest

from r1rl.aha.detect.annotation import annotate
from r1rl.aha.detect.text_kind import KINDS, LONG, is_long, text_kind

ENGLISH = "So the answer is what we have to find, and it is in the box that I open for you. "
MANY = "".join(f"So the number {i} is what we have to find, and then it is one more. " for i in range(30))
FRENCH = "Donc nous devons trouver le nombre des pommes qui restent dans le panier quand Paul mange trois fruits. " * 4


@pytest.mark.parametrize(
    ("completion", "verifier", "code_only", "kind"),
    [
        pytest.param("(3 + 5) * 2 = 16", "countdown", False, "countdown", id="the task says so"),
        pytest.param(MANY, "countdown", False, "countdown", id="also at length"),
        pytest.param("3 + 5 = 8. So 8.", "math", False, "short maths", id="few words say nothing of a language"),
        pytest.param(MANY, "math", False, "long maths", id="many words"),
        pytest.param(ENGLISH * 40, "math", False, "short maths", id="a loop is not long"),
        pytest.param(MANY, "choice", False, "long multiple choice", id="options"),
        pytest.param("It is B.", "gym", False, "short puzzle", id="a procedural task"),
        pytest.param(MANY, None, False, "long prose", id="nothing judges it"),
        pytest.param("no", "roles", False, "short prose", id="nor any verifier of an answer"),
        pytest.param("def f(): pass", "code", False, "code", id="programs are asked for"),
        pytest.param("def f(): pass", "math", True, "code", id="a program though a number is asked for"),
        pytest.param("因此答案是四十二个鸡蛋", "math", False, "another language", id="another script"),
        pytest.param(FRENCH, "math", False, "another language", id="Latin letters, no English"),
        pytest.param(MANY + "Следовательно", "math", False, "long maths", id="one foreign word"),
        pytest.param("", "math", False, "short maths", id="empty"),
    ],
)
def test_kind(completion: str, verifier: str | None, code_only: bool, kind: str) -> None:
    assert text_kind(completion, [(0, len(completion))], verifier, code_only=code_only) == kind
    assert kind in KINDS


def test_only_the_reasoning_counts() -> None:
    row = {"completion": f"<think> 3 + 5 = 8 </think> {MANY}", "verifier": "math", "gold": "8", "prompt": "How many?"}
    assert annotate(row)["text_kind"] == "short maths"


@pytest.mark.parametrize(("words", "long"), [(LONG - 1, False), (LONG, True)])
def test_the_border(words: int, long: bool) -> None:
    text = " ".join(f"w{i}" for i in range(words))
    assert is_long(text, [(0, len(text))]) == long
