"""r1rl data: a look at questions, and care for them: lengths, golds, overlaps, copies, pass rates."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl.commands import add_task_options, user_errors
from r1rl.ground.errors import RecipeError

if TYPE_CHECKING:
    from r1rl.tasks import Row

SUMMARY = "Look at questions and care for them: head, lengths, gold, decontaminate, duplicates, passrate, completion."
EXAMPLES = """\
examples:
  r1rl data head gsm8k --task_options.path gsm8k_train.jsonl
  r1rl data lengths problems.jsonl --model Qwen/Qwen2.5-1.5B
  r1rl data gold math500
  r1rl data decontaminate train.jsonl --against math500 --against aime24.jsonl --to clean.jsonl
  r1rl data duplicates train.jsonl --to distinct.jsonl
  r1rl data passrate runs/zero --to rates.jsonl
  r1rl data completion math500 --model Qwen/Qwen2.5-1.5B --limit 100   # does it know the questions by heart?

decontaminate leaves out what holds half of an evaluation question's 8-grams and all of its numbers, spelling evened
out; with duplicates, the second of two questions that share 80 % of their wording and every number. What was left out,
and why, is listed in FILE.removed.jsonl. passrate counts a run's stored rollouts by question: its rates keep a band of
difficulty in a recipe, with --task_options.pass_rates rates.jsonl --task_options.pass_low 0.1 --task_options.pass_high
0.9."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=tuple(_ACTIONS), metavar="WHAT", help=", ".join(_ACTIONS))
    parser.add_argument("task", metavar="TASK", nargs="+", help="a task, preset or file; for passrate: folders of runs")
    add_task_options(parser)
    parser.add_argument("-n", type=int, default=3, metavar="N", help="head: questions (default: 3)")
    parser.add_argument("--model", metavar="NAME", help="lengths: whose tokenizer; completion: who goes on")
    parser.add_argument("--share", type=float, default=0.6, help="completion: of each question given (default: 0.6)")
    parser.add_argument("--limit", type=int, metavar="N", help="completion: only N questions")
    parser.add_argument(
        "--against", action="append", default=[], metavar="NAME|FILE", help="decontaminate: evaluations; repeatable"
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help="where to write what is left (JSON lines)")
    parser.add_argument("--kind", choices=("train", "eval"), help="passrate: which rollouts (default: all)")


def run(parsed: argparse.Namespace) -> None:
    with user_errors():
        if parsed.what != "passrate" and len(parsed.task) > 1:
            raise RecipeError(f"unexpected {' '.join(parsed.task[1:])}: one task, preset or file")
        if parsed.to is not None and not parsed.to.parent.is_dir():
            raise RecipeError(f"--to {parsed.to}: no such folder")
        _ACTIONS[parsed.what](parsed)


def _head(parsed: argparse.Namespace) -> None:
    for row, _ in zip(_rows(parsed), range(parsed.n), strict=False):
        _say(json.dumps({"id": row.prompt_id, "question": row.question, "gold": row.gold, "meta": row.meta}, indent=2))


def _lengths(parsed: argparse.Namespace) -> None:
    import numpy as np

    from r1rl.models import resolve as models

    if parsed.model is None:
        raise RecipeError("lengths: say whose tokens: --model NAME")
    models.check(parsed.model)
    tokenizer = models.tokenizer(parsed.model, to_train=False)
    if tokenizer is None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(models.resolve(parsed.model))
    tokens = np.array([len(tokenizer(row.question)["input_ids"]) for row in _rows(parsed)])
    if not len(tokens):
        raise RecipeError(f"{parsed.task[0]}: no usable row")
    _say(f"{len(tokens):,} questions, tokens of {parsed.model}: mean {tokens.mean():.1f}")
    _say("".join(f"{name:>8}  {value:,.0f}\n" for name, value in _quantiles(tokens)).rstrip())


def _quantiles(tokens: Any) -> Iterator[tuple[str, float]]:
    import numpy as np

    for name, share in (("least", 0.0), ("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("most", 1.0)):
        yield name, float(np.quantile(tokens, share))


def _gold(parsed: argparse.Namespace) -> None:
    from r1rl.eval import questions
    from r1rl.tasks import gold

    task, _ = questions.task_of(parsed.task[0], dict(parsed.task_options))
    rows = questions.all_rows(task)
    reasons = gold.check_task(task, rows, progress=sys.stderr.isatty())
    bad = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
    _say(f"{len(rows) - len(bad):,} of {len(rows):,} gold answers are usable by the verifier {task.verifier}")
    for row, reason in bad:
        _say(f"  {row.prompt_id}: {row.gold[:80]!r}: {reason}")


def _decontaminate(parsed: argparse.Namespace) -> None:
    from r1rl.eval import questions
    from r1rl.tasks import overlap

    if not parsed.against:
        raise RecipeError("decontaminate: say from what: --against NAME|FILE")
    index = overlap.Index(row for name in parsed.against for row in questions.all_rows(questions.task_of(name, {})[0]))
    _part(parsed, overlap.overlaps(_rows(parsed), index), f"{len(index.rows):,} evaluation questions")


def _duplicates(parsed: argparse.Namespace) -> None:
    from r1rl.tasks import overlap

    rows = list(_rows(parsed))
    twice = {id(found.row): found for found in overlap.duplicates(rows)}
    _part(parsed, ((row, twice.get(id(row))) for row in rows), "questions before it")


def _part(parsed: argparse.Namespace, judged: Iterator[tuple[Row, Any]], what: str) -> None:
    """Write what is kept and what is not, and say how many."""
    from contextlib import ExitStack

    from r1rl.ground import whole_files

    kept, reasons = 0, []
    with ExitStack() as stack:
        clean = removed = None
        if parsed.to is not None:
            places = parsed.to, parsed.to.with_name(parsed.to.name + ".removed.jsonl")
            clean, removed = (
                stack.enter_context(stack.enter_context(whole_files.replacing(place)).open("w", encoding="utf-8"))
                for place in places
            )
        for row, found in judged:
            if found is None:
                kept += 1
                if clean is not None:
                    clean.write(json.dumps(row.columns, ensure_ascii=False, default=str) + "\n")
                continue
            line = {
                "prompt_id": row.prompt_id, "question": row.question, "same_as": found.other.prompt_id,
                "its_question": found.other.question, "why": found.why,
            }  # fmt: skip
            reasons.append(found.why.partition(" %")[0].rstrip("0123456789 "))
            if removed is not None:
                removed.write(json.dumps(line, ensure_ascii=False) + "\n")
            elif len(reasons) <= 20:
                _say(f"{row.prompt_id} is {found.other.prompt_id}: {found.why}")
        for stream in (clean, removed):
            if stream is not None:
                stream.flush()
    _say(f"{kept:,} kept, {len(reasons):,} left out, against {what}")


def _completion(parsed: argparse.Namespace) -> None:
    from r1rl.eval import completion, local, questions
    from r1rl.eval.estimates import mean
    from r1rl.eval.protocol import Asking
    from r1rl.eval.showing import percent

    if parsed.model is None:
        raise RecipeError("completion: say who is to go on: --model NAME")
    rows = questions.find(parsed.task[0], dict(parsed.task_options), limit=parsed.limit).rows
    asking = Asking(samples=1, temperature=0.0, prompt_template="none")
    found = completion.complete(local.of_model(parsed.model, asking), rows, parsed.share)
    exact = mean([float(each.exact) for each in found])
    _say(f"{len(found):,} questions, {100 * parsed.share:.0f} % of each given to {parsed.model}, greedy")
    _say(f"  went on word by word: {percent(exact)}")
    _say(f"  ROUGE-L with the rest: {percent(mean([each.rouge_l for each in found]))}")
    for each in [each for each in found if each.exact][:5]:
        _say(f"  {each.prompt_id}: {each.rest[:100]!r}")


def _passrate(parsed: argparse.Namespace) -> None:
    from r1rl.eval import passrates

    counts = passrates.count([Path(name) for name in parsed.task], kind=parsed.kind)
    if not counts:
        raise RecipeError(f"{' '.join(parsed.task)}: no judged rollouts")
    samples = sum(n for n, _ in counts.values())
    _say(f"{len(counts):,} questions, {samples:,} rollouts, {sum(c for _, c in counts.values()) / samples:.1%} right")
    _say("".join(f"{name:>12}  {number:,}\n" for name, number in passrates.bands(counts)).rstrip())
    if parsed.to is not None:
        passrates.write(counts, parsed.to)


def _rows(parsed: argparse.Namespace) -> Iterator[Row]:
    """The task's rows, one after another where they come from a file."""
    from r1rl.eval import questions
    from r1rl.tasks.files import FileTask

    task, _ = questions.task_of(parsed.task[0], dict(parsed.task_options), train=True)
    yield from task.each_row() if isinstance(task, FileTask) else task.rows("train", 1024)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


_ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "head": _head,
    "lengths": _lengths,
    "gold": _gold,
    "decontaminate": _decontaminate,
    "duplicates": _duplicates,
    "passrate": _passrate,
    "completion": _completion,
}
