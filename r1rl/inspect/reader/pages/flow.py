"""What attempts turn into over steps, and accuracy with and without reflection."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from r1rl.aha.figures.conclusion import number
from r1rl.inspect.reader import charts
from r1rl.inspect.reader.filters import MOVES, Filters
from r1rl.inspect.reader.state import State


def context(state: State, name: str) -> dict[str, Any]:
    """The transition flow of one run."""
    run = state.run(name)
    found: dict[str, Any] = {
        "run": name, "colour": state.names.index(name), "problem": run.problem,
        "charts": [], "steps": [], "moves": [], "matched": False, "measured_of": "",
    }  # fmt: skip
    if run.data is None:
        return found
    drawn = charts.flow(_shown(state, name), run.matched)
    measured = run.data.measured
    return found | {
        "charts": [charts.head(one) for one in drawn],
        "matched": any(one.key == "matched" for one in drawn),
        "measured_of": measured.selection.words,
        "steps": [_step(state, name, step, i) for i, step in enumerate(measured.steps)],
        "moves": [(move, move.replace("_", " → ", 1)) for move in MOVES],
    }


def drawn(state: State, name: str) -> dict[str, Any]:
    """The charts of the page."""
    run = state.run(name)
    if run.data is None:
        return {"charts": [], "events": []}
    shown = _shown(state, name)
    return {"charts": [asdict(one) for one in charts.flow(shown, run.matched)], "events": charts.marked_steps([shown])}


def _shown(state: State, name: str) -> charts.Shown:
    (shown,) = state.shown([name])
    return shown


def _step(state: State, name: str, step: int, i: int) -> dict[str, Any]:
    """The shares of one step, each with a link to the rollouts that have such a transition."""
    run = state.run(name)
    assert run.data is not None
    measured = run.data.measured
    base = Filters.measured(name, measured.selection, step)
    cells = []
    for move in MOVES:
        row = measured.rows[f"transition_{move}"]
        query = base.query(move=(move,))
        cells.append({"share": number(row.series[i].value, "share"), "link": "/rollouts?" + query})
    return {"step": step, "cells": cells}
