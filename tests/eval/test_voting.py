"""Which answers vote together: the verifier's word, not the spelling."""

from __future__ import annotations

import json

import pytest

from r1rl.eval import voting
from r1rl.eval.estimates import Votes
from r1rl.eval.voting import Answered


def wrong(*texts: str | None) -> list[Answered]:
    return [Answered(text, right=False) for text in texts]


@pytest.mark.parametrize(
    ("verifier", "answers", "gold", "meta", "votes"),
    [
        pytest.param("math", wrong("0.5", "\\frac{1}{2}", "1/2", "2"), "7", {}, Votes(0, (3, 1), 0), id="spellings"),
        pytest.param(
            "math", [*wrong("3", "3.0"), Answered("7", right=True), Answered("7.0", right=True)], "7", {},
            Votes(2, (2,), 0), id="right ones are one group",
        ),
        pytest.param("math", wrong("3", None, "3 ", None), "7", {}, Votes(0, (2,), 2), id="no answer is no vote"),
        pytest.param("math", wrong("a banana", "a  banana", "?"), "7", {}, Votes(0, (2, 1), 0), id="nonsense by text"),
        pytest.param(
            "countdown", wrong("3 + 5 + 7", "7 + 5 + 3", "3 * 5 + 7 - 0", "x"), "1", {"numbers": [3, 5, 7]},
            Votes(0, (2, 1, 1), 0), id="expressions by value",
        ),
        pytest.param(
            "exact", wrong("Paris", "paris ", "Rome"), "Bern", {}, Votes(0, (2, 1), 0), id="exact folds case",
        ),
        pytest.param(
            "roles", wrong("Zoey is a knave. Leo is a knave", "Leo is a knave, Zoey is a knave"),
            "Zoey is a knave. Leo is a knight", {}, Votes(0, (2,), 0), id="roles in any order",
        ),
        pytest.param("math", [], "7", {}, Votes(0, (), 0), id="no samples"),
    ],
)  # fmt: skip
def test_groups(verifier: str, answers: list[Answered], gold: str, meta: dict, votes: Votes) -> None:
    (found,) = voting.group(verifier, [(answers, gold, json.dumps(meta))])
    assert (found.right, tuple(sorted(found.wrong, reverse=True)), found.none) == (votes.right, votes.wrong, votes.none)


def test_questions_do_not_mix() -> None:
    found = voting.group("math", [(wrong("1", "1.0"), "7", "{}"), (wrong("1"), "7", "{}"), ([], "7", "{}")])
    assert [votes.wrong for votes in found] == [(2,), (1,), ()]


def test_the_prefill_belongs_to_the_answer() -> None:
    row = {"prefill": "<think></think><answer>", "completion": " 4 </answer>"}
    assert voting.answer_of(row, "answer-tag") == "4"
