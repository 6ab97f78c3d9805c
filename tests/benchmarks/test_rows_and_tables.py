"""Rows from turns, their tables, and the fit of growth."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.paired import Stopped, fitted_exponent, giga, keeping, row, significant
from benchmarks.tables import markdown_table, text_table


def test_a_row_holds_medians_and_the_median_of_neighbouring_ratios() -> None:
    # A load doubles both sides in the second turn: the ratio does not see it.
    made = row("speed", [1.0, 2.0, 1.0], [4.0, 8.0, 4.0], "s", "here", note="why")
    assert made == {
        "name": "speed", "ours": 1.0, "peer": 4.0, "ratio": 0.25, "unit": "s", "machine": "here", "note": "why",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "peer", "expected"),
    [
        pytest.param([2.0, None], [1.0, 9.0], (2.0, 5.0, 2.0), id="a turn without a figure is left out of the ratio"),
        pytest.param([1.0], [0.0], (1.0, 0.0, None), id="nothing to divide by"),
        pytest.param([1.0], [None], (1.0, None, None), id="no peer"),
        pytest.param([None], [None], (None, None, None), id="nothing"),
        pytest.param([1.23456], [2.0], (1.235, 2.0, 0.6173), id="four digits"),
    ],
)
def test_missing_figures(ours: list, peer: list, expected: tuple) -> None:
    made = row("x", ours, peer, "s", "here")
    assert (made["ours"], made["peer"], made["ratio"]) == expected
    assert "note" not in made


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7, -0.5])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    sizes = [4, 8, 16, 32, 64]
    assert fitted_exponent(sizes, [3.0 * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_the_exponent_is_the_least_squares_one() -> None:
    chance = random.Random(0)
    sizes = [4, 8, 16, 32]
    costs = [size * chance.uniform(0.7, 1.4) for size in sizes]

    def squares(p: float) -> float:
        logs = [math.log(cost) - p * math.log(size) for size, cost in zip(sizes, costs, strict=True)]
        mean = sum(logs) / len(logs)
        return sum((x - mean) ** 2 for x in logs)

    best = fitted_exponent(sizes, costs)
    assert all(squares(best) <= squares(best + step) for step in (-0.01, 0.01))


@pytest.mark.parametrize(
    ("sizes", "costs"),
    [
        pytest.param([4], [1.0], id="one size"),
        pytest.param([4, 4], [1.0, 2.0], id="the same size twice"),
        pytest.param([4, 8], [1.0, 0.0], id="a cost of zero"),
        pytest.param([4, 8], [1.0], id="a cost is missing"),
    ],
)
def test_no_exponent(sizes: list, costs: list) -> None:
    with pytest.raises(ValueError, match="need two or more"):
        fitted_exponent(sizes, costs)


def test_small_numbers() -> None:
    assert giga(2.5e9) == 2.5
    assert giga(None) is None
    assert significant(123.456, 2) == 120.0


def test_ctrl_c_takes_the_rows_along() -> None:
    rows = [row("a", [1.0], [1.0], "s", "here")]
    with pytest.raises(Stopped) as stopped, keeping(rows):
        raise KeyboardInterrupt
    assert stopped.value.rows == rows
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_the_text_table_lines_up() -> None:
    rows = [
        row("a long name", [12345.0], [0.5], "tokens/s", "2 cores", note="of what"),
        row("b", [None], [None], "s", "2 cores"),
        {"name": "a row of another part", "ours": 1.0, "peer": None, "ratio": None, "unit": "GB", "machine": "x"},
    ]
    lines = text_table(rows).splitlines()
    assert lines[0] == "2 cores; medians of interleaved repeats"
    assert lines[2].split() == ["a", "long", "name", "12,340", "0.5", "24690.00x", "tokens/s"]
    assert lines[3].split() == ["b", "-", "-", "-", "s"]
    assert len({line.rindex(unit) for line, unit in zip(lines[2:5], ("tokens/s", "s", "GB"), strict=True)}) == 1
    assert lines[5] == "a long name: of what"
    assert text_table([]) == "nothing was measured\n" + "  ours  peer  ratio  unit\n"


def test_the_markdown_table_leaves_out_what_names_share() -> None:
    rows = [
        row("step, tiny: speed", [2.0], [1.0], "steps/min", "here", note="a|b"),
        row("step, tiny: time", [1.0], [2.0], "s", "here"),
    ]
    assert markdown_table(rows).splitlines() == [
        "| | ours | peer | ratio | unit |",
        "|---|--:|--:|--:|---|",
        "| speed | 2 | 1 | 2.00x | steps/min |",
        "| time | 1 | 2 | 0.50x | s |",
        "",
        r"- speed: a\|b",
    ]
    mixed = markdown_table([rows[0], row("other: time", [1.0], [2.0], "s", "here")])
    assert "| step, tiny: speed |" in mixed
    assert "| other: time |" in mixed
    assert markdown_table([]) == ""
