"""All benchmarks, one after the other, and the page that shows them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from benchmarks import aha, graders, growth, inspect, page, rollout, store, train
from benchmarks.paired import Row, Stopped
from r1rl.ground.errors import nearest
from r1rl.ground.machine import has_bf16_kernels

SUMMARY = "All benchmarks; writes BENCHMARKS.md."
EXAMPLES = """\
examples:
  r1rl bench all --data data
  r1rl bench all --only train-tiny growth-group
  r1rl bench all --repeats 1 --output preview.md --rows runs/preview

Every part is kept as soon as it is measured, and the page shows what is kept. After a Ctrl-C or a failure, the same
command goes on where it was; once all parts are there, it begins anew. `make bench DATA=data` is the first example."""

_MODULES: Final[dict[str, Any]] = {
    "train": train, "rollout": rollout, "growth": growth, "graders": graders, "store": store, "inspect": inspect,
    "aha": aha,
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A table of the page: its title, the command line that makes it, and whether that reads the data folder."""

    title: str
    words: tuple[str, ...]
    data: str = ""

    @property
    def name(self) -> str:
        """For a file and for --only."""
        values = [word for word in self.words[1:] if not word.startswith("-") and not word.isdigit()]
        return "-".join((self.words[0], *values)).replace("smollm2-", "")

    @property
    def repeated(self) -> bool:
        """Whether its sides take turns as often as they are told to."""
        return self.words[0] in ("train", "rollout", "growth", "inspect")

    def command(self, parsed: argparse.Namespace) -> list[str]:
        """The words after `r1rl bench`."""
        words = [*self.words, "--seed", str(parsed.seed)]
        if self.repeated and parsed.repeats is not None:
            if "--repeats" not in words:
                words += ["--repeats", ""]
            words[words.index("--repeats") + 1] = str(parsed.repeats)
        if self.words[0] in ("train", "rollout", "growth") and parsed.threads is not None:
            words += ["--threads", str(parsed.threads)]
        if self.data:
            words[1:1] = [str(parsed.data)] if self.data == "data" else [self.data, str(parsed.data)]
        return words


def _train(title: str, preset: str, *more: str) -> Part:
    return Part(title, ("train", "--preset", preset, *more), "--data" if "fewshot" in preset else "")


# A process's first step touches its memory for the first time and its optimizer makes its state.
_WARM: Final = ("--warmup", "1")
PLAN: Final = (
    _train("A whole step, bf16", "smollm2-short", "--dtype", "bf16", *_WARM),
    _train("A whole step, every group with signal, bf16", "smollm2-signal", "--dtype", "bf16", *_WARM),
    _train("A whole step, fp32", "smollm2-short", "--dtype", "fp32", *_WARM),
    _train("A whole step, every group with signal, fp32", "smollm2-signal", "--dtype", "fp32", *_WARM),
    _train("A whole step with worked examples", "smollm2-fewshot", *_WARM),
    _train("The same without stop strings", "smollm2-fewshot-nostop", *_WARM),
    _train("The tiny recipe's step", "tiny", "--repeats", "7", *_WARM),
    Part("Sampling alone, bf16", ("rollout", "--preset", "smollm2-short", "--dtype", "bf16")),
    Part("Sampling alone, fp32", ("rollout", "--preset", "smollm2-short", "--dtype", "fp32")),
    Part("Sampling with a long tail", ("rollout", "--preset", "smollm2-longtail", "--peers", "trl")),
    Part("How a step grows with the group", ("growth", "--over", "group")),
    Part("How a step grows with the cap", ("growth", "--over", "cap")),
    Part("How a step grows with processes", ("growth", "--over", "processes")),
    Part("Graders", ("graders",), "data"),
    Part("Rollout store", ("store",)),
    Part("Report and pages of rollouts", ("inspect",)),
    Part("Annotations", ("aha",)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with the problems; without it their parts are left out"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PART", help=f"measure these and nothing else: {', '.join(p.name for p in PLAN)}"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every part (default: 0)")
    parser.add_argument("--repeats", type=int, metavar="N", help="turns of each side (default: each part's own)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch, on both sides (default: all cores)")
    for name, default, what in (
        ("output", "BENCHMARKS.md", "the page"),
        ("plot", "docs/growth.svg", "the curves in it"),
        ("rows", "runs/bench", "folder of the parts that were measured"),
    ):
        parser.add_argument(
            f"--{name}", type=Path, default=Path(default), metavar="PATH", help=f"{what} (default: {default})"
        )


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Measure every part that is not kept, and write the page after each."""
    if parsed.repeats is not None and parsed.repeats < 1:
        raise ValueError(f"repeats={parsed.repeats}: need at least 1")
    plan = chosen(parsed)
    kept = page.read(parsed.rows, [part.name for part in PLAN])
    done = {part.name for part in plan if part.name in kept and kept[part.name].words == part.command(parsed)}
    if parsed.only is not None or len(done) == len(plan):
        done = set()
    if done:
        sys.stderr.write(f"{len(done)} of {len(plan)} parts are in {parsed.rows} already; going on\n")
    for part in tqdm(plan, desc="benchmarks", unit="part", file=sys.stderr):
        if part.name in done:
            continue
        words, started = part.command(parsed), time.perf_counter()
        try:
            rows = _measured(words)
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"\nstopped in {part.name}; the same command goes on there\n")
            raise Stopped(interrupt.rows if isinstance(interrupt, Stopped) else []) from None
        kept[part.name] = page.keep(parsed.rows, part.name, words, time.perf_counter() - started, rows)
        shown = [(other.title, kept[other.name]) for other in PLAN if other.name in kept]
        page.write(parsed.output, parsed.plot, shown)
    return [row for part in plan for row in kept[part.name].rows]


def chosen(parsed: argparse.Namespace) -> list[Part]:
    """The parts of the plan that are asked for.

    Raises:
        ValueError: one is unknown, or needs the data folder.
    """
    names = [part.name for part in PLAN]
    for name in parsed.only or []:
        if name not in names:
            raise ValueError(f"only={name!r}: known are {', '.join(names)}{nearest(name, names)}")
    plan = [part for part in PLAN if parsed.only is None or part.name in parsed.only]
    if not has_bf16_kernels():
        for part in plan:
            if "bf16" in part.words:
                sys.stderr.write(f"{part.name}: left out, this processor has no bf16 instructions\n")
        plan = [part for part in plan if "bf16" not in part.words]
    if parsed.data is not None:
        return plan
    for part in plan:
        if part.data and parsed.only is not None:
            raise ValueError(f"data=None: {part.name} reads problems; give their folder with --data")
    return [part for part in plan if not part.data]


def _measured(words: Sequence[str]) -> list[Row]:
    module = _MODULES[words[0]]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    run: Callable[[argparse.Namespace], list[Row]] = module.measure
    return run(parser.parse_args(list(words[1:])))
