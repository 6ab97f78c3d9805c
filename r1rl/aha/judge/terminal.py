"""A judge's opinion for readers, as tables and as one JSON object."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from r1rl.aha.detect.annotation import DETECTOR_VERSION
from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.conclusion import number
from r1rl.aha.judge.agreement import Agreement
from r1rl.aha.judge.judged import Result
from r1rl.aha.judge.labels import LABELS, PROMPT_VERSION, visible
from r1rl.aha.judge.sample import DETECTORS

NAMES: Final[Mapping[str, str]] = {**LABELS, "any": "any of these"}
_SHOWN: Final = 5


def print_result(result: Result, console: Console) -> None:
    """Who was asked about what, what came back, and a table for each other reader."""
    steps = f"{len(result.steps)} step{'s' if len(result.steps) > 1 else ''}"
    facts = f"{result.judged} of {result.rollouts} {result.kind} rollouts judged · {result.prompts} prompts · {steps}"
    run, model = ((visible(name), "bold") for name in (result.run, result.model))
    console.print(Text.assemble(("run ", "dim"), run, "  judge ", model, "  ", facts))
    for sentence in replies(result):
        console.print(Text(f"  {sentence}"))
    for name, by_label in result.agreement.items():
        console.print()
        console.print(_beside(name, by_label))


def replies(result: Result) -> list[str]:
    """What came back, as sentences."""
    said = [f"Not judged: {_listed(result.left_out)}."] if result.left_out else []
    void = f": {_listed(result.void)}" if result.void else ""
    return [*said, f"Void claims, left out: {sum(result.void.values())} of {result.claims}{void}."]


def as_json(result: Result) -> dict[str, Any]:
    """Everything the tables show and more, as JSON values."""
    versions = {"prompt_version": PROMPT_VERSION, "detector_version": DETECTOR_VERSION}
    return {**dataclasses.asdict(result), **versions, "detectors": {name: sql for name, (_, sql) in DETECTORS.items()}}


def _beside(name: str, by_label: Mapping[str, Agreement]) -> Table:
    """The judge beside the detectors, or beside another judge."""
    detectors = name == "detector"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(f"judge beside {visible(name)}", no_wrap=True)
    if detectors:
        table.add_column("the detector finds", style="dim")
    other = "detector" if detectors else "other"
    for heading in ("both", "judge only", f"{other} only", "neither", "agree", "kappa (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, one in by_label.items():
        counts = map(str, (one.both, one.judge_only, one.other_only, one.neither))
        finds = [DETECTORS[label][0]] if detectors else []
        table.add_row(NAMES[label], *finds, *counts, number(one.agree, "share"), _kappa(one.kappa))
    return table


def _kappa(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    between = "" if estimate.low is None else f" ({estimate.low:.2f} … {estimate.high:.2f})"
    return f"{estimate.value:.2f}{between}"


def _listed(counts: Mapping[str, int]) -> str:
    """The most frequent first; some endpoints put a number of the request into every message."""
    most = Counter(counts).most_common()
    rest = sum(count for _, count in most[_SHOWN:])
    shown = [f"{count} {visible(name)}" for name, count in most[:_SHOWN]]
    return ", ".join([*shown, *([f"{rest} for other reasons"] if rest else [])])
