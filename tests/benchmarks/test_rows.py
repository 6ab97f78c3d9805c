"""Rows from turns, and their tables."""

from __future__ import annotations

import pytest

from benchmarks.rows import giga, markdown_table, row, rows_of, significant


def test_a_row_holds_medians_and_the_median_of_neighbouring_ratios() -> None:
    # A load doubles both sides in the second turn: the ratio does not see it.
    made = row("speed", [1.0, 2.0, 1.0], [4.0, 8.0, 4.0], "s", "here", note="why")
    assert made == {
        "name": "speed", "ours": 1.0, "peer": 4.0, "ratio": 0.25, "spread": [0.25, 0.25], "unit": "s",
        "machine": "here", "note": "why",
    }  # fmt: skip
    assert row("speed", [1.0, 3.0, 2.0], [1.0, 2.0, 1.0], "s", "here")["spread"] == [1.0, 2.0]


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


def test_small_numbers() -> None:
    assert giga(2.5e9) == 2.5
    assert giga(None) is None
    assert significant(123.456, 2) == 120.0


def test_every_figure_has_a_row_and_the_first_the_note() -> None:
    figures = [("double", "s", lambda turn: 2.0 * turn), ("same", "GB", lambda turn: turn)]
    first, second = rows_of(figures, [1.0], [4.0], "here", name="it: {} at 3", note="why")
    assert (first["name"], first["ours"], first["peer"], first["note"]) == ("it: double at 3", 2.0, 8.0, "why")
    assert (second["name"], second["unit"], "note" in second) == ("it: same at 3", "GB", False)


def test_the_markdown_table_leaves_out_what_names_share() -> None:
    rows = [
        row("step, tiny: speed", [2.0], [1.0], "steps/min", "here", note="a|b"),
        row("step, tiny: time", [1.0, 1.0], [2.0, 4.0], "s", "here"),
    ]
    assert markdown_table(rows).splitlines() == [
        "| | ours | peer | ratio | unit |",
        "|---|--:|--:|--:|---|",
        "| speed | 2 | 1 | 2.00x | steps/min |",
        "| time | 1 | 3 | 0.38x (0.25–0.50) | s |",
        "",
        r"- speed: a\|b",
    ]
    mixed = markdown_table([rows[0], row("other: time", [1.0], [2.0], "s", "here")])
    assert "| step, tiny: speed |" in mixed
    assert "| other: time |" in mixed
