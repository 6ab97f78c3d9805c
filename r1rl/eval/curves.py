"""pass@k and maj@k against k, with bands, as one SVG: no script, no font, no address outside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.judge.labels import visible
from r1rl.eval.measuring import Score

COLOURS: Final = ("#1f6fb2", "#d1701b", "#2f8f6b", "#9a4f96", "#8a6d3b", "#4f8fa8")
_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 18, 46
_LINE = 18  # of the legend


def svg(scores: Sequence[Score], title: str) -> str:
    """The picture; solid lines are pass@k with 95 % bands, dashed ones maj@k."""
    height = _HEIGHT + _LINE * (len(scores) + 1)
    most = max((score.samples for score in scores), default=1)
    ends = [e.high if e.high is not None else e.value for score in scores for e in score.pass_at]
    top = _step_above(max((end for end in ends if end is not None), default=1.0))

    def x(k: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log2(k) / max(1e-9, math.log2(most)) if most > 1 else 0.5)

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(visible(title))}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for line in range(5):
        value = top * line / 4
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#444">{100 * value:.3g} %</text>'
        )
    for k in (1 << power for power in range(most.bit_length())):
        parts.append(f'<text x="{x(k):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" fill="#444">{k}</text>')
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle" fill="#444">'
        "k samples a question</text>"
    )
    for number, score in enumerate(scores):
        colour = COLOURS[number % len(COLOURS)]
        parts += _band(score, colour, x, y)
        parts += _line(score.ks, score.pass_at, colour, "", x, y)
        parts += _line(score.ks, score.maj_at, colour, ' stroke-dasharray="5 4"', x, y)
        at = _HEIGHT + 6 + _LINE * number
        parts.append(f'<rect x="{_LEFT}" y="{at}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 18}" y="{at + 10}" fill="#222">{escape(visible(score.label))}</text>')
    at = _HEIGHT + 16 + _LINE * len(scores)
    parts.append(
        f'<text x="{_LEFT}" y="{at}" fill="#666">solid: pass@k, with 95 % intervals for new questions; dashed: '
        "maj@k</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _line(ks: Sequence[int], values: Sequence[Estimate], colour: str, dashes: str, x, y) -> list[str]:  # type: ignore[no-untyped-def]
    points = [(x(k), y(e.value)) for k, e in zip(ks, values, strict=True) if e.value is not None]
    shown = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    line = f'<polyline points="{shown}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    dots = [] if dashes else [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    return [line, *dots] if points else []


def _band(score: Score, colour: str, x, y) -> list[str]:  # type: ignore[no-untyped-def]
    known = [(k, e.low, e.high) for k, e in zip(score.ks, score.pass_at, strict=True) if e.low is not None]
    if len(known) < 2:
        return []
    there = [f"{x(k):.1f},{y(low):.1f}" for k, low, _ in known]
    back = [f"{x(k):.1f},{y(high):.1f}" for k, _, high in reversed(known)]
    return [f'<polygon points="{" ".join(there + back)}" fill="{colour}" fill-opacity="0.14"/>']


def _step_above(value: float) -> float:
    """The end of the axis: 4 round steps that hold the value, at most 1."""
    return next((end for end in (0.04, 0.08, 0.2, 0.4, 0.6, 0.8) if value <= end), 1.0)
