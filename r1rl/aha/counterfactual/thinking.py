"""The True Thinking Score: does a step of the reasoning move the answer that the model would give there?

Zhao, Sun, Shi and Song (arXiv 2510.24941): with S(c, s) the model's confidence in its final answer when it is made to
answer right behind the context c and the step s (early exit), intact (1) or with its numbers shifted a little (0),

    TTS(s) = 1/2 (|S(1, 1) - S(1, 0)| + |S(0, 1) - S(0, 0)|),

the mean of how much the step is needed behind the true context and how much it does alone behind a shifted one. Steps
at 0.005 or less are called decorative, those of 0.7 or more true thinking. A step without numbers is dropped instead.

Where ours departs: a step is a sentence, a line, or what begins with a marker (where no sentences are written: all up
to the next marker); the answer is forced as the rollouts begin theirs; the confidence is the probability of the
rollout's own answer as it wrote it, right or wrong, with what closes it; numbers are shifted by 1 to 3 and stay whole
and above zero. Reflections are compared with the other steps.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from r1rl.aha.counterfactual.arms import forced_answer
from r1rl.aha.counterfactual.boundaries import cuts
from r1rl.aha.counterfactual.questions import own_answer, reasoning
from r1rl.aha.counterfactual.ratios import Cell, Figure, Measured, Ratios
from r1rl.aha.counterfactual.settings import KEY, Settings
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.rollout.sampling import row_key

DECORATIVE: Final = 0.005
TRUE: Final = 0.7
SCHEMA: Final = pa.schema([
    *KEY,
    *pa.schema({
        "start": pa.int32(), "end": pa.int32(), "reflects": pa.bool_(), "right": pa.bool_(),
        # context, step: intact or shifted
        "intact_intact": pa.float64(), "intact_shifted": pa.float64(),
        "shifted_intact": pa.float64(), "shifted_shifted": pa.float64(),
    }),
])  # fmt: skip
ABOUT: Final = "A step that does not move the answer may still be what the model did; it is the text that is idle."
CONDITIONS: Final = ("intact_intact", "intact_shifted", "shifted_intact", "shifted_shifted")

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LONGEST: Final = 200
"""Steps of one rollout that are looked at."""


@dataclass(frozen=True, slots=True)
class Step:
    """`completion[start:end]` is a step of a reasoning that begins at `origin`; `reflects`: a marker begins it."""

    number: int
    row: Row
    origin: int
    start: int
    end: int
    reflects: bool
    answer: str


def chosen(rows: Sequence[Row], settings: Settings) -> list[Step]:
    """At most `settings.points` steps of rollouts with an answer, half of them reflections where there are enough."""
    found: dict[bool, list[tuple[int, Step]]] = {True: [], False: []}
    for row in rows:
        answer = own_answer(row, settings.extraction or "answer-tag")
        span = reasoning(row)
        if answer is None or span is None or span[1] > answer[1]:
            continue
        for start, end, reflects in steps(row["completion"], span, row.get("prefill") or "", settings.lexicon):
            key = row_key(settings.seed, "thinking", row["prompt_id"], row["sample_idx"], start)
            found[reflects].append((key, Step(0, row, span[0], start, end, reflects, answer[0])))
    for part in found.values():
        part.sort(key=lambda one: one[0])
    mine, others = ([step for _, step in found[side]] for side in (True, False))
    of_mine = min(len(mine), max(settings.points // 2, settings.points - len(others)))
    drawn = [*mine[:of_mine], *others[: settings.points - of_mine]]
    return [replace(step, number=number) for number, step in enumerate(drawn)]


def steps(text: str, span: tuple[int, int], prefill: str = "", lexicon: str = "strict") -> list[tuple[int, int, bool]]:
    """The steps of a reasoning, each with whether a marker begins it."""
    at_markers, plain = cuts(text, prefill, lexicon)
    mine = {cut.before for cut in at_markers}
    whole = {cut.before for cut in plain if text[cut.before - 1] in ".!?" or "\n" in text[cut.before : cut.at]}
    start, stop = span
    places = sorted({start, *(at for at in mine | whole if start < at < stop)})[:_LONGEST]
    return [
        (first, end, first in mine)
        for first, end in zip(places, [*places[1:], stop], strict=True)
        if any(char.isalnum() for char in text[first:end])
    ]


def shifted(text: str, key: int, knows: Any = lambda number: True) -> str:
    """The text with each number up or down by 1 to 3, above zero and such that the writer knows it."""

    def other(found: re.Match[str]) -> str:
        draw = row_key(key, found.start())
        value = int(found[0])
        for turn in range(6):
            step = ((draw + turn) % 3 + 1) * (1 if (draw // 3 + turn // 3) % 2 else -1)
            if value + step > 0 and knows(str(value + step)):
                return str(value + step)
        return found[0]

    return _NUMBER.sub(other, text)


def asked(writer: Writer, items: Sequence[Step], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """Each step's four confidences."""
    cue = forced_answer(rows, writer.extraction) if settings.answer is None else settings.answer
    before, wanted = [], []
    for step in items:
        head = writer.prompt(step.row["prompt"])
        for text in conditions(step, settings.seed, writer.tokens.knows):
            # A blank belongs to the word behind it.
            before.append([*head, *writer.tokens.of(text.rstrip() + cue.rstrip(" "))])
            wanted.append(writer.tokens.of(cue[len(cue.rstrip(" ")) :] + step.answer))
    sure = [math.exp(lp) for lp in writer.logprobs(before, wanted)]
    return [
        {
            "arm": "step", "point": step.number, "sample": 0, "prompt_id": step.row["prompt_id"],
            "source_sample_idx": step.row["sample_idx"], "start": step.start, "end": step.end,
            "reflects": step.reflects, "right": step.row["verdict"] == "correct",
            **dict(zip(CONDITIONS, sure[4 * i : 4 * i + 4], strict=True)),
        }
        for i, step in enumerate(items)
    ]  # fmt: skip


def conditions(step: Step, seed: int, knows: Any = lambda number: True) -> list[str]:
    """The completion up to the end of the step, in the order of CONDITIONS."""
    text = step.row["completion"]
    key = row_key(seed, "shift", step.row["prompt_id"], step.row["sample_idx"], step.start)
    opening, context, said = text[: step.origin], text[step.origin : step.start], text[step.start : step.end]
    moved = shifted(said, key, knows) if _NUMBER.search(said) else ""
    return [opening + c + s for c in (context, shifted(context, key, knows)) for s in (said, moved)]


def score(row: Mapping[str, Any]) -> float:
    """The True Thinking Score of a row."""
    needed = abs(row["intact_intact"] - row["intact_shifted"])
    alone = abs(row["shifted_intact"] - row["shifted_shifted"])
    return float(needed + alone) / 2


def figures(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Mapping[str, Any]]]) -> Measured:
    """Mean score, and the shares of decorative steps and of true thinking, of reflections and of other steps."""
    ratios = Ratios([_columns(rows) for rows in rows_of_runs])
    number: dict[str, Any] = {"unit": "number"}
    found: dict[str, Figure] = {}
    for kind, said in (("reflection", "reflections"), ("other", "other steps")):
        found |= {
            f"{kind}_score": ratios.figure(f"true thinking score of {said}", f"{kind}_score", **number),
            f"{kind}_decorative": ratios.figure(f"   decorative (at most {DECORATIVE})", f"{kind}_decorative"),
            f"{kind}_true": ratios.figure(f"   true thinking (at least {TRUE})", f"{kind}_true"),
        }
    found["score_beyond_other"] = ratios.difference(
        "reflections beyond other steps", "reflection_score", "other_score", **number
    )
    found["decorative_beyond_other"] = ratios.difference("   decorative", "reflection_decorative", "other_decorative")
    found["sure"] = ratios.figure("confidence in the own answer, nothing shifted", "sure", **number)
    return Measured("thinking", tuple(runs), step, ratios.prompts, found, {"steps": sum(map(len, rows_of_runs))})


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for row in rows:
        kind, value, prompt = "reflection" if row["reflects"] else "other", score(row), row["prompt_id"]
        found[f"{kind}_score"].append((prompt, value, 1))
        found[f"{kind}_decorative"].append((prompt, value <= DECORATIVE, 1))
        found[f"{kind}_true"].append((prompt, value >= TRUE, 1))
        found["sure"].append((prompt, row["intact_intact"], 1))
    return found
