"""A study's pictures, as SVG: the arms' curves with their bands, and what came out against the dose."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Final

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.figures import FIGURES
from r1rl.eval.study.measured import ArmFigures, Measured, dose_of

COLOURS: Final = ("#1f6fb2", "#c2611a", "#2a8765", "#93478f", "#77731f", "#3f8098", "#b0405f", "#5b5fc7")
_WIDTH, _HEIGHT = 3.9, 2.8  # of one chart, in inches
_COLUMNS: Final = 3


def curves(measured: Measured) -> str:
    """Every question's figure over the optimizer steps, a line an arm; the band is its 95 % interval."""
    figure, axes = _charts(len(measured.study.questions))
    for place, key in zip(axes, measured.study.questions, strict=True):
        for number, one in enumerate(measured.shown):
            assert one.result is not None
            colour = COLOURS[number % len(COLOURS)]
            _line(place, list(one.result.steps), one.row(key).series, colour, one.arm.name, number)
        _dressed(place, key)
        place.set_xlabel("optimizer steps", fontsize=8)
    axes[0].legend(fontsize=7, frameon=False)
    return _svg(figure)


def dose(measured: Measured) -> str | None:
    """Every question's last value, and the onset of going wrong to right, against the dose; None without doses.

    Doses stand side by side at even distances, as 0 and shares of a thousandth are among them. Arms with another option
    of their base stand at the right, apart.
    """
    option = measured.study.dose
    if option is None:
        return None
    doses = {one.arm.name: dose_of(one, option) for one in measured.shown}
    on_axis = sorted((one for one in measured.shown if doses[one.arm.name] is not None),
                     key=lambda one: doses[one.arm.name] or 0.0)  # fmt: skip
    if not on_axis:
        return None
    beside = [one for one in measured.shown if doses[one.arm.name] is None]
    columns = [*on_axis, *beside]
    labels = [f"{100 * (doses[one.arm.name] or 0):g} %" for one in on_axis] + [one.arm.name for one in beside]
    figure, axes = _charts(len(measured.study.questions) + 1)
    for place, key in zip(axes, measured.study.questions, strict=False):
        for ends, colour, label in ((0, "#999999", "first"), (-1, COLOURS[0], "last")):
            estimates = [one.row(key).series[ends] for one in columns]
            _points(place, estimates, len(on_axis), colour, label)
        _dressed(place, key)
    axes[0].legend(fontsize=7, frameon=False)
    _onsets(axes[-1], columns)
    for place in axes:
        place.set_xticks(range(len(labels)), labels, fontsize=7, rotation=35 if beside else 0)
        place.set_xlabel(option, fontsize=8)
    return _svg(figure)


def _onsets(axes: Any, columns: Sequence[ArmFigures]) -> None:
    """A mark a seed at its onset with its interval; a cross at the foot for a seed without one."""
    for x, one in enumerate(columns):
        found = list(one.onsets("wrong_to_right").values())
        for number, onset in enumerate(found):
            at = x + 0.12 * (number - (len(found) - 1) / 2)
            if onset is None:
                axes.plot([at], [0], marker="x", markersize=5, color="#b0405f", clip_on=False)
                continue
            axes.plot([at, at], [onset.after, onset.high], color=COLOURS[0], linewidth=1)
            axes.plot([at], [onset.step], marker="o", markersize=4, color=COLOURS[0])
    axes.set_title("onset of wrong → right (× none)", fontsize=10, loc="left")
    axes.set_ylabel("optimizer steps", fontsize=8)
    axes.set_ylim(bottom=0)
    _plain(axes)


def _charts(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place) for place in range(1, count + 1)]


def _line(axes: Any, steps: list[int], series: Sequence[Estimate], colour: str, label: str, number: int) -> None:
    style = ("-", "--", "-.", ":")[number // 2 % 4]  # told apart without colours too
    known = [(x, one) for x, one in zip(steps, series, strict=True) if one.value is not None]
    axes.plot([x for x, _ in known], [one.value for _, one in known], color=colour, label=label, linestyle=style,
              marker="o", markersize=3, linewidth=1.5)  # fmt: skip
    band = [(x, one.low, one.high) for x, one in known if one.low is not None]
    if band:
        axes.fill_between(*zip(*band, strict=True), color=colour, alpha=0.15, linewidth=0)


def _points(axes: Any, estimates: Sequence[Estimate], joined: int, colour: str, label: str) -> None:
    """Values with bars; the first `joined` are points of one curve."""
    known = [(x, one.value, one) for x, one in enumerate(estimates) if one.value is not None]
    curve = [(x, value) for x, value, _ in known if x < joined]
    axes.plot([x for x, _ in curve], [value for _, value in curve], color=colour, linewidth=1.3)
    for number, (x, value, one) in enumerate(known):
        bars = None if one.low is None or one.high is None else [[value - one.low], [one.high - value]]
        axes.errorbar([x], [value], yerr=bars, color=colour, marker="o" if x < joined else "s", markersize=4,
                      capsize=2, linewidth=1, label=label if number == 0 else "_")  # fmt: skip


def _dressed(axes: Any, key: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    shown = FIGURES[key]
    axes.set_title(shown.label, fontsize=10, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if shown.unit == "share":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(0, min(1.02, axes.get_ylim()[1]))  # an interval of few seeds may go beyond
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Any) -> str:
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "r1rl"}):  # the same study gives the same text
        figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="white")
    return text.getvalue()
