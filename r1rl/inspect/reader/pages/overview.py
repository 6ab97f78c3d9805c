"""The overview: what may be concluded, every figure as a curve, and the table of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from r1rl.aha.figures.conclusion import conclude
from r1rl.aha.figures.suite import Result
from r1rl.aha.figures.terminal import detector_lines
from r1rl.inspect.reader import charts
from r1rl.inspect.reader.charts import Chart, Shown
from r1rl.inspect.reader.state import RunState, State
from r1rl.inspect.samples import visible
from r1rl.inspect.summary import cells, duration, summarise


def context(state: State, chosen: Sequence[str]) -> dict[str, Any]:
    """The overview of all runs, or of those chosen."""
    shown = state.shown(chosen)
    together = [] if chosen else state.together
    sections = charts.overview(shown, together)
    return {
        "runs": [_run(run, colour) for colour, run in enumerate(state.runs) if not chosen or run.name in chosen],
        "together": [{"names": result.runs, "conclusion": _conclusion(result)} for result in together],
        "sections": {name: [charts.head(chart) for chart in found] for name, found in sections.items()},
        "events": charts.marked_steps(shown),
        "tables": [_table(result, result.runs[0]) for result in _results(shown, together)],
    }


def drawn(state: State, chosen: Sequence[str]) -> dict[str, Any]:
    """The charts of the overview."""
    shown = state.shown(chosen)
    sections = charts.overview(shown, [] if chosen else state.together)
    return _json([chart for found in sections.values() for chart in found], shown)


def _json(found: Sequence[Chart], shown: Sequence[Shown]) -> dict[str, Any]:
    return {"charts": [asdict(chart) for chart in found], "events": charts.marked_steps(shown)}


def _run(run: RunState, colour: int) -> dict[str, Any]:
    """The head of a run: what may be concluded, and its facts."""
    found: dict[str, Any] = {
        "name": run.name, "colour": colour, "control": run.control, "progress": run.progress, "problem": run.problem,
        "conclusion": None, "notes": [], "warnings": [], "facts": [], "outcomes": [], "steps": [], "measured_of": "",
    }  # fmt: skip
    if run.data is None:
        return found
    summary = summarise(run.data)
    row = run.data.last_rollouts[0].row
    wall = summary["wall_seconds"]
    facts = [
        ("model", summary["model"]),
        ("task", summary["task"]),
        (
            "updates",
            f"{summary['steps']:,}" + (f" of {run.steps:,}" if run.steps and run.steps != summary["steps"] else ""),
        ),
        ("training rollouts", f"{summary['rollouts']:,}"),
        ("held-out prompts", summary["heldout_prompts"] or None),
        ("length cap", None if row["cap"] is None else f"{row['cap']:,} tokens"),
        ("temperature", row["temperature"]),
        ("seed", summary["seed"]),
        ("wall time", None if wall is None else duration(wall)),
    ]
    outcomes = summary["outcomes"]
    return found | {
        "conclusion": _conclusion(run.data.measured),
        "notes": [visible(str(note)) for note in run.data.result.get("notes") or ()],
        "warnings": summary["warnings"],
        "facts": [(name, visible(str(value))) for name, value in facts if value not in (None, "")],
        "outcomes": [
            (name, outcomes["first"].get(name, 0.0), share)
            for name, share in sorted(outcomes["last"].items(), key=lambda pair: -pair[1])
            if share or outcomes["first"].get(name)
        ],
        "steps": (summary["first_step"], summary["last_step"]),
        "measured_of": run.data.measured.selection.words,
    }


def _conclusion(result: Result) -> dict[str, Any]:
    found = conclude(result)
    return {"emerged": found.emerged, "figures": found.figures, "words": found.words}


def _results(shown: Sequence[Shown], together: Sequence[Result]) -> list[Result]:
    """One result a table: of the runs put together first."""
    return [
        *(replace(result, runs=(f"mean of {', '.join(result.runs)}",)) for result in together),
        *(replace(run.data.measured, runs=(run.name,)) for run in shown),
    ]


def _table(result: Result, name: str) -> dict[str, Any]:
    section = ""
    rows = []
    for row in charts.cells(result.rows):
        rows.append(cells(row) | {"section": row.figure.section if row.figure.section != section else ""})
        section = row.figure.section
    notes = [*result.hidden, *detector_lines(result.rows.values())]
    ends = {"first": result.steps[0], "last": result.steps[-1], "compared": result.compared}
    return {"name": name, **ends, "rows": rows, "notes": notes}
