"""Who is a knight and who a knave: everybody once, and nothing more said."""

from __future__ import annotations

import pytest

from r1rl.verify.roles import MAX_CHARS, verify

GOLD = "(1) Zoey is a knave\n(2) Leo is a knight"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(GOLD, "correct", id="as the gold"),
        pytest.param("Leo is a knight, and Zoey is a knave.", "correct", id="other order, in a sentence"),
        pytest.param("- **zoey** is a *Knave*\n- **Leo** is a *Knight*", "correct", id="bold type, in a list"),
        pytest.param("ZOEY is a KNAVE; leo is a knight", "correct", id="case does not count"),
        pytest.param("(1) Zoey is a knight (2) Leo is a knight", "wrong", id="one role is wrong"),
        pytest.param("Zoey is a knave", "wrong", id="one is left out"),
        pytest.param(GOLD + "\n(3) Ann is a knight", "wrong", id="one too many"),
        pytest.param("Zoey is a knave. Zoey is a knight. Leo is a knight.", "unparseable", id="both roles"),
        pytest.param("Zoey is a knave or Leo is a knight", "unparseable", id="or hedges"),
        pytest.param("It is false that Zoey is a knave. Leo is a knight", "unparseable", id="says more"),
        pytest.param("Zoey is not a knave, Leo is a knight", "unparseable", id="a negation is no claim"),
        pytest.param("If Zoey is a knave, Leo is a knight", "unparseable", id="a condition is no claim"),
        pytest.param("", "unparseable", id="nothing"),
        pytest.param("Zoey is a knave " * 1000, "unparseable", id="too long"),
        pytest.param("Zoey is a knave?? Leo is a knight", "unparseable", id="a question is no claim"),
    ],
)
def test_answers(answer: str, status: str) -> None:
    assert verify(answer, GOLD, {}).status == status


@pytest.mark.parametrize("gold", ["", "Zoey", "x" * (MAX_CHARS + 1), "Zoey is a knave. Zoey is a knight."])
def test_a_gold_that_says_nothing_is_bad(gold: str) -> None:
    assert verify(GOLD, gold, {}).status == "bad_gold"
