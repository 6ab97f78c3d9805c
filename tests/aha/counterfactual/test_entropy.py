"""Entropy where a reflection begins, and words injected where it is high."""

from __future__ import annotations

import math
from typing import Any

import pytest

from r1rl.aha.counterfactual import entropy
from r1rl.aha.counterfactual.settings import Settings
from r1rl.aha.figures import bootstrap
from tests.aha.counterfactual.made_up_writer import MadeUp, row

RETRIED = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
RIGHT, WRONG = " </think> <answer> 1 + 2 + 3 </answer>", " </think> <answer> 1 + 2 - 3 </answer>"
ROWS = [row(f"p{i}", 0, RETRIED) for i in range(12)]


def measured(writer: MadeUp, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Any:
    chosen = Settings(points=99, samples=1, **settings)
    items = entropy.chosen(rows, chosen)
    return entropy.figures(["run"], 0, [[_full(one) for one in entropy.asked(writer, items, rows, chosen)]])


def _full(one: dict[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(entropy.SCHEMA.names), **one}


def value(measured: Any, name: str) -> float | None:
    return measured.figures[name].estimate.value


def test_entropies_are_those_of_the_tokens_around_the_boundary() -> None:
    """The marker's boundary stands behind "no", which comes from behind "= 0"; all else is certain."""

    def unsure(before: str) -> float:
        return 2.0 if before.endswith("= 0") else 0.5 if before.endswith("0 no") else 0.0

    found = measured(MadeUp(unsure=unsure))
    assert value(found, "before_markers") == 2.0
    assert value(found, "at_markers") == 0.5
    assert value(found, "before_plain") == 0.0
    assert value(found, "before_beyond_plain") == 2.0
    assert value(found, "before_effective") == 2.0
    assert found.figures["before_idle"].of == 0
    assert found.figures["before_markers"].of == 12


def test_a_word_that_helps_where_the_model_is_unsure() -> None:
    """Half of the prompts are uncertain throughout; there a word makes the answer right, and elsewhere wrong."""
    rows = [row(f"p{i}", 0, RETRIED, prompt="hard" if i % 6 == 0 else "easy") for i in range(60)]

    def says(before: str) -> str:
        return RIGHT if before.startswith("hard") == before.rstrip().endswith("wait ,") else WRONG

    writer = MadeUp(says=says, unsure=lambda before: float(before.startswith("hard")), words=lambda t: "Wait" not in t)
    found = measured(writer, rows)
    assert found.notes["threshold_nats"] == 0.0
    assert (value(found, "gain_high"), value(found, "gain_low")) == (1.0, -1.0)
    assert value(found, "gain_beyond_low") == 2.0
    assert found.figures["gain_high"].estimate.low == 1.0
    assert found.notes["parsed"] == 1.0


def test_zero_where_nothing_depends_on_anything() -> None:
    """The same distribution at every place, and an answer that no word changes."""
    found = measured(MadeUp(says=lambda before: RIGHT, unsure=lambda before: math.log(7)))
    assert value(found, "before_beyond_plain") == 0.0
    assert value(found, "at_beyond_plain") == 0.0
    assert value(found, "gain_low") == 0.0
    assert value(found, "gain_high") is None, "no place is less sure than the others"
    assert "gain_beyond_low" not in found.figures


def test_few_prompts_have_no_interval() -> None:
    found = measured(MadeUp(unsure=lambda before: 1.0), ROWS[: bootstrap.LEAST_PROMPTS - 1])
    assert found.figures["before_markers"].estimate.low is None


@pytest.mark.parametrize("points", [1, 3, 12])
def test_the_number_of_questions_is_bounded(points: int) -> None:
    items = entropy.chosen(ROWS, Settings(points=points))
    assert sum(spot.label is not None for spot in items) == points
    assert sum(spot.label is None for spot in items) == points
    writer = MadeUp()
    entropy.asked(writer, items, ROWS, Settings(points=points, samples=2))
    assert len(writer.written) == points * 2 * 2
