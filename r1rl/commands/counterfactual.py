"""r1rl counterfactual: does reflecting change the answer? Measured by sampling on from where rollouts reflect."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl.commands import user_errors

if TYPE_CHECKING:
    from rich.table import Table

    from r1rl.aha.counterfactual.figures import Result
    from r1rl.aha.figures.bootstrap import Estimate

SUMMARY = "Measure what reflecting is worth, with the run's own checkpoints."
EXAMPLES = """\
examples:
  r1rl counterfactual runs/countdown-1
  r1rl counterfactual runs/seed0 runs/seed1 runs/seed2
  r1rl counterfactual runs/countdown-1 --steps 0 40 100 --points 400
  r1rl counterfactual runs/countdown-1 --lexicon r1-nature --json

Rollouts of the run's held-out evaluations are cut where they reflect, and the policy that wrote them goes on: with the
answer forced before (A) or after the reflection (B), with reflective words banned (C) or freely (D), and with "Wait,"
injected elsewhere (E); the same at random boundaries is the placebo. On Countdown, values are falsified as well. Step 0
is the model that the run began with; other steps need a checkpoint. What was sampled is kept in RUN/counterfactual/,
and a measurement that was cut off goes on where it stopped. With several runs (seeds of one recipe) each is shown, and
all together at every step that all of them have, with intervals for new seeds and new problems."""

_FILE_WIDTH = 140
_CLAIMS = {
    name + key: shown + side
    for name, shown in (("intact", "intact, "), ("corrupted", "falsified, "))
    for key, side in (("", "all"), ("_hits", "of a hit"), ("_misses", "of a miss"))
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--steps", type=int, nargs="+", metavar="STEP", help="default: the first and the last there is")
    parser.add_argument("--points", type=int, default=200, help="markers, and claimed values, a step (default: 200)")
    parser.add_argument("--samples", type=int, default=2, help="continuations an arm and point (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--lexicon", default="strict", help="whose markers to cut at and to ban (default: strict)")
    parser.add_argument("--inject", metavar="TEXT", help='default: "Wait," as the vocabulary spells it')
    parser.add_argument("--answer", metavar="TEXT", help="what forces an answer; default: as the rollouts begin theirs")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run and step and nothing else")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.aha.counterfactual import figures as counterfactual_figures
    from r1rl.aha.counterfactual import store as counterfactual_store
    from r1rl.aha.figures import suite

    names = ("points", "samples", "seed", "lexicon", "inject", "answer")
    settings = counterfactual_store.Settings(**{name: getattr(parsed, name) for name in names})
    with user_errors():
        runs = suite.run_names(parsed.runs)
        # All of them, before the first is sampled.
        steps = [counterfactual_store.check(path, settings, parsed.steps) for path in parsed.runs]
        common = _common(runs, steps)
        sampled: list[dict[int, list[dict[str, Any]]]] = []
        for name, path, its in zip(runs, parsed.runs, steps, strict=True):
            sampled.append({})
            for step in its:
                progress = sys.stderr.isatty()
                rows = counterfactual_store.compute(path, step, settings, progress=progress)
                sampled[-1][step] = rows
                _show(counterfactual_figures.measure([name], step, [rows]), as_json=parsed.json)
        if len(runs) > 1:
            for step in common:
                every = [of_run[step] for of_run in sampled]
                _show(counterfactual_figures.measure(runs, step, every), as_json=parsed.json)


def _common(runs: Sequence[str], steps: Sequence[Sequence[int]]) -> list[int]:
    found = sorted(set.intersection(*map(set, steps)))
    if not found:
        every = "; ".join(f"{name} {', '.join(map(str, its))}" for name, its in zip(runs, steps, strict=True))
        raise ValueError(
            f"runs: no step in common to put together ({every}); name steps that all of them have: --steps"
        )
    return found


def _show(result: Result, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(result), allow_nan=False) + "\n")
        sys.stdout.flush()
        return
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    head = f"step {result.step}  {result.markers} markers in rollouts of {result.prompts} prompts"
    title = "runs " if len(result.runs) > 1 else "run "
    console.print(Text.assemble((title, "dim"), (", ".join(result.runs), "bold"), "  ", head))
    for table in (_arms(result), _gains(result), _corruption(result)):
        if table is not None:
            console.print(table)
    if len(result.runs) > 1:
        console.print(f"{len(result.runs)} runs: intervals are for new seeds and new problems ({result.prompts} seen).")
    console.print()


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _arms(result: Result) -> Table | None:
    from r1rl.aha.counterfactual.arms import ARMS

    if not result.arms:
        return None
    table = _table("arm", "right (95 %)", "parsed", "with a marker", "tokens", "n")
    for name, arm in result.arms.items():
        cells = (_share(arm.right), f"{arm.parsed:.0%}", f"{arm.marked:.0%}", f"{arm.tokens:.1f}", str(arm.count))
        table.add_row(("placebo " if name.startswith("placebo") else "") + ARMS[name].strip(), *cells)
    return table


def _gains(result: Result) -> Table | None:
    from r1rl.aha.counterfactual.figures import GAINS
    from r1rl.aha.figures.conclusion import change

    if not result.gains:
        return None
    table = _table("gain in points", "(95 %)", "adj. p")
    for name, gain in result.gains.items():
        p = "" if gain.p is None else "< 0.001" if gain.p < 0.001 else f"{gain.p:.3f}"
        table.add_row(GAINS[name][0], change(gain.change, "share"), p)
    return table


def _corruption(result: Result) -> Table | None:
    if not result.corruption:
        return None
    table = _table("claimed value", "tests by the true value (95 %)", "no test", "right at last", "n")
    for name, row in result.corruption.items():
        cells = (_share(row.noticed), f"{row.silent:.0%}", f"{row.right:.0%}", str(row.count))
        table.add_row(_CLAIMS[name], *cells)
    return table


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    shown = f"{100 * estimate.value:.1f} %"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} ({100 * estimate.low:.1f} … {100 * estimate.high:.1f})"
