"""A small multiple of log-log curves as SVG, which GitHub shows beside the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 34, 40
_MOST_TICKS = 6
_COLOURS = ("#1f6feb", "#9a6700", "#8250df")


def panels(charts: Sequence[tuple[str, str, str, Mapping[str, Points]]], *, columns: int = 2) -> str:
    """An SVG document.

    Args:
        charts: (title, name of x, name of y, curves by name); every coordinate above zero.

    Raises:
        ValueError: no charts, or a coordinate that has no logarithm.
    """
    for title, *_, curves in charts:
        if any(min(point) <= 0 for points in curves.values() for point in points):
            raise ValueError(f"chart {title!r}: logarithmic axes need coordinates above zero")
    if not charts:
        raise ValueError("charts=[]: nothing to draw")
    rows = -(-len(charts) // columns)
    width, height = columns * _WIDTH, rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, chart in enumerate(charts):
        x, y = number % columns * _WIDTH, number // columns * _HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(*chart)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, x_name: str, y_name: str, curves: Mapping[str, Points]) -> str:
    every = [point for points in curves.values() for point in points]
    x_at = _scale([x for x, _ in every], _LEFT, _WIDTH - _RIGHT)
    y_at = _scale([y for _, y in every], _HEIGHT - _BOTTOM, _TOP)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#57606a"/>',
        f'<text x="{right}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>',
        f'<text x="4" y="{_TOP - 4}">{escape(y_name)}</text>',
    ]
    for x in sorted({x for x, _ in every}):
        parts.append(f'<text x="{x_at(x):.1f}" y="{bottom + 15}" text-anchor="middle">{x:g}</text>')
    for y in _ticks([y for _, y in every]):
        parts.append(f'<path d="M{_LEFT} {y_at(y):.1f}H{right}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y_at(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for (name, points), colour in zip(curves.items(), _COLOURS, strict=False):
        places = [(x_at(x), y_at(y)) for x, y in sorted(points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        at = _TOP + 14 * (1 + list(curves).index(name))
        parts.append(f'<text x="{_LEFT + 8}" y="{at}" fill="{colour}">{escape(name)}</text>')
    return "".join(parts)


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = math.log(min(values)), math.log(max(values))
    span = high - low or 1.0
    return lambda value: start + (end - start) * (0.05 + 0.9 * (math.log(value) - low) / span)


def _ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten, and their 2 and 5 folds, within the values; some of them where they are many."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) <= _MOST_TICKS else inside[:: -(-len(inside) // _MOST_TICKS)]
