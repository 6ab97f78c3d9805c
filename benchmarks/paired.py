"""Two sides that take turns, and the rows that say what came out: name, ours, peer, ratio, unit, machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Row = dict[str, Any]


class Stopped(KeyboardInterrupt):
    """Ctrl-C. `rows` says what had been measured by then."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows


@contextmanager
def keeping(rows: list[Row]) -> Iterator[None]:
    """Let a Ctrl-C take along the rows that are there by then."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(rows) from None


def row(
    name: str,
    ours: Sequence[float | None],
    peer: Sequence[float | None],
    unit: str,
    machine: str,
    *,
    note: str = "",
) -> Row:
    """One row from the figures of the turns, in order.

    `ratio` is ours / peer, the median of the ratios of turns that were taken one after the other: a load that came
    and went meets both. A figure that is missing on one side (None) leaves its turn out; where a side has none, it
    and the ratio are None.
    """
    ratios = [a / b for a, b in zip(ours, peer, strict=False) if a is not None and b]
    made: Row = {
        "name": name,
        "ours": _median(ours),
        "peer": _median(peer),
        "ratio": significant(statistics.median(ratios), 4) if ratios else None,
        "unit": unit,
        "machine": machine,
    }
    return made | ({"note": note} if note else {})


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The p of cost = c * size**p, by least squares over the logarithms.

    Raises:
        ValueError: fewer than two different sizes, or a figure that is not positive.
    """
    if len(set(sizes)) < 2 or len(sizes) != len(costs) or min(*sizes, *costs) <= 0:
        raise ValueError(f"sizes={list(sizes)}, costs={list(costs)}: need two or more different ones, all above zero")
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(x, y).slope


def significant(value: float, digits: int) -> float:
    """`value` with so many significant digits."""
    return float(f"{value:.{digits}g}")


def giga(value: float | None) -> float | None:
    """In thousands of millions."""
    return None if value is None else value / 1e9


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return significant(statistics.median(known), 4) if known else None
