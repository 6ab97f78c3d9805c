"""Prompted verification: asked anew whether one of its own answers is right, does the model know?

Chen et al. (arXiv 2602.07594) ask a model in a prompt of its own whether its answer to a question is correct, yes or
no, and find that verification stays weak while generation improves, also through training.

Where ours departs: right and wrong answers are asked about in equal numbers where there are enough, so no share of
right answers carries over; what counts is the share of right answers that are accepted less that of wrong ones, zero
for whoever always says the same. A vocabulary without the words of the question (the tiny base's) is shown the
rollout's last attempt anew instead, as the beginning of a reasoning, and what it says of it next is its verdict; it is
then the attempt that is right or wrong. The reply is short (`verify_tokens`); the paper lets the model reason.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from r1rl.aha.counterfactual.questions import around, reasoning
from r1rl.aha.counterfactual.ratios import Cell, Figure, Measured, Ratios
from r1rl.aha.counterfactual.settings import KEY, Settings
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.aha.detect.annotation import annotate
from r1rl.rollout.sampling import row_key
from r1rl.verify import extraction as policies

SCHEMA: Final = pa.schema([
    *KEY,
    *pa.schema({
        "form": pa.string(), "reply": pa.string(), "said": pa.bool_(), "truth": pa.bool_(),
        "prompt_right": pa.int32(), "prompt_rollouts": pa.int32(),  # of the sources
    }),
])  # fmt: skip
ABOUT: Final = (
    "Saying yes or no when asked is not the check inside a rollout, and half of all verdicts are true by a coin: "
    "verification and generation have other floors."
)
QUESTION: Final = (
    "{question}\n\nProposed answer: {answer}\n\nIs the proposed answer to the question right? Say Yes or No."
)
BARE: Final = "\nVerdict:"
_VERDICT: Final = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A rollout whose answer, or last attempt, is asked about."""

    number: int
    row: Row
    answer: str
    attempt: str
    right: bool
    attempt_right: bool | None
    prompt_right: int
    prompt_rollouts: int


def chosen(rows: Sequence[Row], settings: Settings) -> list[Asked]:
    """At most `settings.points` rollouts with an answer, half of them right where there are enough."""
    judged = [row for row in rows if row["verdict"] not in (None, "bad_gold")]
    every = Counter(row["prompt_id"] for row in judged)
    hits = Counter(row["prompt_id"] for row in judged if row["verdict"] == "correct")
    found: dict[bool, list[tuple[int, Asked]]] = {True: [], False: []}
    for row in judged:
        answer, _ = policies.get(settings.extraction or "answer-tag")((row.get("prefill") or "") + row["completion"])
        if answer is None:
            continue
        right, prompt = row["verdict"] == "correct", row["prompt_id"]
        key = row_key(settings.seed, "verify", prompt, row["sample_idx"])
        found[right].append((key, Asked(0, row, answer, "", right, None, hits[prompt], every[prompt])))
    for part in found.values():
        part.sort(key=lambda one: one[0])
    mine, others = ([one for _, one in found[side]] for side in (True, False))
    of_mine = min(len(mine), max(settings.points // 2, settings.points - len(others)))
    drawn = [*mine[:of_mine], *others[: settings.points - of_mine]]
    return [replace(_with_attempt(one), number=number) for number, one in enumerate(drawn)]


def _with_attempt(one: Asked) -> Asked:
    span, attempts = reasoning(one.row), annotate(one.row)["attempts"] or []
    if span is None or not attempts:
        return one
    last = attempts[-1]
    text = one.row["completion"]
    return replace(one, attempt=text[: span[0]] + " " + text[last["start"] : last["end"]], attempt_right=last["right"])


def asked(writer: Writer, items: Sequence[Asked], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """A row a reply."""
    in_words = writer.tokens.knows(QUESTION)
    usable = [one for one in items if in_words or one.attempt_right is not None]
    every = [(one, sample) for one in usable for sample in range(settings.samples)]
    before = [
        writer.prompt(put(one)) if in_words else
        [*writer.prompt(one.row["prompt"]), *writer.tokens.of(one.attempt.lstrip())]
        for one, _ in every
    ]  # fmt: skip
    keys = [row_key(settings.seed, "verify", one.row["prompt_id"], one.row["sample_idx"], s) for one, s in every]
    done = writer.write(before, keys, [settings.verify_tokens] * len(every))
    found = []
    for (one, sample), reply in zip(every, done, strict=True):
        text = writer.tokens.text(reply.token_ids)
        found.append({
            "arm": "verification", "point": one.number, "sample": sample, "prompt_id": one.row["prompt_id"],
            "source_sample_idx": one.row["sample_idx"], "form": "asked" if in_words else "shown",
            "reply": text.encode("utf-8", "replace").decode(), "said": verdict(text, in_words=in_words),
            "truth": one.right if in_words else one.attempt_right,
            "prompt_right": one.prompt_right, "prompt_rollouts": one.prompt_rollouts,
        })  # fmt: skip
    return found


def put(one: Asked) -> str:
    """The prompt that asks about an answer."""
    before, question, after = around(one.row)
    text = QUESTION.replace("{question}", question.strip()).replace("{answer}", one.answer)
    return before + text + ("\n" + after.lstrip() if after else BARE)


def verdict(reply: str, *, in_words: bool = True) -> bool | None:
    """What a reply says: its first yes or no, in its answer or behind its thoughts if it has those; None: neither.

    Of an attempt that was shown anew it is what the reasoning goes on with.
    """
    _, thought, behind = reply.rpartition(policies.CLOSE_THOUGHTS)
    if in_words:
        said = policies.answer_tag(reply) or (behind if thought or policies.OPEN_THOUGHTS not in reply else "")
    else:
        said = reply.partition(policies.CLOSE_THOUGHTS)[0]
    found = _VERDICT.search(said)
    return None if found is None else found[0].casefold() == "yes"


def figures(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Mapping[str, Any]]]) -> Measured:
    """Generation and verification side by side."""
    ratios = Ratios([_columns(rows) for rows in rows_of_runs])
    found: dict[str, Figure] = {
        "generation": ratios.figure("right answers, of the problems asked about", "generation"),
        "accepts_right": ratios.figure("right ones called right", "accepts_right"),
        "accepts_wrong": ratios.figure("wrong ones called right", "accepts_wrong"),
    }
    if {"accepts_right", "accepts_wrong"} <= set(ratios.names):
        balanced = lambda r: (r["accepts_right"] + 1 - r["accepts_wrong"]) / 2  # noqa: E731
        found |= {
            "balanced": ratios.figure("verdicts that are true, right and wrong ones alike", "accepts_right", balanced),
            "beyond_chance": ratios.difference("called right: right beyond wrong", "accepts_right", "accepts_wrong"),
        }
    every = [row for rows in rows_of_runs for row in rows]
    notes = {
        "parsed": sum(row["said"] is not None for row in every) / len(every) if every else None,
        "replies": len(every),
        "form": ", ".join(sorted({row["form"] for row in every})),
    }
    return Measured("verification", tuple(runs), step, ratios.prompts, found, notes)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for prompt, right, count in sorted({(r["prompt_id"], r["prompt_right"], r["prompt_rollouts"]) for r in rows}):
        found["generation"].append((prompt, right, count))
    for row in rows:
        if row["said"] is not None:
            found["accepts_right" if row["truth"] else "accepts_wrong"].append((row["prompt_id"], row["said"], 1))
    return found
