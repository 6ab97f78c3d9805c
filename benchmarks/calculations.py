"""Word problems answered by a calculation: what of a gain is form, what the problem's numbers, what the operation.

`python -m benchmarks.calculations runs/calc-s*`: the share of the held-out samples at the first and at the last
step, mean and range over the runs. Only questions count that give two different numbers, of which one operation makes
the gold answer.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from r1rl.store import store
from r1rl.verify import answer_tag

OPERATIONS: Final = "+-*/"
KINDS: Final = ("no answer in the tag", "no calculation of two numbers", "other numbers", "other operation",
                "the right one, turned round", "right")  # fmt: skip
_COLUMNS: Final = ["policy_step", "prompt", "completion", "gold", "verdict", "temperature"]
_NUMBER: Final = r"\d+(?:\.\d+)?"
_CALCULATION: Final = re.compile(rf"({_NUMBER}) ?([-+*/×÷]) ?({_NUMBER})")


def value(left: Fraction, operation: str, right: Fraction) -> Fraction | None:
    """What a calculation comes to; None where it divides by 0."""
    if operation == "/":
        return left / right if right else None
    return {"+": left + right, "-": left - right, "*": left * right}[operation]


def asked(prompt: str, gold: str) -> tuple[list[Fraction], str] | None:
    """The two numbers of a prompt's last question, the larger first, and the operation that makes the gold answer."""
    question = prompt.rpartition("User:")[2].rpartition("Assistant:")[0].replace(",", "")
    numbers = sorted((Fraction(text) for text in re.findall(_NUMBER, question)), reverse=True)
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        return None
    right = [operation for operation in OPERATIONS if value(numbers[0], operation, numbers[1]) == Fraction(gold)]
    return (numbers, right[0]) if len(right) == 1 else None


def kind(row: dict[str, Any], numbers: Sequence[Fraction], operation: str) -> tuple[str, str | None]:
    """Which of `KINDS` a sample is, and the operation that it answered with, where it is a calculation."""
    answer = answer_tag(row["completion"])
    found = _CALCULATION.fullmatch(answer) if answer is not None else None
    said = {"×": "*", "÷": "/"}.get(found[2], found[2]) if found else None
    if row["verdict"] == "correct":
        return "right", said
    if answer is None:
        return "no answer in the tag", None
    if found is None:
        return "no calculation of two numbers", None
    if sorted((Fraction(found[1]), Fraction(found[3])), reverse=True) != numbers:
        return "other numbers", said
    return ("the right one, turned round" if said == operation else "other operation"), said


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The shares of the kinds, and what is made of each operation's questions.

    The last line is what the operations that were answered would have got, had they been dealt out to the questions at
    random: what lies above it was read in the question.
    """
    kinds, counts, right = Counter[str](), Counter[str](), Counter[str]()
    chosen: list[tuple[str, str]] = []  # the question's operation and the answer's, where the numbers are right
    for row in rows:
        if (question := asked(row["prompt"], row["gold"])) is None:
            continue
        counts[question[1]] += 1
        what, said = kind(row, *question)
        kinds[what] += 1
        right[question[1]] += what == "right"
        if said is not None and what != "other numbers":
            chosen.append((question[1], said))
    found = {name: kinds[name] / counts.total() for name in KINDS}
    for operation in OPERATIONS:
        found[f"questions of {operation}"] = counts[operation] / counts.total()
        found[f"  right among them, {operation}"] = right[operation] / (counts[operation] or 1)
    total = len(chosen) or 1
    asked_for, answered = Counter(first for first, _ in chosen), Counter(said for _, said in chosen)
    for operation in OPERATIONS:
        found[f"answers with {operation}"] = answered[operation] / total
    found["operation right"] = sum(first == said for first, said in chosen) / total
    by_chance = sum(asked_for[each] * answered[each] for each in OPERATIONS) / total**2
    found["  if they were dealt out at random"] = by_chance
    return found


def at_ends(run: Path) -> Iterator[dict[str, float]]:
    """The shares of a run's sampled held-out rollouts at its first and at its last step."""
    rows = [row for row in store.read(run, kind="eval", columns=_COLUMNS).to_pylist() if row["temperature"] > 0]
    steps = sorted({row["policy_step"] for row in rows})
    for step in (steps[0], steps[-1]):
        yield shares([row for row in rows if row["policy_step"] == step])


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of one recipe")
    runs = [list(at_ends(run)) for run in parser.parse_args(words).runs]
    for name in runs[0][0]:
        cells = []
        for end in (0, 1):
            of_runs = [100 * run[end][name] for run in runs]
            cells.append(f"{statistics.fmean(of_runs):5.1f} % ({min(of_runs):.1f} to {max(of_runs):.1f})")
        sys.stdout.write(f"{name:40} {cells[0]:24} {cells[1]}\n")


if __name__ == "__main__":
    main()
