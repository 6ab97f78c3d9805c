"""r1rl counterfactual: does reflecting change the answer? Measured by asking a model on from inside its rollouts."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl.commands import user_errors
from r1rl.commands.endpoints import add_limits, limits_of
from r1rl.commands.foreign import add_out, runs_of

if TYPE_CHECKING:
    from r1rl.aha.counterfactual.figures import Result
    from r1rl.aha.counterfactual.ratios import Measured

MEASURES = ("arms", "entropy", "thinking", "errors", "verification")  # of counterfactual.store
SUMMARY = "Measure what reflecting is worth: a run's own checkpoints, or any model, go on from inside rollouts."
EXAMPLES = """\
examples:
  r1rl counterfactual runs/countdown-1
  r1rl counterfactual runs/seed0 runs/seed1 runs/seed2
  r1rl counterfactual runs/countdown-1 --steps 0 40 100 --points 400
  r1rl counterfactual runs/countdown-1 --measure entropy thinking errors verification --json
  r1rl counterfactual their-rollouts.jsonl --model Qwen/Qwen2.5-1.5B --points 50
  r1rl counterfactual runs/theirs --model http://127.0.0.1:8000/v1#MODEL --measure thinking

Rollouts of the run's held-out evaluations are cut where they reflect, and the policy that wrote them goes on: with the
answer forced before (A) or after the reflection (B), with reflective words banned (C) or freely (D), and with "Wait,"
injected elsewhere (E); the same at random boundaries is the placebo. On Countdown, values are falsified as well. Step 0
is the model that the run began with; other steps need a checkpoint. What was sampled is kept in RUN/counterfactual/,
and a measurement that was cut off goes on where it stopped. With several runs (seeds of one recipe) each is shown, and
all together at every step that all of them have, with intervals for new seeds and new problems.

--measure names others: entropy where a reflection begins, and words injected where it is high; thinking, the True
Thinking Score of each step; errors, own and somebody else's; verification of own answers when asked (docs/measures.md).
With --model any model goes on, from a run, an import, or another tool's files: a folder, a hub name, base:…, package:…,
or URL#MODEL of a completions endpoint. Of an endpoint, arms and entropy need log-probabilities of the likeliest tokens
(logprobs), thinking those of the prompt (echo); vLLM has both. Its key is in R1RL_EVAL_KEY, else OPENAI_API_KEY."""

_FILE_WIDTH = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, or another tool's rollouts")
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=["arms"], help="what to ask (default: arms)")
    parser.add_argument("--model", metavar="MODEL", help="who goes on: a model, or URL#MODEL (default: the run's own)")
    parser.add_argument("--steps", type=int, nargs="+", metavar="STEP", help="default: the first and the last there is")
    parser.add_argument("--points", type=int, default=200, help="markers, values, steps, …, a step (default: 200)")
    parser.add_argument("--samples", type=int, default=2, help="continuations an arm and point (default: 2)")
    parser.add_argument("--max-rollouts", type=int, default=2000, metavar="N", help="to draw them from (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--lexicon", default="strict", help="whose markers to cut at and to ban (default: strict)")
    parser.add_argument("--inject", metavar="TEXT", help='default: "Wait," as the vocabulary spells it')
    parser.add_argument("--answer", metavar="TEXT", help="what forces an answer; default: as the rollouts begin theirs")
    parser.add_argument("--temperature", type=float, metavar="T", help="default: as the rollouts were sampled")
    parser.add_argument("--top-p", type=float, metavar="P", help="default: as the rollouts were sampled")
    parser.add_argument("--extraction", metavar="NAME", help="where answers stand; default: as the recipe, or the text")
    parser.add_argument("--verify-tokens", type=int, default=64, metavar="N", help="longest verdict (default: 64)")
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a run, measure and step, no more")
    add_limits(parser)


def run(parsed: argparse.Namespace) -> None:
    from r1rl.aha.counterfactual import store
    from r1rl.aha.counterfactual.settings import Settings
    from r1rl.aha.figures import suite
    from r1rl.verify import extraction

    names = [field.name for field in dataclasses.fields(Settings)]
    with user_errors():
        asked = Settings(**{name: getattr(parsed, name) for name in names})
        if asked.extraction is not None:
            extraction.get(asked.extraction)
        limits = limits_of(parsed)
        folders = runs_of(parsed.runs, parsed.out)
        runs = suite.run_names(folders)
        # All of them, before the first is sampled.
        steps = [store.check(path, asked, parsed.steps) for path in folders]
        common = _common(runs, steps)
        for measure in dict.fromkeys(parsed.measure):
            found: list[dict[int, list[dict[str, Any]]]] = []
            for name, path, its in zip(runs, folders, steps, strict=True):
                found.append({})
                for step in its:
                    progress = sys.stderr.isatty()
                    rows = store.compute(path, step, asked, measure, limits=limits, progress=progress)
                    found[-1][step] = rows
                    _show(_measured(measure, [name], step, [rows]), as_json=parsed.json)
            if len(runs) > 1:
                for step in common:
                    every = [of_run[step] for of_run in found]
                    _show(_measured(measure, runs, step, every), as_json=parsed.json)


def _common(runs: Sequence[str], steps: Sequence[Sequence[int]]) -> list[int]:
    found = sorted(set.intersection(*map(set, steps)))
    if not found:
        every = "; ".join(f"{name} {', '.join(map(str, its))}" for name, its in zip(runs, steps, strict=True))
        raise ValueError(
            f"runs: no step in common to put together ({every}); name steps that all of them have: --steps"
        )
    return found


def _measured(
    measure: str, runs: Sequence[str], step: int, rows: Sequence[Sequence[dict[str, Any]]]
) -> Result | Measured:
    from r1rl.aha.counterfactual import figures, store

    if measure == "arms":
        return figures.measure(runs, step, rows)
    for name, its in zip(runs, rows, strict=True):
        if not its:
            raise ValueError(f"run={name!r}, step={step}: its rollouts have nothing that {measure} could ask about")
    return store.figures(measure)(runs, step, rows)


def _show(result: Result | Measured, *, as_json: bool) -> None:
    from rich.console import Console

    from r1rl.aha.counterfactual import store, terminal
    from r1rl.aha.counterfactual.ratios import Measured

    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(result), allow_nan=False) + "\n")
        sys.stdout.flush()
        return
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    if isinstance(result, Measured):
        terminal.print_measured(result, store.module(result.measure).ABOUT, console)
    else:
        terminal.print_result(result, console)
