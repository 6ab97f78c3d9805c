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
from r1rl.aha.figures.conclusion import change, number
from r1rl.aha.judge.agreement import Agreement
from r1rl.aha.judge.judged import Result
from r1rl.aha.judge.labels import LABELS, PROMPT_VERSION, visible
from r1rl.aha.judge.sample import DETECTORS

NAMES: Final[Mapping[str, str]] = {**LABELS, "any": "any of these"}
_SHOWN_VOID: Final = 5
_SHOWN_REASONS: Final = 5
_SHOWN_CHARACTERS: Final = 80


def print_result(result: Result, console: Console) -> None:
    """Who was asked about what, what came back, and the two tables; with several judges a third."""
    steps = f"{len(result.steps)} step{'s' if len(result.steps) > 1 else ''}"
    facts = f"{result.usable} of {result.rollouts} {result.kind} rollouts judged · {result.prompts} prompts · {steps}"
    run, model = ((visible(name), "bold") for name in (result.run, result.model))
    console.print(Text.assemble(("run ", "dim"), run, "  judge ", model, "  ", facts))
    for sentence in replies(result):
        console.print(Text(f"  {sentence}"))
    for void in result.void[:_SHOWN_VOID]:
        if void.quote:
            quote = visible(void.quote)
            cut = "…" if len(quote) > _SHOWN_CHARACTERS else ""
            place = f"step {void.step}, {visible(void.prompt_id)}, sample {void.sample_idx}"
            said = f"    {NAMES[void.label]}, {place}: “{quote[:_SHOWN_CHARACTERS]}{cut}”"
            console.print(Text(said, style="dim"), no_wrap=True, overflow="ellipsis")
    tables = [_beside("detector", "detector", {label: row.agreement for label, row in result.rows.items()})]
    if len(result.steps) > 1:
        tables.append(_rates(result))
    tables += [_beside(visible(other), "other", by_label) for other, by_label in result.others.items()]
    for table in tables:
        console.print()
        console.print(table)


def replies(result: Result) -> list[str]:
    """What came back, as sentences."""
    said = []
    if result.unusable:
        said.append(f"Unusable replies: {_listed(result.unusable)}.")
    if result.unanswered:
        said.append(f"Without a reply: {_listed(result.unanswered)}.")
    if result.claims:
        faults = Counter(void.fault for void in result.void)
        void = f": {_listed(faults)}" if faults else ""
        said.append(f"Void claims, left out: {len(result.void)} of {result.claims}{void}.")
    return said


def as_json(result: Result) -> dict[str, Any]:
    """Everything the tables show and more, as JSON values."""
    found = dataclasses.asdict(result)
    del found["rows"], found["others"], found["at_ends"]
    judged = found.pop("usable")
    return {
        **found,
        "judged": judged,
        "prompt_version": PROMPT_VERSION,
        "detector_version": DETECTOR_VERSION,
        "labels": {
            label: {
                "detector": DETECTORS[label][0],
                "detector_sql": DETECTORS[label][1],
                "agreement": _agreement(row.agreement, "judge", "detector"),
                "judge": dataclasses.asdict(row.judge),
                "detector_rates": dataclasses.asdict(row.detector),
            }
            for label, row in result.rows.items()
        },
        "judges": {
            other: {label: _agreement(one, "this", "other") for label, one in by_label.items()}
            for other, by_label in result.others.items()
        },
    }


def _beside(name: str, second: str, by_label: Mapping[str, Agreement]) -> Table:
    """The judge beside the detectors, or beside another judge."""
    detectors = second == "detector"
    table = _table(f"judge beside {name}", *(["the detector finds"] if detectors else []))
    first, other = ("judge", "detector") if detectors else ("this one", "the other")
    for heading in ("both", f"{first} only", f"{other} only", "neither", "agree", "kappa (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, one in by_label.items():
        counts = (one.both, one.first_only, one.second_only, one.neither)
        agree = "–" if one.raw is None else f"{100 * one.raw:.1f} %"
        finds = [DETECTORS[label][0]] if detectors else []
        table.add_row(NAMES[label], *finds, *map(str, counts), agree, _kappa(one.kappa))
    return table


def _rates(result: Result) -> Table:
    table = _table("share of rollouts", "seen by")
    for step, count in zip((result.steps[0], result.steps[-1]), result.at_ends, strict=True):
        table.add_column(f"step {step} (n {count})", justify="right", no_wrap=True)
    table.add_column("change in points (95 %)", justify="right", no_wrap=True)
    for label, row in result.rows.items():
        for name, reader, seen in ((NAMES[label], "judge", row.judge), ("", "detector", row.detector)):
            cells = (number(seen.first.value, "share"), number(seen.last.value, "share"), change(seen.change, "share"))
            table.add_row(name, reader, *cells)
    return table


def _table(first: str, *second: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for heading in second:
        table.add_column(heading, style="dim")
    return table


def _kappa(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    between = "" if estimate.low is None else f" ({estimate.low:.2f} … {estimate.high:.2f})"
    return f"{estimate.value:.2f}{between}"


def _agreement(one: Agreement, first: str, second: str) -> dict[str, Any]:
    found = dataclasses.asdict(one)
    renamed = {"first_only": f"{first}_only", "second_only": f"{second}_only", "raw": "agree"}
    return {renamed.get(name, name): value for name, value in found.items()}


def _listed(counts: Mapping[str, int]) -> str:
    """The most frequent first; some endpoints put a number of the request into every message."""
    most = Counter(counts).most_common()
    rest = sum(count for _, count in most[_SHOWN_REASONS:])
    shown = [f"{count} {visible(name)}" for name, count in most[:_SHOWN_REASONS]]
    return ", ".join([*shown, *([f"{rest} for other reasons"] if rest else [])])
