"""Audit of a file's gold answers: is each correct against itself, and is another row's gold ever paid?"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from r1rl import verify
from r1rl.tasks import Row
from r1rl.tasks.files import FileTask
from r1rl.tasks.gold import batches, check
from r1rl.verify.verdict import clip


class BadGold(NamedTuple):
    """A row whose gold answer is not judged correct against itself."""

    prompt_id: str
    gold: str
    reason: str


class Pair(NamedTuple):
    """A wrong answer, another row's gold of a different value, and the status of its verdict."""

    prompt_id: str
    gold: str
    answer: str
    status: str


@dataclass(frozen=True)
class Audit:
    """The figures of one file that `audit` found.

    Args:
        source: the file's name.
        rows: usable rows read; `unreadable` more had no question or answer.
        failures: golds that fail against themselves.
        pairs: wrong answers judged, each another row's gold of a different value.
        paid: those that were judged correct. To be looked at by eye: "different" was decided by a plain reading.
        timeouts: those that were not judged in time.
    """

    source: str
    rows: int
    unreadable: int
    failures: tuple[BadGold, ...]
    pairs: int
    paid: tuple[Pair, ...]
    timeouts: tuple[Pair, ...]

    def lines(self) -> list[str]:
        """The figures and every failure, a line each; quotations are printable ASCII and short."""
        good = self.rows - len(self.failures)
        return [
            f"{self.source}: {good} of {self.rows} golds ({good / self.rows:.2%}) are correct against themselves",
            *(f"  {bad.prompt_id}: {clip(bad.gold, 80)}: {bad.reason}" for bad in self.failures),
            *([f"  {self.unreadable} rows have no question or no answer"] if self.unreadable else []),
            f"{self.source}: {self.pairs} wrong answers, {len(self.paid)} paid, {len(self.timeouts)} timeouts",
            *(
                f"  {pair.prompt_id}: {clip(pair.answer, 80)} for {clip(pair.gold, 80)}: {pair.status}"
                for pair in (*self.paid, *self.timeouts)
            ),
        ]


def audit(
    path: str | Path,
    question_column: str = "question",
    answer_column: str = "answer",
    *,
    answer_pattern: str | None = None,
    verifier: str = "math",
    wrong_per_row: int | None = 1,
    progress: bool = False,
) -> Audit:
    """Judge every gold of a file against itself, and golds of other rows with another value as wrong answers.

    Args:
        path, question_column, answer_column, answer_pattern: as in the task `file`.
        verifier: name of the verifier.
        wrong_per_row: each row is given the golds of the next so many rows of a different value; None: every ordered
            pair of distinct golds, that is n * (n - 1) of them.
        progress: show bars.

    Raises:
        RecipeError: the file cannot be read, or a package is missing.
    """
    task = FileTask(
        path=str(path),
        question_column=question_column,
        answer_column=answer_column,
        answer_pattern=answer_pattern,
        verifier=verifier,
    )
    rows = task.every_row()  # in file order, not split
    reasons = check(verifier, rows, progress=progress)
    failures = tuple(BadGold(row.prompt_id, row.gold, why) for row, why in zip(rows, reasons, strict=True) if why)
    if wrong_per_row is None:
        rows = list({row.gold: row for row in reversed(rows)}.values())[::-1]
    pairs, noted = 0, []
    for pair in _judge_pairs(verifier, rows, wrong_per_row, progress=progress):
        pairs += 1
        if pair.status in ("correct", "timeout"):
            noted.append(pair)
    paid, late = (tuple(pair for pair in noted if pair.status == status) for status in ("correct", "timeout"))
    return Audit(Path(path).name, len(reasons), len(task.bad_rows), failures, pairs, paid, late)


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


def _judge_pairs(verifier: str, rows: list[Row], wrong_per_row: int | None, *, progress: bool) -> Iterator[Pair]:
    """Each row with golds of other rows that have a different value, judged."""
    values = [plain_value(row.gold) for row in rows]
    many = len(rows) - 1 if wrong_per_row is None else min(wrong_per_row, len(rows) - 1)

    def pairs() -> Iterator[tuple[Row, str]]:
        for index, row in enumerate(rows):
            others = ((index + step) % len(rows) for step in range(1, len(rows)))
            different = (rows[other].gold for other in others if values[other] != values[index])
            yield from ((row, answer) for answer in islice(different, many))

    for batch in batches(pairs(), len(rows) * many, "judging wrong answers", progress=progress):
        verdicts = verify.verify_many(verifier, [(answer, row.gold, row.meta) for row, answer in batch])
        for (row, answer), verdict in zip(batch, verdicts, strict=True):
            yield Pair(row.prompt_id, row.gold, answer, verdict.status)
