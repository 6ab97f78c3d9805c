"""Rows as a table: for a terminal, and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paired import Row

_HEAD = ("", "ours", "peer", "ratio", "unit")


def text_table(rows: Sequence[Row]) -> str:
    """Columns of name, ours, peer, ratio, unit, under the machine's line; notes below."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            text.ljust(width) if i in (0, 4) else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    notes = [f"{row['name']}: {row['note']}" for row in rows if row.get("note")]
    head = f"{rows[0]['machine']}; medians of interleaved repeats" if rows else "nothing was measured"
    return "\n".join([head, *lines, *notes]) + "\n"


def markdown_table(rows: Sequence[Row]) -> str:
    """The same as a Markdown table, the part of the names that all share left out; notes below as a list."""
    if not rows:
        return ""
    prefixes = {row["name"].partition(": ")[0] for row in rows if ": " in row["name"]}
    shared = f"{prefixes.pop()}: " if len(prefixes) == 1 and all(": " in row["name"] for row in rows) else ""
    lines = ["| | ours | peer | ratio | unit |", "|---|--:|--:|--:|---|"]
    lines += [
        f"| {' | '.join((_escaped(name.removeprefix(shared)), *rest))} |"
        for name, *rest in (_cells(row) for row in rows)
    ]
    notes = [
        f"- {_escaped(row['name'].removeprefix(shared))}: {_escaped(row['note'])}" for row in rows if row.get("note")
    ]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
    return row["name"], _number(row["ours"]), _number(row["peer"]), ratio, row["unit"]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
