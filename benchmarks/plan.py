"""All benchmarks, one after the other: each part is kept as a file, and BENCHMARKS.md is made of what is kept."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from benchmarks import aha, graders, growth, reader, rollout, train
from benchmarks.rows import Row, markdown_table
from r1rl.ground import whole_files
from r1rl.ground.machine import has_bf16_kernels

SUMMARY = "All benchmarks; writes BENCHMARKS.md."
MODULES: Final[dict[str, Any]] = {
    module.__name__.rpartition(".")[2]: module for module in (train, rollout, growth, graders, aha, reader)
}
_TURNS: Final = ("train", "rollout", "growth")
_PACKAGES: Final = ("r1rl", "torch", "transformers", "trl", "accelerate", "numpy", "pyarrow", "duckdb", "math-verify")
_HEAD: Final = """\
# Benchmarks

Every table comes from one run in which both sides take turns, and shows medians. The ratio is ours / peer, the median
of the ratios of neighbouring turns, behind it the least and the greatest of them: above 1 is better for speeds and
shares, below 1 for times, operations and memory.

The peer of steps and of sampling is plain TRL 1.16: its own trainer with `generate`, nothing overridden, the same
model, problems, rewards, optimizer, sampling settings, number formats, threads and seed. Gradient checkpointing, which
it would turn on and which costs time, is off on both sides, and it has the fastest of several micro-batches, so its
memory is that of its fastest setting. Both sides draw from the same distribution with random numbers of their own,
so what they sampled has its own rows. Useful in the update are the tokens of completions with an advantage and of each
prompt once; where prompts begin alike and that is forwarded once, the share is above 1. Where no rollout has signal
our update does nothing, and the table says "nothing earned". A learning rate of 1e-7 keeps the policy, and so the
lengths, the same in all turns. Our side writes its rollouts and metrics, as always, and keeps freed memory for reuse,
as `r1rl train` does.

Made by `make bench DATA=DATA`, which runs the commands below, with

"""


@dataclass(frozen=True)
class Part:
    """A table of the page: its name for `--only`, its title, the words that measure it, whether it reads the data."""

    name: str
    title: str
    words: tuple[str, ...]
    data: bool = False

    def command(self, parsed: argparse.Namespace) -> list[str]:
        """The words after `python -m benchmarks`; of an option that is given twice, the last counts."""
        given: dict[str, Any] = {"--seed": parsed.seed, "--data": parsed.data if self.data else None}
        if self.words[0] in _TURNS:
            given |= {"--repeats": parsed.repeats, "--threads": parsed.threads}
        return [*self.words, *(w for option, value in given.items() if value is not None for w in (option, str(value)))]


def _step(name: str, title: str, *words: str, data: bool = False) -> Part:
    # A process's first step touches its memory for the first time and its optimizer makes its state.
    return Part(f"train-{name}", title, ("train", "--warmup", "1", "--preset", *words), data)


_FP32, _BF16 = ("--dtype", "fp32"), ("--dtype", "bf16")
PLAN: Final = (
    _step("signal-bf16", "A whole step, every group with signal, bf16", "smollm2-signal", *_BF16),
    _step("signal-fp32", "A whole step, every group with signal, fp32", "smollm2-signal", *_FP32),
    _step("fewshot-nostop", "A whole step with worked examples", "smollm2-fewshot-nostop", data=True),
    _step("tiny", "The tiny recipe's step", "tiny", "--repeats", "7"),
    Part("rollout-short-bf16", "Sampling alone, bf16", ("rollout", "--preset", "smollm2-short", *_BF16)),
    Part("rollout-short-fp32", "Sampling alone, fp32", ("rollout", "--preset", "smollm2-short", *_FP32)),
    Part(
        "rollout-longtail", "Sampling with a long tail", ("rollout", "--peers", "trl", "--preset", "smollm2-longtail")
    ),
    Part("growth-group", "How a step grows with the group", ("growth", "--over", "group")),
    Part("growth-cap", "How a step grows with the cap", ("growth", "--over", "cap")),
    Part("growth-processes", "How a step grows with processes", ("growth", "--over", "processes")),
    Part("graders", "Graders", ("graders",), data=True),
    Part("aha", "Annotations", ("aha",)),
)


@dataclass(frozen=True)
class Kept:
    """A part as it was measured: its words, the time of its end, the seconds it took, the versions it hangs on."""

    words: list[str]
    date: str
    seconds: float
    versions: dict[str, str]
    rows: list[Row]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="the problems' folder; without it, parts are left out"
    )
    names = [part.name for part in PLAN]
    parser.add_argument("--only", nargs="+", choices=names, help="measure these, also where they are kept")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every part (default: 0)")
    parser.add_argument("--repeats", type=int, metavar="N", help="turns of each side (default: each part's own)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch, on both sides (default: all cores)")
    for name, default, what in (("output", "BENCHMARKS.md", "the page"), ("rows", "runs/bench", "the parts' folder")):
        shown = f"{what} (default: {default})"
        parser.add_argument(f"--{name}", type=Path, default=Path(default), metavar="PATH", help=shown)


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Measure every part that is not kept, and write the page after each. A part that is named is measured again."""
    plan = chosen(parsed)
    kept = {part.name: found for part in PLAN if (found := read(parsed.rows / f"{part.name}.json")) is not None}
    done = {part.name for part in plan if part.name in kept and kept[part.name].words == part.command(parsed)}
    if parsed.only is not None or len(done) == len(plan):
        done = set()
    if done:
        sys.stderr.write(f"{len(done)} of {len(plan)} parts are in {parsed.rows} already; going on\n")
    for part in tqdm([part for part in plan if part.name not in done], desc="benchmarks", unit="part"):
        words, started = part.command(parsed), time.perf_counter()
        rows = _measured(words)
        now = datetime.datetime.now().isoformat(" ", "minutes")
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        kept[part.name] = Kept(words, now, round(time.perf_counter() - started, 1), versions, rows)
        _write(parsed.rows / f"{part.name}.json", json.dumps(dataclasses.asdict(kept[part.name])))
        _write(parsed.output, page([(other.title, kept[other.name]) for other in PLAN if other.name in kept]))
    return [row for part in plan for row in kept[part.name].rows]


def chosen(parsed: argparse.Namespace) -> list[Part]:
    """The parts of the plan that are asked for and can be measured here.

    Raises:
        ValueError: one that is named needs the data folder.
    """
    left = []
    for part in PLAN if parsed.only is None else [part for part in PLAN if part.name in parsed.only]:
        if "bf16" in part.words and not has_bf16_kernels():
            sys.stderr.write(f"{part.name}: left out, this processor has no bf16 instructions\n")
        elif not part.data or parsed.data is not None:
            left.append(part)
        elif parsed.only is not None:
            raise ValueError(f"data=None: {part.name} reads problems; give their folder with --data")
    return left


def read(path: Path) -> Kept | None:
    """A part that is kept; None where it is not. Raises ValueError where the file is something else."""
    if not path.is_file():
        return None
    try:
        return Kept(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"rows={str(path.parent)!r}: {path.name} is no part of a benchmark; delete it") from error


def page(parts: Sequence[tuple[str, Kept]]) -> str:
    """The text of the page, from (title, part)."""
    made_with = dict.fromkeys(", ".join(f"{n} {v}" for n, v in part.versions.items()) for _, part in parts)
    machines = dict.fromkeys(row["machine"] for _, part in parts for row in part.rows)
    text = _HEAD + "".join(f"- {line}\n" for line in (*made_with, *machines))
    for title, part in parts:
        # Where the data lies is no one else's concern.
        words = ["DATA" if before == "--data" else word for before, word in zip(["", *part.words], part.words)]  # noqa: B905
        took = f"{part.seconds:.0f} s" if part.seconds < 90 else f"{part.seconds / 60:.0f} min"
        text += f"\n## {title}\n\n`python -m benchmarks {' '.join(words)}`, {part.date}, {took}\n\n"
        text += markdown_table(part.rows)
    return text


def _measured(words: Sequence[str]) -> list[Row]:
    module = MODULES[words[0]]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    rows: list[Row] = module.measure(parser.parse_args(list(words[1:])))
    return rows


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write_text(path, text)
