"""The suite's results for readers, as tables and words, and as one JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from r1rl.aha.detect.annotation import DETECTOR_VERSION
from r1rl.aha.detect.text_kind import COUNTDOWN
from r1rl.aha.figures.conclusion import change, conclude, number, onset_words
from r1rl.aha.figures.suite import Result, Row

UNVALIDATED: Final = "unvalidated"
_LABEL_WIDTH: Final = 24
_WIDE_ENOUGH: Final = {6: 126, 5: 108, 4: 80, 3: 0}  # columns beside the label -> least width of the terminal


def detector_scores(text_kind: str = "") -> dict[str, str]:
    """Detector -> its precision and recall on labelled text of a kind, "0.97 / 0.91", without one on all short texts.

    None of an older version.
    """
    try:
        from r1rl.aha.validate import validation

        stored = validation.stored()
    except (ImportError, OSError, ValueError):
        return {}
    if stored.get("detector_version") != DETECTOR_VERSION:
        return {}
    corpus = validation.CORPUS_OF_KIND.get(text_kind, "labelled")
    return {
        row["detector"]: " / ".join(
            "-" if row[name] is None else f"{row[name]:.2f}" for name in ("precision", "recall")
        )
        for row in stored["scores"]
        if row["corpus"] == corpus and row["texts"]
    }


def detector_lines(rows: Iterable[Row]) -> list[str]:
    """The detectors of the rows' figures with precision, recall and intervals on their kind of free text.

    None for Countdown, which is read exactly: its intervals stand in `r1rl aha validate`.
    """
    from r1rl.aha.validate import validation

    free = validation.CORPUS_OF_KIND.keys() - {COUNTDOWN}
    known = {
        (row.figure.detector, row.text_kind): None
        for row in rows
        if row.figure.detector is not None and row.last.value is not None and row.text_kind in free
    }
    return [
        f"{detector} on {kind}: {validation.figure(detector, validation.CORPUS_OF_KIND[kind])}"
        for detector, kind in known
    ]


def print_result(result: Result, console: Console, keys: Collection[str] = (), more: Sequence[Row] = ()) -> None:
    """One table, the figures without unclean rollouts, and the conclusion; with `keys` those figures alone.

    `more` rows stand at the end of the table.
    """
    facts = [
        result.selection.words,
        f"{result.prompts} prompts",
        f"{result.rollouts} rollouts at each of {len(result.steps)} steps",
    ]
    if result.selection.clean_only:
        facts.append("unclean ones left out")
    if result.left_out:
        facts.append(f"incomplete and left out: step {', '.join(map(str, result.left_out))}")
    title = "runs " if len(result.runs) > 1 else "run "
    console.print(Text.assemble((title, "dim"), (_visible(", ".join(result.runs)), "bold"), "  ", " · ".join(facts)))
    rows = [*(row for key, row in result.rows.items() if not keys or key in keys), *more]
    console.print(table(result.steps, rows, console.width))
    for line in [*result.hidden, *detector_lines(rows)]:
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2)))
    if keys:
        return
    if not result.selection.clean_only and (main := _clean_table(result)) is not None:
        console.print(main)
    print_conclusion(result, console)


def print_conclusion(result: Result, console: Console) -> None:
    """The line of figures, and what they allow to be said."""
    conclusion = conclude(result)
    console.print(Padding(Text(conclusion.figures, style="bold"), (0, 0, 0, 2)))
    for sentence in conclusion.words:
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))


def as_json(result: Result, keys: Collection[str] = ()) -> dict[str, Any]:
    """Everything the table shows and more, as JSON values; with `keys` only those figures."""
    conclusion = conclude(result)
    return {
        "runs": list(result.runs),
        "kind": result.selection.kind,
        "greedy": result.selection.greedy,
        "detector_version": DETECTOR_VERSION,
        "exclude_unclean": result.selection.clean_only,
        "steps": list(result.steps),
        "incomplete_steps": list(result.left_out),
        "prompts": result.prompts,
        "rollouts_per_step": result.rollouts,
        "emerged": conclusion.emerged,
        "conclusion": [conclusion.figures, *conclusion.words],
        "not_measured": list(result.hidden),
        "figures": figures_json([row for key, row in result.rows.items() if not keys or key in keys]),
    }


def figures_json(rows: Iterable[Row]) -> dict[str, Any]:
    """Figures by their keys, as JSON values."""
    rows = list(rows)
    scores = detector_scores(rows[0].text_kind if rows else "")
    return {
        row.figure.key: {
            "label": row.figure.label,
            "definition": row.figure.definition,
            "unit": row.figure.unit,
            "first": dataclasses.asdict(row.first),
            "last": dataclasses.asdict(row.last),
            "change": dataclasses.asdict(row.change),
            "p_adjusted": row.p,
            "onsets": [None if one is None else dataclasses.asdict(one) for one in row.onsets],
            "series": [estimate.value for estimate in row.series],
            "clean": {
                "first": dataclasses.asdict(row.clean_first),
                "last": dataclasses.asdict(row.clean_last),
                "change": dataclasses.asdict(row.clean_change),
            },
            "detector": row.figure.detector,
            "detector_precision_recall": scores.get(row.figure.detector or ""),
            "detector_intervals": intervals(row),
        }
        for row in rows
    }


def intervals(row: Row) -> dict[str, Any] | None:
    """Precision and recall of the figure's detector on its kind of text, with intervals; None where not measured."""
    from r1rl.aha.validate import validation

    corpus = validation.CORPUS_OF_KIND.get(row.text_kind)
    if row.figure.detector is None or corpus is None:
        return None
    score = validation.shipped_score(row.figure.detector, corpus)
    return None if score is None else {key: value for key, value in score.items() if key != "detector"}


def table(steps: Sequence[int], rows: Iterable[Row], width: int) -> Table:
    """The figures that are known, section by section, with as many columns as the terminal is wide enough for."""
    rows = list(rows)
    scores = detector_scores(rows[0].text_kind if rows else "")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("", min_width=_LABEL_WIDTH)
    first, last = (f"step {steps[i]}" for i in (0, -1))
    columns = [first, last, "change (95 %)", "adj. p", "onset", "detector P / R"]
    shown = list(range(next((n for n, wide in _WIDE_ENOUGH.items() if width >= wide), min(_WIDE_ENOUGH))))
    if first == last:  # nothing to compare
        shown = [0, 5] if width >= _WIDE_ENOUGH[4] else [0]
    for heading in (columns[i] for i in shown):
        words = heading in columns[4:]
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    section = ""
    for row in rows:
        if row.first.value is None and row.last.value is None:
            continue
        if row.figure.section != section:
            section = row.figure.section
            table.add_row(Text(section, style="bold"))
        unit = row.figure.unit
        score = "" if row.figure.detector is None else scores.get(row.figure.detector, UNVALIDATED)
        cells: list[str | Text] = [
            number(row.first.value, unit),
            number(row.last.value, unit),
            Text(_moved(row), style="bold" if row.rose or row.fell else "dim"),
            p_words(row),
            _onset(row),
            Text(score, style="dim"),
        ]
        table.add_row(f"  {row.figure.label}", *(cells[i] for i in shown))
    return table


def _clean_table(result: Result) -> Table | None:
    """The main figures of two steps again without unclean rollouts, if there are any such."""
    unclean = result.rows["unclean"]
    if len(result.steps) < 2:
        return None
    if unclean.last.value is None or not any(share.value for share in unclean.series):
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("without unclean rollouts", style="dim")
    for heading in (f"step {result.steps[0]}", f"step {result.steps[-1]}", "change (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows.values():
        if row.clean_last.value is not None:
            unit = row.figure.unit
            table.add_row(
                f"  {row.figure.label}",
                number(row.clean_first.value, unit),
                number(row.clean_last.value, unit),
                change(row.clean_change, unit),
            )
    return table


def _moved(row: Row) -> str:
    """The change; of a figure that compares both steps itself, and so has no value at the first, its interval."""
    unit, last = row.figure.unit, row.last
    if row.first.value is not None or last.low is None or last.high is None:
        return change(row.change, unit)
    return f"({number(last.low, unit)} … {number(last.high, unit)})"


def p_words(row: Row) -> str:
    """The adjusted p-value of a figure's change, for readers."""
    if row.p is None:
        return ""
    return "< 0.001" if row.p < 0.001 else f"{row.p:.3f}" if row.p < 0.1 else f"{row.p:.2f}"


def _onset(row: Row) -> Text:
    if all(one is None for one in row.onsets):
        return Text("")
    words = onset_words(row.onsets).removeprefix("onset ").removeprefix("at ").removeprefix("step ")
    if len(row.onsets) == 1 and (one := row.onsets[0]) is not None:
        words += f" {one.shape}" + ("" if one.lasting else f", peak {one.peak}")
    return Text(words)


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)
