"""A counterfactual's figures as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from r1rl.aha.figures.conclusion import change

if TYPE_CHECKING:
    from rich.console import Console

    from r1rl.aha.counterfactual.figures import Result
    from r1rl.aha.counterfactual.ratios import Figure, Measured
    from r1rl.aha.figures.bootstrap import Estimate

_CLAIMS = {
    name + key: shown + side
    for name, shown in (("intact", "intact, "), ("corrupted", "falsified, "))
    for key, side in (("", "all"), ("_hits", "of a hit"), ("_misses", "of a miss"))
}


def print_result(result: Result, console: Console) -> None:
    """Arms, gains and falsified values."""
    _head(result.runs, f"step {result.step}  {result.markers} markers in rollouts of {result.prompts} prompts", console)
    for table in (_arms(result), _gains(result), _corruption(result)):
        if table is not None:
            console.print(table)
    _foot(result.runs, result.prompts, console)


def print_measured(measured: Measured, about: str, console: Console) -> None:
    """The figures of another measure, and what they do not say."""
    _head(measured.runs, f"step {measured.step}  {measured.measure}, rollouts of {measured.prompts} prompts", console)
    table = _table("figure", "(95 %)", "of")
    for figure in measured.figures.values():
        table.add_row(figure.title, _figure(figure), str(figure.of))
    console.print(table)
    notes = "; ".join(f"{name} {_note(value)}" for name, value in measured.notes.items() if value is not None)
    console.print(Text(". ".join(part for part in (notes, about) if part), style="dim"))
    _foot(measured.runs, measured.prompts, console)


def _head(runs: tuple[str, ...], said: str, console: Console) -> None:
    title = "runs " if len(runs) > 1 else "run "
    console.print(Text.assemble((title, "dim"), (", ".join(runs), "bold"), "  ", said))


def _foot(runs: tuple[str, ...], prompts: int, console: Console) -> None:
    if len(runs) > 1:
        console.print(f"{len(runs)} runs: intervals are for new seeds and new problems ({prompts} seen).")
    console.print()


def _figure(figure: Figure) -> str:
    if figure.unit == "share":
        return change(figure.estimate, "share") if figure.change else _share(figure.estimate)
    value, low, high = figure.estimate.value, figure.estimate.low, figure.estimate.high
    if value is None:
        return "–"
    sign = "+" if figure.change else ""
    shown = f"{value:{sign}.3f}"
    return shown if low is None or high is None else f"{shown} ({low:.3f} … {high:.3f})"


def _note(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_note(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(*headings: str) -> Table:
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
