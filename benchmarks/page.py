"""BENCHMARKS.md: the parts that were measured, kept as files until the next time, and the page made of them."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import plot
from benchmarks.paired import Row
from benchmarks.tables import markdown_table
from r1rl.ground import whole_files

_PACKAGES: Final = ("r1rl", "torch", "transformers", "trl", "accelerate", "numpy", "pyarrow", "duckdb", "math-verify")
_HEAD: Final = """\
# Benchmarks

Every table comes from one run in which both sides take turns, and shows medians. The ratio is ours / peer, the median
of the ratios of neighbouring turns: above 1 is better for speeds and shares, below 1 for times, operations and memory.
In the tables of the store, it is the peer's time / ours.

The peer of steps and of sampling is plain TRL 1.16: its own trainer with `generate`, nothing overridden, the same
model, problems, rewards, optimizer, sampling settings, number formats, threads and seed. Gradient checkpointing, which
it would turn on and which costs time, is off on both sides, and it has the fastest of several micro-batches, so its
memory is that of its fastest setting. Both sides draw from the same distribution with random numbers of their own,
so what they sampled has its own rows. Useful in the update are the tokens of completions with an advantage and of each
prompt once; where prompts begin alike and that is forwarded once, the share is above 1. A learning rate of 1e-7 keeps
the policy, and so the lengths, the same in all turns. Our side writes its rollouts and metrics, as always, and keeps
freed memory for reuse, as `r1rl train` does.

"""


@dataclass(frozen=True)
class Kept:
    """A part as it was measured.

    Args:
        words: after `r1rl bench`.
        date: and time of its end.
        seconds: that it took.
        versions: of the packages that it hangs on.
    """

    words: list[str]
    date: str
    seconds: float
    versions: dict[str, str]
    rows: list[Row]


def keep(folder: Path, name: str, words: list[str], seconds: float, rows: list[Row]) -> Kept:
    """Write a part's file, whole or not at all."""
    now = datetime.datetime.now().isoformat(" ", "minutes")
    kept = Kept(words, now, round(seconds, 1), versions(), rows)
    _write(folder / f"{name}.json", json.dumps(dataclasses.asdict(kept)))
    return kept


def read(folder: Path, names: Sequence[str]) -> dict[str, Kept]:
    """The parts that are kept there, by name.

    Raises:
        ValueError: a file is something else.
    """
    found = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.is_file():
            try:
                found[name] = Kept(**json.loads(path.read_text(encoding="utf-8")))
            except (TypeError, ValueError) as error:
                raise ValueError(f"rows={str(folder)!r}: {path.name} is no part of a benchmark; delete it") from error
    return found


def write(output: Path, plot_path: Path, parts: Sequence[tuple[str, Kept]]) -> None:
    """Write the page of (title, part), and the curves where growth was measured."""
    growing = [row for _, part in parts for row in part.rows if row["name"].startswith("growth, ")]
    shown = ""
    if growing:
        _write(plot_path, growth_plot(growing))
        shown = os.path.relpath(plot_path, output.parent)
    _write(output, markdown(parts, plot_path=shown))


def markdown(parts: Sequence[tuple[str, Kept]], *, plot_path: str = "") -> str:
    """The page's text."""
    made_with = dict.fromkeys(", ".join(f"{n} {v}" for n, v in part.versions.items()) for _, part in parts)
    machines = dict.fromkeys(row["machine"] for _, part in parts for row in part.rows)
    text = _HEAD + "Made by `make bench DATA=DATA`, which runs the commands below, with\n\n"
    text += "".join(f"- {line}\n" for line in (*made_with, *machines))
    last_growth = max((i for i, (_, part) in enumerate(parts) if part.words[0] == "growth"), default=-1)
    for i, (title, part) in enumerate(parts):
        # Where the data lies is no one else's concern.
        shown = ["DATA" if before == "--data" or (part.words[0] == "graders" and i == 1) else word
                 for i, (before, word) in enumerate(zip(["", *part.words], part.words, strict=False))]  # fmt: skip
        text += f"\n## {title}\n\n`r1rl bench {' '.join(shown)}`, {part.date}, {_duration(part.seconds)}\n\n"
        text += markdown_table(part.rows)
        if i == last_growth and plot_path:
            text += f"\n![time and memory of a step against the group and the cap]({plot_path})\n"
    return text


def growth_plot(rows: Sequence[Row]) -> str:
    """Curves of the rows of `growth` that name a size, as SVG."""
    charts = []
    for figure, unit in (("time of the step", "s"), ("peak memory", "GB")):
        for size, label in (("group", "rollouts a prompt"), ("cap", "tokens a completion"), ("processes", "processes")):
            start = f"growth, {size}: {figure} at "
            chosen = [row for row in rows if row["name"].startswith(start)]
            curves: dict[str, list[tuple[float, float]]] = {
                name: [(float(row["name"].removeprefix(start)), row[side]) for row in chosen]
                for side, name in (("ours", "r1rl"), ("peer", "plain TRL"))
            }
            if chosen:
                charts.append((f"{figure}, by {size}", label, unit, curves))
    return plot.panels(charts, columns=3)


def versions() -> dict[str, str]:
    """Of the packages that the figures hang on, those that are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write_text(path, text)
