"""The reader's curves as a picture for a paper or a talk: PNG or SVG, of one run or of several laid over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from r1rl.ground.drawing import COLOURS, plain, quiet
from r1rl.ground.errors import nearest
from r1rl.inspect.reader import charts
from r1rl.inspect.reader.charts import Chart, Shown
from r1rl.inspect.run_data import load

_EVENT: Final = "#8a6d3b"
_WIDTH, _HEIGHT = 4.2, 2.9  # of one chart, in inches
_STYLES: Final[Mapping[str, dict[str, Any]]] = {
    "measured": {"marker": "o", "markersize": 3.5, "linewidth": 1.6},
    "dashed": {"marker": "o", "markersize": 3, "linewidth": 1.3, "linestyle": "--"},
    "logged": {"linewidth": 1.2},
    "faint": {"linewidth": 0.8, "alpha": 0.5},
}


def draw(runs: Sequence[Path], target: Path, keys: Sequence[str] | None = None) -> Path:
    """Write a picture of the charts of these keys, as PNG or SVG by the end of the target's name.

    Without keys they are those that the reader shows first.

    Lines are measured values with their intervals; a horizontal band is the interval at step 0, a vertical one that of
    the onset, and a dashed line an event. Several runs are laid over each other.

    Raises:
        ValueError: a folder is no run, a key names no chart of these runs, or the target ends in neither .png nor .svg.
    """
    keys = charts.EMERGENCE if keys is None else keys
    if target.suffix not in (".png", ".svg"):
        raise ValueError(f"{target}: need a name that ends in .png or .svg")
    shown = [Shown(run.resolve().name, load(run), i) for i, run in enumerate(runs)]
    known = {chart.key: chart for found in charts.overview(shown).values() for chart in found}
    for key in keys:
        if key not in known and key not in charts.EMERGENCE:
            raise ValueError(
                f"figures={key!r}: no such chart of these runs{nearest(key, known)}; they have {', '.join(known)}"
            )
    chosen = [known[key] for key in keys if key in known]  # what a run has no values of is left out
    if not chosen:
        raise ValueError(f"figures={','.join(keys)}: these runs have no values of them; they have {', '.join(known)}")
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    columns = min(3, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    events = charts.marked_steps(shown)
    for place, chart in enumerate(chosen, 1):
        _chart(figure.add_subplot(rows, columns, place), chart, events, legend=place == 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.tmp{target.suffix}")
    figure.savefig(part, dpi=200, metadata={"Date": None} if target.suffix == ".svg" else None)
    part.replace(target)
    return target


def _chart(axes: Any, chart: Chart, events: Sequence[Mapping[str, Any]], *, legend: bool) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for one in chart.series:
        colour = "#444444" if one["colour"] < 0 else COLOURS[one["colour"] % len(COLOURS)]
        label = plain(one["name"]) if one["style"] != "faint" else "_"
        axes.plot(one["x"], one["y"], color=colour, label=label, **_STYLES[one["style"]])
        if "low" in one:
            known = [(x, a, b) for x, a, b in zip(one["x"], one["low"], one["high"], strict=True) if a is not None]
            if known:
                axes.fill_between(*zip(*known, strict=True), color=colour, alpha=0.15, linewidth=0)
        if one.get("band"):
            axes.axhspan(*one["band"], color=colour, alpha=0.08, linewidth=0)
        if one.get("onset"):
            _, after, high = one["onset"]
            axes.axvspan(after, high, color=colour, alpha=0.1, linewidth=0)
    for event in events:
        axes.axvline(event["step"], color=_EVENT, linewidth=0.7, linestyle=":")
    axes.set_title(plain(chart.title), fontsize=10, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if chart.format == "share":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    quiet(axes)
    axes.set_xlabel("optimizer steps", fontsize=8)
    if legend and len({line.get_label() for line in axes.lines if not line.get_label().startswith("_")}) > 1:
        axes.legend(fontsize=7, frameon=False)
