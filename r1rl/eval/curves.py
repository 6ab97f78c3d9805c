"""pass@k and maj@k against k, with bands, as one SVG: no script, and nothing is loaded."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Final

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.judge.labels import visible
from r1rl.eval.measuring import Score
from r1rl.ground.drawing import COLOURS, plain, quiet

_NOTE: Final = "solid: pass@k, with 95 % intervals for new questions; dashed: maj@k"


def svg(scores: Sequence[Score], title: str) -> str:
    """The picture as a file's text; solid lines are pass@k with 95 % bands, dashed ones maj@k."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes: Any = figure.add_subplot()
    for number, score in enumerate(scores):
        colour = COLOURS[number % len(COLOURS)]
        _line(axes, score.ks, score.pass_at, color=colour, marker="o", markersize=4, label=plain(visible(score.label)))
        _line(axes, score.ks, score.maj_at, color=colour, linestyle="--", linewidth=1.3)
        known = [(k, e.low, e.high) for k, e in zip(score.ks, score.pass_at, strict=True) if e.low is not None]
        if len(known) > 1:
            axes.fill_between(*zip(*known, strict=True), color=colour, alpha=0.15, linewidth=0)
    most = max((score.samples for score in scores), default=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1 << power for power in range(most.bit_length())])
    axes.xaxis.set_major_formatter(lambda k, _: f"{k:g}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    ends = [e.high if e.high is not None else e.value for score in scores for e in score.pass_at]
    highest = max((end for end in ends if end is not None), default=1.0)
    axes.set_ylim(0, min(1.02, 1.05 * highest) or 1)
    quiet(axes)
    axes.set_xlabel(f"k samples a question ({_NOTE})", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    target = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "r1rl"}):  # text stays text; ids stay the same
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Title": visible(title)})
    return target.getvalue()


def _line(axes: Any, ks: Sequence[int], values: Sequence[Estimate], **style: Any) -> None:
    axes.plot(ks, [math.nan if e.value is None else e.value for e in values], **style)
