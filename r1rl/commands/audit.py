"""r1rl audit: whether the grader and the gold answers of a file agree."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from r1rl.ground.errors import RecipeError

SUMMARY = "Judge a file's gold answers, right and wrong ones."
EXAMPLES = """\
examples:
  r1rl audit math500_test.jsonl --question-column problem
  r1rl audit gsm8k_test.jsonl --answer-pattern '#### (.+)' --wrong-per-row 8

Every gold answer is judged against itself, and as a wrong answer to other problems whose answer has another value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a JSONL, Parquet or CSV file, as in the task file")
    parser.add_argument("--question-column", default="question", metavar="NAME", help="default: question")
    parser.add_argument("--answer-column", default="answer", metavar="NAME", help="default: answer")
    parser.add_argument("--answer-pattern", metavar="REGEX", help="where the answer stands, as '#### (.+)' in GSM8K")
    parser.add_argument("--verifier", default="math", metavar="NAME", help="default: math")
    parser.add_argument("--wrong-per-row", type=int, default=1, metavar="N", help="wrong answers a row (default: 1)")
    parser.add_argument("--all-pairs", action="store_true", help="every pair of different gold answers")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.tasks.audit import audit
    from r1rl.tasks.files import FileTask

    options = ("question_column", "answer_column", "answer_pattern", "verifier")
    try:
        task = FileTask(path=str(parsed.file), **{name: getattr(parsed, name) for name in options})
        found = audit(task, wrong_per_row=None if parsed.all_pairs else parsed.wrong_per_row, progress=True)
    except ValueError as error:
        raise RecipeError(_own_options(str(error))) from error
    sys.stdout.writelines(f"{line}\n" for line in found.lines())


def _own_options(message: str) -> str:
    """A message of the task `file` in the words of this command."""
    message = message.replace("task_options.path=", "file ")
    return re.sub(r"task_options\.(\w+)", lambda found: "--" + found[1].replace("_", "-"), message)
