"""A training run, followed in the terminal: a line for each step, and what each evaluation allows to be said."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from r1rl.aha.figures import terminal as aha
from r1rl.aha.figures.conclusion import percent
from r1rl.inspect.run_data import RunData, check_run, load, logged
from r1rl.inspect.samples import visible
from r1rl.inspect.summary import figures
from r1rl.run.overview import overview
from r1rl.store import store

EVERY_SECONDS: Final = 2.0
_COLUMNS: Final = (
    ("reward", "reward", ".3f"),
    ("completions/mean_length", "tokens", ".0f"),
    ("completions/clipped_ratio", "cut", "%"),
    ("aha/retried", "retried", "%"),
    ("aha/wrong_to_right", "wrong→right", "%"),
    ("aha/marker_strict_rate", "markers", "%"),
    ("entropy", "entropy", ".3f"),
    ("step_time", "seconds", ".1f"),
)


def follow(run: Path, console: Console | None = None, *, every: float = EVERY_SECONDS) -> None:
    """Print every step as it is logged and every evaluation as it is whole, until the run ends. Ctrl-C stops it.

    Raises ValueError for a folder that is no run.
    """
    check_run(run)
    console = console or Console()
    console.print(
        Text.assemble(("following ", "dim"), (visible(run.resolve().name), "bold"), ("  Ctrl-C ends it", "dim"))
    )
    shown, evaluated = -1, ()
    while True:
        state = overview(run).state  # before the files are read, so that what a run wrote at its end is seen
        shown = _print_steps(run, shown, console)
        evaluated = _print_evaluation(run, evaluated, console)
        if state not in ("running", "not started"):
            console.print(Text(f"the run is {state}", style="dim"))
            return
        time.sleep(every)


def _print_steps(run: Path, shown: int, console: Console) -> int:
    for line in logged(run):
        if line["step"] > shown and line.get("reward") is not None:
            console.print(step_line(line))
            shown = line["step"]
    return shown


def step_line(line: dict[str, Any]) -> Text:
    """A logged step as one line."""
    text = Text.assemble(("step ", "dim"), f"{line['step']:>5}")
    for key, label, form in _COLUMNS:
        value = line.get(key)
        if isinstance(value, int | float):
            told = percent(value) if form == "%" else f"{value:{form}}"
            text.append(f"  {label} ", style="dim").append(told)
    return text


def _print_evaluation(run: Path, evaluated: tuple[Any, ...], console: Console) -> tuple[Any, ...]:
    """The table and conclusion of `r1rl aha` where there is an evaluation that was not shown yet."""
    if not (run / "rollouts").is_dir():
        return evaluated
    found = tuple(shard.path.name for shard in store.shards(run, kind="eval"))
    if not found or found == evaluated:
        return evaluated
    try:
        data = load(run)
    except ValueError:  # the first evaluation is being written
        return evaluated
    console.print(_table(data, console.width))
    aha.print_conclusion(data.measured, console)
    return found


def _table(data: RunData, width: int) -> Any:
    return aha.table(data.steps, figures(data), width)
