"""r1rl aha: what was measured of reflection in a run, against step 0."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from r1rl.commands import foreign, user_errors

if TYPE_CHECKING:
    from r1rl.aha.figures.figures import Figure, Selection
    from r1rl.aha.figures.suite import Result
    from r1rl.aha.measures.decomposition import Decomposition

SUMMARY = "Measure reflection in a run's rollouts, against step 0."
EXAMPLES = """\
examples:
  r1rl aha runs/countdown-1
  r1rl aha runs/seed0 runs/seed1 runs/seed2
  r1rl aha runs/countdown-1 --figure retried --sql
  r1rl aha runs/countdown-1 --measures    # what published claims say of reflection, see docs/measures.md
  r1rl aha runs/countdown-1 --kind train --json
  r1rl aha completions/                   # rollouts of another tool, see docs/rollouts.md
  r1rl aha validate

With several runs (seeds of one recipe) each is shown, and all together. `validate` instead of a run measures the
detectors' own precision and recall on labelled rollouts."""

_VALIDATE = "validate"
_FILE_WIDTH = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=f"folders of runs, or the word {_VALIDATE}")
    foreign.add_out(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line and nothing else")
    parser.add_argument("--figure", action="append", default=[], metavar="NAME", help="show only this one; repeatable")
    parser.add_argument("--measures", action="store_true", help="show every measure of reflection, not the main ones")
    parser.add_argument("--sql", action="store_true", help="print the SQL that recomputes each figure, and no figures")
    parser.add_argument(
        "--kind",
        choices=("eval", "train"),
        help="rollouts to measure: the held-out ones (default), or the training's, which have no step 0",
    )
    parser.add_argument("--greedy", action="store_true", help="the held-out rollouts of temperature 0, not the sampled")
    parser.add_argument("--exclude-unclean", action="store_true", help="leave rollouts with a hygiene flag out")
    parser.add_argument("--lexicon", help="show one lexicon's markers alone, or all (default: strict, peers' rates)")
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FOLDER",
        help=f"for {_VALIDATE}: clones of the repositories of the labelled long texts, to measure on them anew",
    )
    parser.add_argument("--workers", type=int, help="processes that annotate (default: one per available core)")


def run(parsed: argparse.Namespace) -> None:
    if parsed.runs == [Path(_VALIDATE)] and not (parsed.runs[0] / "rollouts").is_dir():
        _validate(parsed.texts, as_json=parsed.json)
        return
    from r1rl.aha.figures import figures, suite
    from r1rl.aha.figures.annotations import compute
    from r1rl.aha.measures import decomposition
    from r1rl.ground.machine import cores_of_a_rank

    with user_errors():
        if parsed.greedy and parsed.kind == "train":
            raise ValueError("--greedy, --kind train: training rollouts are sampled; leave one of the two out")
        parsed.runs = foreign.runs_of(parsed.runs, parsed.out)
        kind = parsed.kind or _kind(parsed.runs)
        selection = figures.Selection(kind, parsed.greedy, parsed.exclude_unclean)
        wanted = figures.chosen(parsed.lexicon)
        figures.check(parsed.figure, [*wanted, *_measured_figures(sql=parsed.sql)])
        workers = cores_of_a_rank() if parsed.workers is None else parsed.workers
        for path in parsed.runs:
            compute(path, kind=kind, workers=workers, progress=sys.stderr.isatty())
        if parsed.sql:
            every = [*wanted, decomposition.TOTAL, *decomposition.FACTORS]
            shown = [figure for figure in every if not parsed.figure or figure.key in parsed.figure]
            _print_sql(parsed.runs, shown, selection)
            return
        results = suite.measure(parsed.runs, selection, figures=wanted)
        more = _more(parsed, selection)
    _show(results, more, parsed)


def _measured_figures(*, sql: bool) -> list[Figure]:
    """The figures that are counted by reading texts, or for SQL those of the decomposition."""
    from r1rl.aha.measures import decomposition, suite

    return [decomposition.TOTAL, *decomposition.FACTORS] if sql else suite.figures()


def _more(parsed: argparse.Namespace, selection: Selection) -> list[tuple[Decomposition | None, Result | None]]:
    """Decomposition and measures of each run, and of all together; without the first where only figures are asked."""
    from r1rl.aha.measures import decomposition, detector_errors, suite

    several = len(parsed.runs) > 1
    gains: list[Decomposition | None] = [None] * (len(parsed.runs) + several)
    if not parsed.figure:
        gains = detector_errors.taken_out(parsed.runs, selection, decomposition.measure(parsed.runs, selection))
    elif not {figure.key for figure in suite.figures()} & set(parsed.figure):
        return [(one, None) for one in gains]
    return list(zip(gains, suite.measure(parsed.runs, selection), strict=True))


def _kind(runs: Sequence[Path]) -> str:
    """The held-out rollouts, but the training's where all runs are imports that have no others."""
    from r1rl.ground import whole_files
    from r1rl.store import store

    for path in runs:
        imported = "imported" in (whole_files.read_json(path / "result.json") or {})
        if not imported or {shard.kind for shard in store.shards(path)} != {"train"}:
            return "eval"
    return "train"


def _show(
    results: Sequence[Result], more: Sequence[tuple[Decomposition | None, Result | None]], parsed: argparse.Namespace
) -> None:
    from rich.console import Console

    from r1rl.aha.figures import terminal
    from r1rl.aha.measures import terminal as measures

    # Into a file or a pipe, nothing need be left out.
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    keys: Sequence[str] = parsed.figure
    for i, (result, (gain, measured)) in enumerate(zip(results, more, strict=True)):
        if parsed.json:
            told = terminal.as_json(result, keys)
            if measured is not None:
                told |= {"decomposition": measures.gain_json(gain), "measures": measures.measures_json(measured, keys)}
            sys.stdout.write(json.dumps(told, allow_nan=False) + "\n")
            continue
        if i:
            console.print()
        rows = []
        if measured is not None:
            rows = measures.rows(gain, measured, short=not (keys or parsed.measures))
            rows = [row for row in rows if not keys or row.figure.key in keys]
        terminal.print_result(result, console, keys, rows)


def _print_sql(runs: Sequence[Path], wanted: Sequence[Figure], selection: Selection) -> None:
    """Statements for any DuckDB; each figure's line gives the numbers of the table at every step."""
    from r1rl.aha.figures import figures
    from r1rl.aha.figures.annotations import views

    for path in runs:
        sys.stdout.write(f"-- {path}\n{views(path)}\n")
        for figure in wanted:
            line = figures.sql(figure, selection)
            sys.stdout.write(f"-- {figure.label}: {figure.definition}\n{line};\n")
        if len(runs) > 1:
            sys.stdout.write("DROP VIEW rollouts; DROP VIEW annotations;\n")


def _validate(texts: Path | None, *, as_json: bool) -> None:
    from r1rl.aha.validate import long_texts, validation

    with user_errors():
        long = None if texts is None else long_texts.scores(long_texts.texts(texts))
    results = validation.run(long)
    if as_json:
        sys.stdout.write(json.dumps(results, indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    rows = validation.lines(results)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    console.print(table)
