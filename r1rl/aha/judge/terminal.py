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
    facts = (
        f"{result.usable} of {result.rollouts} {result.kind} rollouts judged",
        f"{result.prompts} prompts",
        f"{len(result.steps)} step{'s' if len(result.steps) > 1 else ''}",
    )
    console.print(Text.assemble(("run ", "dim"), (visible(result.run), "bold"), "  judge ",
                                (visible(result.model), "bold"), "  ", " · ".join(facts)))  # fmt: skip
    for sentence in replies(result):
        console.print(Text(f"  {sentence}"))
    for void in result.void[:_SHOWN_VOID]:
        if void.quote:
            place = f"step {void.step}, {visible(void.prompt_id)}, sample {void.sample_idx}"
            quote = visible(void.quote)
            cut = "…" if len(quote) > _SHOWN_CHARACTERS else ""
            said = f"    {NAMES[void.label]}, {place}: “{quote[:_SHOWN_CHARACTERS]}{cut}”"
            console.print(Text(said, style="dim"), no_wrap=True, overflow="ellipsis")
    console.print()
    console.print(_table("judge beside detector", "the detector finds", ("judge", "detector"),
                         {label: row.agreement for label, row in result.rows.items()}, detectors=True))  # fmt: skip
    if len(result.steps) > 1:
        console.print()
        console.print(_rates(result))
    for other, by_label in result.others.items():
        console.print()
        console.print(_table(f"judge beside {visible(other)}", "", ("this one", "the other"), by_label))


def replies(result: Result) -> list[str]:
    """What came back, as sentences."""
    said = []
    if result.unusable:
        said.append(f"Unusable replies: {_listed(result.unusable)}.")
    if result.unanswered:
        said.append(f"Without a reply: {_listed(result.unanswered)}.")
    faults = Counter(void.fault for void in result.void)
    if result.claims:
        void = f": {_listed(faults)}" if faults else ""
        said.append(f"Void claims, left out: {len(result.void)} of {result.claims}{void}.")
    return said


def as_json(result: Result) -> dict[str, Any]:
    """Everything the tables show and more, as JSON values."""
    return {
        "run": result.run,
        "kind": result.kind,
        "model": result.model,
        "prompt_version": PROMPT_VERSION,
        "detector_version": DETECTOR_VERSION,
        "steps": list(result.steps),
        "prompts": result.prompts,
        "rollouts": result.rollouts,
        "judged": result.usable,
        "unusable": dict(result.unusable),
        "unanswered": dict(result.unanswered),
        "claims": result.claims,
        "void": [dataclasses.asdict(void) for void in result.void],
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


def _table(
    title: str, heading: str, readers: tuple[str, str], by_label: Mapping[str, Agreement], *, detectors: bool = False
) -> Table:
    table = _plain_table()
    table.add_column(title, no_wrap=True)
    if detectors:
        table.add_column(heading, style="dim")
    for name in ("both", *(f"{reader} only" for reader in readers), "neither", "agree", "kappa (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, one in by_label.items():
        counts = (one.both, one.first_only, one.second_only, one.neither)
        cells = [*map(str, counts), "–" if one.raw is None else f"{one.raw:.1%}".replace("%", " %"), _kappa(one.kappa)]
        table.add_row(NAMES[label], *([DETECTORS[label][0]] if detectors else []), *cells)
    return table


def _rates(result: Result) -> Table:
    first, last = (
        f"step {step} (n {count})"
        for step, count in zip((result.steps[0], result.steps[-1]), result.at_ends, strict=True)
    )
    table = _plain_table()
    table.add_column("share of rollouts", no_wrap=True)
    table.add_column("seen by", no_wrap=True, style="dim")
    for name in (first, last, "change in points (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, row in result.rows.items():
        for reader, seen in (("judge", row.judge), ("detector", row.detector)):
            cells = (number(seen.first.value, "share"), number(seen.last.value, "share"), change(seen.change, "share"))
            table.add_row(NAMES[label] if reader == "judge" else "", reader, *cells)
    return table


def _plain_table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def _kappa(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    shown = f"{estimate.value:.2f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} ({estimate.low:.2f} … {estimate.high:.2f})"


def _agreement(one: Agreement, first: str, second: str) -> dict[str, Any]:
    return {
        "both": one.both,
        f"{first}_only": one.first_only,
        f"{second}_only": one.second_only,
        "neither": one.neither,
        "prompts": one.prompts,
        "agree": one.raw,
        "kappa": dataclasses.asdict(one.kappa),
    }


def _listed(counts: Mapping[str, int]) -> str:
    """The most frequent first; some endpoints put a number of the request into every message."""
    most = Counter(counts).most_common()
    rest = sum(count for _, count in most[_SHOWN_REASONS:])
    shown = [f"{count} {visible(name)}" for name, count in most[:_SHOWN_REASONS]]
    return ", ".join([*shown, *([f"{rest} for other reasons"] if rest else [])])
