"""Rows that say what two sides' turns came to, and tables of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
Figure = tuple[str, str, Callable[[Any], float | None]]
"""A figure of a turn: its name, its unit, and how a turn gives it."""


def row(
    name: str, ours: Sequence[float | None], peer: Sequence[float | None], unit: str, machine: str, *, note: str = ""
) -> Row:
    """One row from the figures of the turns, in order.

    `ratio` is ours / peer, the median of the ratios of turns that were taken one after the other: a load that came
    and went meets both. `spread` holds the least and the greatest of these ratios where there are several. A figure
    that is missing on one side (None) leaves its turn out; where a side has none, it and the ratio are None.
    """
    ratios = [a / b for a, b in zip(ours, peer, strict=False) if a is not None and b]
    made: Row = {"name": name, "ours": _median(ours), "peer": _median(peer), "ratio": _median(ratios)}
    made |= {"unit": unit, "machine": machine}
    if len(ratios) > 1:
        made["spread"] = [significant(min(ratios), 4), significant(max(ratios), 4)]
    return made | ({"note": note} if note else {})


def rows_of(
    figures: Sequence[Figure],
    ours: Sequence[Any],
    peer: Sequence[Any],
    machine: str,
    *,
    name: str,
    note: str = "",
) -> list[Row]:
    """One row a figure, from the turns of both sides.

    Args:
        name: of the rows, with `{}` in the figure's place.
        note: what a reader must know, at the first row.
    """
    found = [
        row(name.format(label), [of(turn) for turn in ours], [of(turn) for turn in peer], unit, machine)
        for label, unit, of in figures
    ]
    if note:
        found[0]["note"] = note
    return found


def significant(value: float, digits: int) -> float:
    """`value` with so many significant digits."""
    return float(f"{value:.{digits}g}")


def giga(value: float | None) -> float | None:
    """In thousands of millions."""
    return None if value is None else value / 1e9


def markdown_table(rows: Sequence[Row]) -> str:
    """A Markdown table, the part of the names that all share left out; notes below as a list."""
    prefixes = {row["name"].partition(": ")[0] for row in rows if ": " in row["name"]}
    shared = f"{prefixes.pop()}: " if len(prefixes) == 1 and all(": " in row["name"] for row in rows) else ""
    lines = ["| | ours | peer | ratio | unit |", "|---|--:|--:|--:|---|"]
    notes = []
    for one in rows:
        name, *rest = _cells(one)
        label = _escaped(name.removeprefix(shared))
        lines.append(f"| {' | '.join((label, *rest))} |")
        notes += [f"- {label}: {_escaped(one['note'])}"] if one.get("note") else []
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
    if spread := row.get("spread"):
        ratio += f" ({spread[0]:.2f}–{spread[1]:.2f})"
    return row["name"], _number(row["ours"]), _number(row["peer"]), ratio, row["unit"]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return significant(statistics.median(known), 4) if known else None
