"""Audit of a file's gold answers: is each correct against itself, and is another row's gold ever paid?"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

from r1rl import verify
from r1rl.tasks import Row
from r1rl.tasks.files import FileTask
from r1rl.tasks.gold import batches, check
from r1rl.verify.verdict import clip


@dataclass(frozen=True)
class Audit:
    """What `audit` found; each finding is a line of printable ASCII: prompt, quotations and the reason.

    Args:
        source: the file's name.
        rows: usable rows read; `unreadable` more had no question or answer.
        failures: golds that fail against themselves.
        pairs: wrong answers judged, each another row's gold of a different value.
        paid: wrong answers judged correct. To be looked at by eye: "different" was decided by a plain reading.
        timeouts: answers that were not judged in time.
    """

    source: str
    rows: int
    unreadable: int
    failures: list[str]
    pairs: int
    paid: list[str]
    timeouts: list[str]

    def lines(self) -> list[str]:
        """The figures and every failure, a line each."""
        good = self.rows - len(self.failures)
        return [
            f"{self.source}: {good} of {self.rows} golds ({good / self.rows:.2%}) are correct against themselves",
            *self.failures,
            *([f"  {self.unreadable} rows have no question or no answer"] if self.unreadable else []),
            f"{self.source}: {self.pairs} wrong answers, {len(self.paid)} paid, {len(self.timeouts)} timeouts",
            *self.paid,
            *self.timeouts,
        ]


def audit(task: FileTask, *, wrong_per_row: int | None = 1, progress: bool = False) -> Audit:
    """Judge every gold of a file against itself, and golds of other rows with another value as wrong answers.

    Args:
        wrong_per_row: each row is given the golds of the next so many rows of a different value; None: every ordered
            pair of distinct golds, that is n * (n - 1) of them.
        progress: show bars.

    Raises:
        RecipeError: the file cannot be read, or a package is missing.
    """
    rows = task.every_row()  # in file order, not split
    reasons = check(task.verifier, rows, progress=progress)
    failures = [
        f"  {row.prompt_id}: {clip(row.gold, 80)}: {why}" for row, why in zip(rows, reasons, strict=True) if why
    ]
    if wrong_per_row is None:
        rows = list({row.gold: row for row in reversed(rows)}.values())[::-1]
    pairs = 0
    found: dict[str, list[str]] = {"correct": [], "timeout": []}  # every pair of a large file would not fit in memory
    for row, answer, status in _judge_pairs(task.verifier, rows, wrong_per_row, progress=progress):
        pairs += 1
        if status in found:
            found[status].append(f"  {row.prompt_id}: {clip(answer, 80)} for {clip(row.gold, 80)}: {status}")
    source, unreadable = Path(str(task.path)).name, len(task.bad_rows)
    return Audit(source, len(reasons), unreadable, failures, pairs, found["correct"], found["timeout"])


def plain_value(text: str) -> Hashable:
    r"""A gold answer's value by a plain reading that shares no code with the verifiers: two that differ here differ.

    Numbers, `a/b`, `\frac{a}{b}` (without units, `$`, degrees, `x =`) as a fraction, a bare list as its sorted parts,
    anything else as its text without spaces.
    """
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])|\\[!,;: $]|\$|\^\s*\{?\\circ\}?", "", text)
    without_unit = re.sub(r"(?<=[0-9}])\s*\\(?:text|mbox)\s*\{[^{}]*\}(?:\^\{?[0-9]\}?)?$", "", text)
    text = re.sub(r"\s+", "", without_unit)
    text = re.sub(r"^[a-z]=(?=[^=]*$)", "", text)
    text = re.sub(r"\\(?:text|mbox)\{\(?([^{}()]*)\)?\}", r"\1", text)
    if re.fullmatch(r"-?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", text):
        text = text.replace(",", "")
    text = re.sub(r"\\frac(?:\{(-?[0-9]+)\}|([0-9]))(?:\{([0-9]+)\}|([0-9]))", r"\1\2/\3\4", text)
    if re.fullmatch(r"-?[0-9]+/0*[1-9][0-9]*|-?[0-9]*\.?[0-9]+|-?[0-9]+\.", text):
        return Fraction(text.rstrip("."))
    if "," in text and not re.search(r"[()\[\]]", text):
        return tuple(sorted(str(plain_value(part)) for part in re.sub(r"\\[{}]", "", text).split(",")))
    return text


def _judge_pairs(
    verifier: str, rows: list[Row], wrong_per_row: int | None, *, progress: bool
) -> Iterator[tuple[Row, str, str]]:
    """(row, another row's gold of a different value, status of the verdict)."""
    values = [plain_value(row.gold) for row in rows]
    many = len(rows) - 1 if wrong_per_row is None else min(wrong_per_row, len(rows) - 1)

    def pairs() -> Iterator[tuple[Row, str]]:
        for index, row in enumerate(rows):
            others = ((index + step) % len(rows) for step in range(1, len(rows)))
            different = (rows[other].gold for other in others if values[other] != values[index])
            for answer in islice(different, many):
                yield row, answer

    for batch in batches(pairs(), len(rows) * many, "judging wrong answers", progress=progress):
        verdicts = verify.verify_many(verifier, [(answer, row.gold, row.meta) for row, answer in batch])
        for (row, answer), verdict in zip(batch, verdicts, strict=True):
            yield row, answer, verdict.status
