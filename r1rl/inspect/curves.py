"""The report's charts as plotly.js specifications (plain dicts), all on one axis of optimizer steps.

A colour is written as the name of a CSS variable ("--c1"); the page resolves it, so charts follow the reader's
light or dark theme.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.conclusion import change
from r1rl.aha.figures.suite import Result
from r1rl.inspect.run_data import RunData, numbers
from r1rl.inspect.samples import middle, visible

COLOURS = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c6")
ROUTINE_EVENTS = frozenset({"start", "started", "end", "finish", "finished", "done", "checkpoint", "save", "saved"})
"""Events that change nothing in the curves; they are listed but get no line."""
LINES_PER_EVENT = 5
LINES_PER_CHANGE = 50
_SHORT = {"max_completion_length": "cap", "temperature": "T", "learning_rate": "lr", "beta": "β"}
LONGEST_NAME = 40
"""Characters of a line's name that fit a legend on a phone."""


@dataclass(frozen=True)
class Chart:
    """One chart: what the page says of it, and plotly.js `data` and `layout`."""

    key: str
    title: str
    note: str
    small: bool
    data: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A line of events.jsonl.

    `number` is that of its vertical line, None where it has none; `label` is what stands at the line.
    """

    number: int | None
    step: int | None
    name: str
    detail: str
    label: str = ""


def charts(data: RunData) -> list[Chart]:
    """Every chart for which the run has values, in reading order."""
    parts = sorted({k for line in data.metrics for k in line if k.startswith("rewards/") and k.endswith("/mean")})
    rewards = [("reward", "reward")] + [(key, key.split("/")[1]) for key in parts]
    found = [
        _chart("reward", "Reward and its parts", "Training rollouts, mean of a step.", _logged(data, rewards)),
        _accuracy(data),
        _chart(
            "length", "Completion length, tokens",
            "Every training rollout." if data.training_only else "Held-out rollouts against training rollouts.",
            _logged(data, [("completions/mean_length", "training")], faint=True),
            _measured(data.measured, "tokens", 0),
        ),
        _reflection(data, "retry_after_miss", "Retry after a miss"),
        _reflection(data, "wrong_to_right", "Wrong → right"),
        _reflection(data, "marker_strict_rate", "Reflective markers"),
        _gain(data),
    ]  # fmt: skip
    for key, title in (
        ("entropy", "Entropy, nats per token"),
        ("grad_norm", "Gradient norm"),
        ("learning_rate", "Learning rate"),
        ("completions/clipped_ratio", "Share cut at the length cap"),
        ("frac_reward_zero_std", "Share of groups with equal rewards"),
        ("step_time", "Seconds per step"),
    ):
        found.append(_chart(key, title, "", _logged(data, [(key, title)]), small=True))
    kept = [chart for chart in found if chart.data]
    _share_axis(kept, data)
    return kept


def events(data: RunData) -> list[Event]:
    """The run's events in order; those that may change a curve are numbered, one number a step and name.

    An alarm that rings at every step would hide the curves: only its first `LINES_PER_EVENT` get a line, of changes
    `LINES_PER_CHANGE`.
    """
    numbered: dict[tuple[int, str], int] = {}
    found = []
    for line in data.events:
        step = line.get("step")
        step = int(step) if isinstance(step, int | float) and not isinstance(step, bool) else None
        name = str(line.get("event", "event"))
        number = None
        if step is not None and name not in ROUTINE_EVENTS:
            number = numbered.get((step, name))
            most = LINES_PER_CHANGE if name in ("setting", "reference_refreshed") else LINES_PER_EVENT
            if number is None and sum(known == name for _, known in numbered) < most:
                number = numbered[step, name] = len(numbered) + 1
        rest = {k: v for k, v in line.items() if k not in ("time", "step", "event")}
        detail = middle(", ".join(f"{k}: {v}" for k, v in rest.items()), 600)
        found.append(Event(number, step, visible(name), visible(detail), _label(name, line, number)))
    return found


def _label(name: str, line: dict[str, Any], number: int | None) -> str:
    """What stands at an event's line: `cap 65536`, `ref`, an alarm's name."""
    if number is None:
        return ""
    if name == "setting":
        key, value = str(line.get("key")), line.get("value")
        told = f"{value:g}" if isinstance(value, float) else str(value)
        return visible(middle(f"{_SHORT.get(key, key)} {told}", 24))
    return "ref" if name == "reference_refreshed" else visible(middle(name.replace("_", " "), 24))


def _accuracy(data: RunData) -> Chart:
    title, note = (
        "Held-out accuracy",
        "Problems never trained on. Bars: 95 % over prompts; bands: the interval at step 0.",
    )
    if data.training_only:
        title, note = "Accuracy", "Training rollouts that were judged. Bars: 95 % over prompts, at some steps."
    lines = _measured(data.measured, "accuracy", 0)
    if data.greedy is not None:
        lines += _measured(data.greedy, "accuracy", 1)
    return _chart("accuracy", title, note, [], lines, share=True)


def _reflection(data: RunData, key: str, title: str) -> Chart:
    definition = data.measured.rows[key].figure.definition
    train = [] if data.training_only else _logged(data, [(f"aha/{key}", "training")], faint=True)
    note = f"{definition[0].upper()}{definition[1:]}."
    return _chart(key, title, note, train, _measured(data.measured, key, 0), share=True)


def _gain(data: RunData) -> Chart:
    """The parts of the change of accuracy since the first step, a line each; their terms of the last step in words."""
    if data.gain is None:
        return _chart("gain", "", "", [])
    steps, parts = data.gain.steps, data.gain.parts
    told = ", ".join(f"{part.label} {change(part.with_detector or part.change, 'share')}" for part in parts)
    if any(part.with_detector is not None for part in parts):
        told += " (the attempt detector's errors taken out, which they are not in the lines)"
    note = (
        f"Points of held-out accuracy since step {steps[0]}, by what changed; they add up to the whole change. "
        f"At step {steps[-1]}: {told}; together {change(data.gain.total[-1], 'share')}."
    )
    lines = [trace for i, part in enumerate(parts) for trace in _estimates(part.label, steps, part.series, i)]
    drawn = _chart("gain", "Where the gain comes from", note, [], lines)
    drawn.layout["shapes"].clear()  # at the first step every part is zero, so there is no band
    drawn.layout["yaxis"] = {"tickformat": "+.0%"}
    return drawn


def _chart(
    key: str,
    title: str,
    note: str,
    lines: list[dict[str, Any]],
    measured: list[dict[str, Any]] | None = None,
    *,
    share: bool = False,
    small: bool = False,
) -> Chart:
    shapes = [trace.pop("band") for trace in measured or [] if "band" in trace]
    traces = [*lines, *(measured or [])]
    axis: dict[str, Any] = {"tickformat": ".0%", "rangemode": "tozero"} if share else _axis_of_a_constant(traces)
    return Chart(
        key.replace("/", "_"),
        title,
        note,
        small,
        traces,
        {"shapes": shapes, "yaxis": axis, "showlegend": not small and len(traces) > 1},
    )


def _axis_of_a_constant(traces: list[dict[str, Any]]) -> dict[str, Any]:
    """A range from 0 on around a value that never changes: plotly's own is one unit to either side of it."""
    values = {value for trace in traces for value in trace["y"]}
    if len(values) != 1:
        return {}
    (value,) = values
    return {"range": sorted((0, 2 * value)) if value else [0, 1]}


def _logged(data: RunData, keys: list[tuple[str, str]], *, faint: bool = False) -> list[dict[str, Any]]:
    """A line for each (metrics key, label) that the run logged."""
    traces = []
    for i, (key, label) in enumerate(keys):
        values = numbers(line.get(key) for line in data.metrics)
        points = [(line["step"], v) for line, v in zip(data.metrics, values, strict=True) if v is not None]
        if points:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(points) > 1 else "markers",
                    "name": html.escape(middle(label, LONGEST_NAME)),  # plotly reads a subset of HTML in names
                    "x": [step for step, _ in points],
                    "y": [value for _, value in points],
                    "line": {"width": 1 if faint else 1.5, "color": "--faint" if faint else COLOURS[i % 6]},
                }
            )
    return traces


def _measured(result: Result, key: str, colour: int) -> list[dict[str, Any]]:
    """The figure at every step, its interval as error bars; under "band" the interval at the first step."""
    words = result.selection.words.replace("held-out rollouts", "held out")
    name = "training" if result.selection.kind == "train" else words
    return _estimates(name, result.steps, result.rows[key].series, colour)


def _estimates(name: str, steps: Sequence[int], series: Sequence[Estimate], colour: int) -> list[dict[str, Any]]:
    """A series with its intervals, and its band, as `_measured` describes them."""
    points = [(step, e) for step, e in zip(steps, series, strict=True) if e.value is not None]
    if not points:
        return []
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [step for step, _ in points],
        "y": [estimate.value for _, estimate in points],
        "line": {"width": 2, "color": COLOURS[colour]},
        "marker": {"size": 6, "color": COLOURS[colour]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_gap(e.high, e.value) for _, e in points],
            "arrayminus": [_gap(e.value, e.low) for _, e in points],
            "thickness": 1,
            "width": 3,
            "color": COLOURS[colour],
        },
    }
    _, start = points[0]
    if start.low is not None and start.high is not None:
        trace["band"] = {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": start.low,
            "y1": start.high,
            "fillcolor": COLOURS[colour],
            "opacity": 0.13,
            "line": {"width": 0},
            "layer": "below",
        }
    return [trace]


def _gap(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else max(0.0, upper - lower)


def _share_axis(found: list[Chart], data: RunData) -> None:
    """Give every chart the same range of steps and the same vertical lines."""
    steps = [step for chart in found for trace in chart.data for step in trace["x"]]
    lines: dict[int, list[str]] = {}
    for event in events(data):
        if event.number is not None and event.step is not None:
            labels = lines.setdefault(event.step, [])
            if event.label not in labels:
                labels.append(event.label)
    last = max([*steps, *lines], default=1)
    margin = max(0.5, 0.02 * last)
    for chart in found:
        chart.layout["xaxis"] = {"range": [-margin, last + margin]}
        for step in lines:
            chart.layout["shapes"].append(
                {
                    "type": "line", "xref": "x", "yref": "paper", "x0": step, "x1": step, "y0": 0, "y1": 1,
                    "line": {"width": 1, "dash": "dash", "color": "--event"},
                }
            )  # fmt: skip
        chart.layout["annotations"] = [
            {
                "x": step, "y": 1, "xref": "x", "yref": "paper", "xanchor": "right", "yanchor": "top",
                "textangle": -90, "showarrow": False,
                "text": html.escape(", ".join(labels)), "font": {"size": 10, "color": "--event"},
            }
            for step, labels in lines.items()
        ]  # fmt: skip
