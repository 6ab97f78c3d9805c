"""All benchmarks, one after the other, and the page that shows them."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from r1rl.bench import graders, growth, plot, rollout, store, train
from r1rl.bench.paired import Row
from r1rl.bench.tables import markdown_table

SUMMARY = "All benchmarks; writes BENCHMARKS.md."

_MODULES: Final[dict[str, Any]] = {
    "train": train, "rollout": rollout, "growth": growth, "graders": graders, "store": store,
}  # fmt: skip
_PACKAGES: Final = ("r1rl", "torch", "transformers", "trl", "accelerate", "numpy", "pyarrow", "duckdb", "math-verify")
_HEAD: Final = """\
# Benchmarks

Every table comes from one run in which both sides take turns, and shows medians. The ratio is ours / peer, the median
of the ratios of neighbouring turns: above 1 is better for speeds and shares, below 1 for times, operations and memory.
In the tables of the store, it is the peer's time / ours. The peer of steps and of sampling is plain TRL 1.16: its own
trainer with `generate`, no override, no gradient checkpointing, the fastest of several micro-batches, the same model,
problems, rewards, optimizer, sampling settings, threads and seed. A learning rate of 1e-7 keeps the policy, and so the
lengths that both sides sample, the same in all turns.

"""


@dataclass(frozen=True)
class Part:
    """A table of the page: its title, the command line that makes it, and whether that reads the data folder."""

    title: str
    words: tuple[str, ...]
    data: str = ""

    @property
    def name(self) -> str:
        """For a file."""
        return "-".join(word for word in (self.words[0], *self.words[2:]) if not word.startswith("-"))


def _train(title: str, preset: str, *more: str) -> Part:
    return Part(title, ("train", "--preset", preset, *more), "--data" if "fewshot" in preset else "")


PLAN: Final = (
    _train("A whole step, bf16", "smollm2-short", "--dtype", "bf16"),
    _train("A whole step, fp32", "smollm2-short", "--dtype", "fp32"),
    _train("A whole step, every group with signal", "smollm2-signal", "--dtype", "bf16"),
    _train("A whole step with worked examples", "smollm2-fewshot", "--dtype", "bf16"),
    _train("The same without stop strings", "smollm2-fewshot-nostop", "--dtype", "bf16"),
    _train("The tiny recipe's step", "tiny", "--repeats", "7", "--warmup", "1"),
    Part("Sampling alone, bf16", ("rollout", "--preset", "smollm2-short", "--dtype", "bf16")),
    Part("Sampling alone, fp32", ("rollout", "--preset", "smollm2-short", "--dtype", "fp32")),
    Part("Sampling with a long tail", ("rollout", "--preset", "smollm2-longtail", "--dtype", "bf16")),
    Part("How a step grows", ("growth",)),
    Part("Graders", ("graders",), "data"),
    Part("Rollout store", ("store",)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with the problems; without it their parts miss"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every part (default: 0)")
    parser.add_argument(
        "--output", type=Path, default=Path("BENCHMARKS.md"), metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--plot", type=Path, default=Path("docs/growth.svg"), metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--rows",
        type=Path,
        default=Path("runs/bench"),
        metavar="FOLDER",
        help="rows of finished parts (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="take the parts that are finished there")


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Measure every part, then write the page. A part that fails, or a Ctrl-C, leaves the page as it was."""
    made: list[tuple[Part, list[str], list[Row]]] = []
    plan = [part for part in PLAN if parsed.data is not None or not part.data]
    for part in tqdm(plan, desc="benchmarks", unit="part", file=sys.stderr):
        words = [*part.words, "--seed", str(parsed.seed)]
        if part.data:
            words[1:1] = [str(parsed.data)] if part.data == "data" else [part.data, str(parsed.data)]
        kept = parsed.rows / f"{part.name}.json"
        if parsed.resume and kept.is_file():
            rows = json.loads(kept.read_text(encoding="utf-8"))
        else:
            rows = _measured(words)
            _replace(kept, json.dumps(rows))
        made.append((part, words, rows))
    growing = [row for _, _, rows in made for row in rows if row["name"].startswith("growth, ")]
    if growing:
        _replace(parsed.plot, growth_plot(growing))
    shown = os.path.relpath(parsed.plot, parsed.output.parent) if growing else ""
    _replace(parsed.output, page(made, plot_path=shown))
    return [row for _, _, rows in made for row in rows]


def page(made: Sequence[tuple[Part, list[str], list[Row]]], *, plot_path: str = "") -> str:
    """The page's Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES if _installed(name))
    machines = dict.fromkeys(row["machine"] for _, _, rows in made for row in rows)
    text = _HEAD + f"Made on {datetime.date.today().isoformat()} by `make bench`, with {versions}.\n\n"
    text += "".join(f"- {machine}\n" for machine in machines)
    for part, words, rows in made:
        # Where the data lies is no one else's concern.
        shown = ["DATA" if before == "--data" or (words[0] == "graders" and i == 1) else word
                 for i, (before, word) in enumerate(zip(["", *words], words, strict=False))]  # fmt: skip
        text += f"\n## {part.title}\n\n`r1rl bench {' '.join(shown)}`\n\n{markdown_table(rows)}"
        if words[0] == "growth" and plot_path:
            text += f"\n![time and memory of a step against the group and the cap]({plot_path})\n"
    return text


def growth_plot(rows: Sequence[Row]) -> str:
    """Curves of the rows of `growth` that name a size."""
    charts = []
    for figure, unit in (("time of the step", "s"), ("peak memory", "GB")):
        for size, label in (("group", "rollouts a prompt"), ("cap", "tokens a completion")):
            start = f"growth, {size}: {figure} at "
            chosen = [row for row in rows if row["name"].startswith(start)]
            curves: dict[str, list[tuple[float, float]]] = {
                name: [(float(row["name"].removeprefix(start)), row[side]) for row in chosen]
                for side, name in (("ours", "r1rl"), ("peer", "plain TRL"))
            }
            if chosen:
                charts.append((f"{figure}, by {size}", label, unit, curves))
    return plot.panels(charts)


def _measured(words: Sequence[str]) -> list[Row]:
    module = _MODULES[words[0]]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    run: Callable[[argparse.Namespace], list[Row]] = module.measure
    return run(parser.parse_args(list(words[1:])))


def _replace(path: Path, text: str) -> None:
    """Write a whole file: it is either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
