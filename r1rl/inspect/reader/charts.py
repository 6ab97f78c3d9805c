"""Charts as data: series over steps with intervals, the band of step 0, onsets and events. The page draws them.

All of one page share the axis of optimizer steps. The same data makes the table behind each chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.figures import FIGURES, Figure
from r1rl.aha.figures.suite import Result, Row
from r1rl.inspect.curves import events
from r1rl.inspect.reader.filters import MARKER_KINDS, Filters
from r1rl.inspect.run_data import RunData, numbers
from r1rl.inspect.samples import middle, visible
from r1rl.inspect.summary import short_reach

EMERGENCE: Final = ("accuracy", "retried", "retry_after_miss", "wrong_to_right", "retry_lift", "verify_precision",
                    "verify_recall", "marker_strict_rate")  # fmt: skip
"""What the overview shows first; every other figure stands below, by section."""

LOGGED: Final = (
    ("entropy", "Entropy, nats per token", "number"),
    ("completions/clipped_ratio", "Cut at the length cap", "share"),
    ("frac_reward_zero_std", "Groups with equal rewards", "share"),
    ("learning_rate", "Learning rate", "number"),
    ("grad_norm", "Gradient norm", "number"),
    ("step_time", "Seconds per step", "number"),
)
TRANSITIONS: Final = {"wrong_right": 2, "right_right": 0, "wrong_same": 4, "wrong_different": 1, "right_wrong": 6}
"""The transitions between attempts from the best to the worst, each with its colour."""

COUNTED: Final[Mapping[str, Filters]] = MappingProxyType(
    {
        "accuracy": Filters(verdict=("correct",)),
        "retried": Filters(flag=("retried",)),
        "wrong_to_right": Filters(move=("wrong_right",)),
        "right_to_wrong": Filters(move=("right_wrong",)),
        "marker_strict_rate": Filters(marker=MARKER_KINDS),
        "guesses": Filters(flag=("guess",)),
        "truncated": Filters(flag=("truncated",)),
        "repetition_loop": Filters(flag=("loop",)),
        "continues_after_answer": Filters(flag=("continues",)),
        "code_only": Filters(flag=("code only",)),
        "mixed_language": Filters(flag=("mixed language",)),
    }
)
"""The rollouts that a figure counts, where it is a share of rollouts: a click on its curve leads to them."""

_FORMATS: Final = {"share": "share", "gap": "points"}


@dataclass(frozen=True)
class Shown:
    """A run that is drawn: its contents, its name on the page, its colour (from 0), and whether it is a control."""

    name: str
    data: RunData
    colour: int
    control: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart. `stacked` series are shares of one whole."""

    key: str
    title: str
    note: str
    format: str  # share, points, number or integer
    series: list[dict[str, Any]]
    detector: str = ""
    text_kind: str = ""
    stacked: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)


def head(chart: Chart) -> dict[str, Any]:
    """What a page says of a chart before it is drawn."""
    return {"key": chart.key, "title": chart.title, "note": chart.note, "detector": chart.detector,
            "reach": short_reach(chart.detector or None, chart.text_kind)}  # fmt: skip


def overview(runs: Sequence[Shown], together: Sequence[Result] = ()) -> dict[str, list[Chart]]:
    """The charts of the overview by section: emergence, training, and the figures' own sections."""
    found = {
        "emergence": [figure_chart(runs, FIGURES[key], together) for key in EMERGENCE],
        "training": _training(runs),
    }
    for key, figure in FIGURES.items():
        if key not in EMERGENCE and not key.startswith("transition_"):
            found.setdefault(figure.section, []).append(figure_chart(runs, figure, together))
    return {section: drawn for section, charts in found.items() if (drawn := [one for one in charts if one.series])}


def figure_chart(runs: Sequence[Shown], figure: Figure, together: Sequence[Result] = ()) -> Chart:
    """A figure of every run, and of the runs of one recipe together; what training logged of it is a faint line."""
    series = []
    for run in runs:
        row = run.data.measured.rows.get(figure.key)
        if row is not None:
            measured = _measured(run.name, run.data.measured, row, run.colour, control=run.control)
            counted = COUNTED.get(figure.key, Filters())
            base = Filters.measured(run.name, run.data.measured.selection)
            asked = replace(counted, run=base.run, kind=base.kind, sampling=base.sampling).query()
            series += [one | {"query": asked} for one in measured]
        if not run.data.training_only:
            series += _logged(run, f"aha/{figure.key}", "training", faint=True)
    for result in together:
        if (row := result.rows.get(figure.key)) is not None:
            series += _measured(f"mean of {len(result.runs)} seeds", result, row, -1)
    if figure.key == "accuracy":
        for run in runs:
            if run.data.greedy is not None:
                greedy = run.data.greedy
                series += _measured(f"{run.name}, greedy", greedy, greedy.rows["accuracy"], run.colour, dashed=True)
    definition = f"{figure.definition[0].upper()}{figure.definition[1:]}"
    title = f"{figure.label[0].upper()}{figure.label[1:]}"
    kinds = (run.data.measured.rows[figure.key].text_kind for run in runs if figure.key in run.data.measured.rows)
    unit = _FORMATS.get(figure.unit, "number")
    return Chart(figure.key, title, definition, unit, series, figure.detector or "", next(kinds, ""))


def flow(run: Shown, matched: Result | None) -> list[Chart]:
    """What follows an attempt over steps, and accuracy with and without reflection at matched length."""
    rows = run.data.measured.rows
    shares = []
    for name, colour in TRANSITIONS.items():
        row = rows[f"transition_{name}"]
        shares += _measured(row.figure.label, run.data.measured, row, colour)
    found = [
        _gain(run),
        Chart("transitions", "What an attempt turns into", "Share of all transitions between attempts.", "share",
              shares, "transitions", stacked=True),
        _several("ends", "First and final attempt", "Share of rollouts whose first, and whose last attempt is right.",
                 run, ("first_accuracy", "final_accuracy")),
        _several("retries", "Who tries again", "Retries after a miss and after a hit: of the rollouts whose first "
                 "attempt is wrong, or right, those with another.", run, ("retry_after_miss", "retry_after_hit")),
    ]  # fmt: skip
    if matched is not None:
        series = [
            one
            for i, row in enumerate(matched.rows.values())
            for one in _measured(row.figure.label, matched, row, (0, 5)[i % 2])
        ]
        found.append(
            Chart("matched", "Right answers with and without reflection, at matched length",
                  "Rollouts of one prompt whose lengths differ by less than half an octave, with and without a strict "
                  "marker (Mantel-Haenszel weights).", "share", series, "markers: strict")
        )  # fmt: skip
    found.append(
        _several("gap", "The difference: right with a marker − without",
                 "Within one prompt, and within one prompt and length. A correlation: what a reflection is worth, "
                 "r1rl counterfactual measures.", run, ("reflection_gap", "reflection_gap_matched"))
    )  # fmt: skip
    return [chart for chart in found if chart.series]


def _gain(run: Shown) -> Chart:
    """The parts of the change of accuracy since the first step."""
    gain = run.data.gain
    series: list[dict[str, Any]] = []
    if gain is not None:
        series += [
            line for i, part in enumerate(gain.parts) for line in _estimates(part.label, gain.steps, part.series, i)
        ]
    note = (
        "Points of held-out accuracy since the first step, by what changed: the parts add up to the whole change "
        "(docs/measures.md)."
    )
    return Chart("gain", "Where the gain comes from", note, "points", series, "attempts")


def marked_steps(runs: Sequence[Shown]) -> list[dict[str, Any]]:
    """Events that may change a curve, numbered over all runs, with a line of words each."""
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for run in runs:
        for event in events(run.data):
            if event.number is None or event.step is None:
                continue
            key = (event.step, event.name, event.detail)
            if key in found:
                found[key]["runs"].append(run.name)
            else:
                found[key] = {"number": len(found) + 1, "step": event.step, "name": event.name,
                              "detail": event.detail, "runs": [run.name]}  # fmt: skip
    return list(found.values())


def _several(key: str, title: str, note: str, run: Shown, keys: Sequence[str]) -> Chart:
    measured = run.data.measured
    series = [
        one
        for i, name in enumerate(keys)
        for one in _measured(measured.rows[name].figure.label, measured, measured.rows[name], (0, 5)[i % 2])
    ]
    unit = FIGURES[keys[0]].unit
    return Chart(key, title, note, _FORMATS.get(unit, "number"), series, FIGURES[keys[0]].detector or "")


def _training(runs: Sequence[Shown]) -> list[Chart]:
    reward, length = [], []
    for run in runs:
        reward += _logged(run, "reward", "reward")
        parts = sorted(
            {key for line in run.data.metrics for key in line if key.startswith("rewards/") and key.endswith("/mean")}
        )
        if len(runs) == 1:
            for i, key in enumerate(parts):
                reward += _logged(run, key, key.split("/")[1], colour=i + 1)
        tokens = run.data.measured.rows["tokens"]
        length += _measured(run.name, run.data.measured, tokens, run.colour, control=run.control)
        if not run.data.training_only:
            length += _logged(run, "completions/mean_length", "training", faint=True)
    found = [
        Chart("reward", "Reward", "Training rollouts, mean of a step.", "number", reward),
        Chart(
            "length",
            "Completion length, tokens",
            "Held-out rollouts with intervals; faint: training.",
            "integer",
            length,
        ),
    ]
    for key, title, form in LOGGED:
        series = [one for run in runs for one in _logged(run, key, "training")]
        found.append(Chart(key.replace("/", "_"), title, "", form, series))
    return found


def _measured(
    name: str, result: Result, row: Row, colour: int, *, control: bool = False, dashed: bool = False
) -> list[dict[str, Any]]:
    drawn = _estimates(f"{name} (control)" if control else name, result.steps, row.series, colour)
    first, onset = next((one for one in row.series if one.value is not None), row.first), row.onset
    band = [first.low, first.high] if first.low is not None and result.compared and not dashed else None
    marked = None if onset is None or dashed else [onset.step, onset.after, onset.high]
    style = "dashed" if dashed or control else "measured"
    return [one | {"style": style, "band": band, "onset": marked} for one in drawn]


def _estimates(name: str, steps: Sequence[int], series: Sequence[Estimate], colour: int) -> list[dict[str, Any]]:
    """A series with its intervals."""
    points = [(step, one) for step, one in zip(steps, series, strict=True) if one.value is not None]
    if not points:
        return []
    return [
        {
            "name": name,
            "style": "measured",
            "colour": colour,
            "x": [step for step, _ in points],
            "y": [one.value for _, one in points],
            "low": [one.low for _, one in points],
            "high": [one.high for _, one in points],
            "band": None,
            "onset": None,
        }
    ]


def _logged(
    run: Shown, key: str, label: str, *, faint: bool = False, colour: int | None = None
) -> list[dict[str, Any]]:
    values = numbers(line.get(key) for line in run.data.metrics)
    points = [(line["step"], v) for line, v in zip(run.data.metrics, values, strict=True) if v is not None]
    if not points:
        return []
    shown = visible(middle(label, 40))
    return [
        {
            "name": f"{run.name}, {shown}" if faint else run.name if colour is None else shown,
            "style": "faint" if faint else "logged",
            "colour": run.colour if colour is None else colour,
            "x": [step for step, _ in points],
            "y": [value for _, value in points],
        }
    ]


def cells(rows: Mapping[str, Row]) -> Iterator[Row]:
    """The figures that say anything, in the table's order."""
    return (row for row in rows.values() if row.first.value is not None or row.last.value is not None)
