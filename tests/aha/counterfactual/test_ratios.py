"""Ratios of sums over prompts, of one run and of several."""

from __future__ import annotations

import pytest

from r1rl.aha.counterfactual.ratios import Cell, Ratios


def cells(values: list[float], weight: float = 1) -> list[Cell]:
    return [(f"p{i}", value, weight) for i, value in enumerate(values)]


def test_a_ratio_is_one_of_sums_and_not_a_mean_of_ratios() -> None:
    """(1 + 0) / (1 + 3), not (1 + 0) / 2."""
    found = Ratios([{"a": [("p", 1, 1), ("q", 0, 3)]}]).figure("a", "a")
    assert (found.estimate.value, found.of) == (0.25, 2)


def test_differences_are_paired_by_prompt() -> None:
    """Each prompt has a gain of 0.5, whatever else it has: no draw of prompts says anything else."""
    first = [float(i % 2) for i in range(20)]
    found = Ratios([{"a": cells([one + 0.5 for one in first]), "b": cells(first)}])
    gain, alone = found.difference("gain", "a", "b"), found.figure("a", "a")
    assert (gain.estimate.value, gain.estimate.low, gain.estimate.high) == (0.5, 0.5, 0.5)
    assert alone.estimate.low is not None
    assert alone.estimate.low < 1.0
    assert gain.change


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        pytest.param({}, "nothing at all", id="no column"),
        pytest.param({"a": cells([1.0])}, "a alone", id="one of two"),
        pytest.param({"a": cells([1.0]), "b": cells([1.0], weight=0)}, "nothing below", id="a zero sum"),
    ],
)
def test_what_is_not_there_has_no_value(columns: dict[str, list[Cell]], title: str) -> None:
    assert Ratios([columns]).difference(title, "a", "b").estimate.value is None


def test_several_runs() -> None:
    """Means of the runs' ratios, 0.2 and 0.6; the interval is for new seeds, so it is wider than either run's."""
    runs = [{"a": cells([value] * 30)} for value in (0.2, 0.6)]
    found = Ratios(runs).figure("a", "a")
    assert found.estimate.value == pytest.approx(0.4)
    assert found.of == 60
    assert found.estimate.low is not None
    assert found.estimate.low < 0.2
    alone = Ratios(runs[:1]).figure("a", "a").estimate
    assert (alone.low, alone.high) == (0.2, 0.2)


def test_a_run_that_lacks_a_column_leaves_the_others_without_an_interval() -> None:
    found = Ratios([{"a": cells([0.5] * 30)}, {"b": cells([1.0] * 30)}]).figure("a", "a")
    assert (found.estimate.value, found.estimate.low) == (0.5, None)
