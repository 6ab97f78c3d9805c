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

SUMMARY = "Measure reflection in a run's rollouts, against step 0."
EXAMPLES = """\
examples:
  r1rl aha runs/countdown-1
  r1rl aha runs/seed0 runs/seed1 runs/seed2
  r1rl aha runs/countdown-1 --figure retried --sql
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
    from r1rl.ground.machine import cores_of_a_rank

    with user_errors():
        if parsed.greedy and parsed.kind == "train":
            raise ValueError("--greedy, --kind train: training rollouts are sampled; leave one of the two out")
        parsed.runs = foreign.runs_of(parsed.runs, parsed.out)
        kind = parsed.kind or _kind(parsed.runs)
        selection = figures.Selection(kind, parsed.greedy, parsed.exclude_unclean)
        wanted = figures.chosen(parsed.lexicon)
        figures.check(parsed.figure, wanted)
        workers = cores_of_a_rank() if parsed.workers is None else parsed.workers
        for path in parsed.runs:
            compute(path, kind=kind, workers=workers, progress=sys.stderr.isatty())
        if parsed.sql:
            shown = [figure for figure in wanted if not parsed.figure or figure.key in parsed.figure]
            _print_sql(parsed.runs, shown, selection)
            return
        results = suite.measure(parsed.runs, selection, figures=wanted)
    _show(results, parsed.figure, as_json=parsed.json)


def _kind(runs: Sequence[Path]) -> str:
    """The held-out rollouts, but the training's where all runs are imports that have no others."""
    from r1rl.ground import whole_files
    from r1rl.store import store

    for path in runs:
        imported = "imported" in (whole_files.read_json(path / "result.json") or {})
        if not imported or {shard.kind for shard in store.shards(path)} != {"train"}:
            return "eval"
    return "train"


def _show(results: Sequence[Result], keys: Sequence[str], *, as_json: bool) -> None:
    from rich.console import Console

    from r1rl.aha.figures import terminal

    # Into a file or a pipe, nothing need be left out.
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    for i, result in enumerate(results):
        if as_json:
            sys.stdout.write(json.dumps(terminal.as_json(result, keys), allow_nan=False) + "\n")
            continue
        if i:
            console.print()
        terminal.print_result(result, console, keys)


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
    Console().print(table)
