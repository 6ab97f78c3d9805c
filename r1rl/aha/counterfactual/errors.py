"""Injected errors: does the model put right what is wrong in its own text, and the same text of somebody else?

Shah et al. (arXiv 2504.04022) put reasoning with an error before a model, another's (situational reflection) or its own
wrong one (self-reflection), mostly with "Wait," behind it, and call it explicit where the model speaks of an error, and
implicit where it only comes to the right answer. Tsui (arXiv 2507.02778) puts the same error into the model's answer
(internal) or into the question (external); the self-correction blind spot is what is corrected there and not here:
1 - internal / external. "Wait" behind the error makes most of it go.

Where ours departs: the error is a falsified result of the last true equation of a rollout that was right (`own_error`),
and the text goes on right behind the number; `intact` is the same cut unchanged, and what any cut costs. `mistake` goes
on behind the whole reasoning of a rollout that was wrong. In `foreign_error` the falsified text stands in the question
as somebody's attempt, and in `foreign_intact` the unchanged one; both are left out where the vocabulary has no words
for it. A correction is a right final answer by the task's verifier, explicit if the continuation holds a marker of the
lexicon; the papers ask a language model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from r1rl.aha.counterfactual import continuations
from r1rl.aha.counterfactual.arms import injected, leading_on
from r1rl.aha.counterfactual.continuations import Branch
from r1rl.aha.counterfactual.questions import around, reasoning
from r1rl.aha.counterfactual.ratios import Cell, Figure, Measured, Ratios
from r1rl.aha.counterfactual.settings import CONTINUED, Settings, continued
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.aha.detect.annotation import verifier_of
from r1rl.aha.detect.arithmetic import checks
from r1rl.aha.detect.countdown_trace import pieces
from r1rl.aha.detect.math_attempts import VERIFIERS
from r1rl.rollout.sampling import row_key

SCHEMA: Final = CONTINUED
ABOUT: Final = (
    "A right answer behind an error may be a redraw, not a correction, and a wrong one may be chance: compare with "
    "the unchanged text."
)
ARMS: Final[Mapping[str, str]] = {
    "intact": "right behind the unchanged text",
    "own_error": "right behind a falsified result of its own",
    "own_error_wait": "   a word injected behind it",
    "mistake": "right behind a wrong reasoning of its own",
    "mistake_wait": "   a word injected behind it",
    "foreign_intact": "right where the unchanged text is somebody else's",
    "foreign_error": "right where the falsified text is somebody else's",
}
FOREIGN: Final = "\n\nSomebody wrote this attempt, which may be wrong:\n{attempt}\n\n"
_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place to go on from: `completion[start:end]` is a true result, or, of a wrong reasoning, nothing at its end."""

    number: int
    row: Row
    origin: int
    start: int
    end: int

    @property
    def wrong(self) -> bool:
        """Whether the rollout was wrong by itself."""
        return self.start == self.end


def chosen(rows: Sequence[Row], settings: Settings) -> list[Fault]:
    """At most `settings.points` places, half of them results of right rollouts where there are enough."""
    found: dict[bool, list[tuple[int, Fault]]] = {True: [], False: []}
    for row in rows:
        fault = _fault(row)
        if fault is not None:
            key = row_key(settings.seed, "error", row["prompt_id"], row["sample_idx"])
            found[fault.wrong].append((key, fault))
    for part in found.values():
        part.sort(key=lambda one: one[0])
    results, mistakes = ([fault for _, fault in found[side]] for side in (False, True))
    of_results = min(len(results), max(settings.points // 2, settings.points - len(mistakes)))
    drawn = [*results[:of_results], *mistakes[: settings.points - of_results]]
    return [replace(fault, number=number) for number, fault in enumerate(drawn)]


def _fault(row: Row) -> Fault | None:
    span = reasoning(row)
    if span is None or row["verdict"] not in ("correct", "wrong"):
        return None
    start, stop = span
    text = row["completion"]
    if row["verdict"] == "wrong":
        return Fault(0, row, start, stop, stop) if stop < len(text) else None
    spans = [(start, stop)]
    equations = [one for piece in pieces(text, spans, numbers=verifier_of(row) in VERIFIERS) for one in piece.equations]
    for check in reversed(checks(text, equations)):
        number = _NUMBER.search(text, check.start, check.end) if check.holds else None
        if number is not None and number.start() > start:
            return Fault(0, row, start, number.start(), number.end())
    return None


def falsified(value: int, key: int, knows: Callable[[str], bool]) -> str | None:
    """Another number near a value, above zero and known to the writer."""
    up = 1 if key % 2 else -1
    return next((str(value + s) for s in (up, -up, 2 * up, -2 * up) if value + s > 0 and knows(str(value + s))), None)


def branches(fault: Fault, writer: Writer, *, word: str, settings: Settings) -> list[Branch]:
    """Every continuation of a place; none where its text is not cut cleanly by the writer's tokens."""
    row, tokens = fault.row, writer.tokens
    kept = tokens.until(row["token_ids"], fault.start)
    head = row["completion"][: fault.start]
    if tokens.text(kept).rstrip() != head.rstrip():
        return []
    found: list[Branch] = []

    def add(arm: str, ids: Sequence[Any], prompt: str | None = None) -> None:
        room = int(row["cap"]) - len(ids)
        if room > 0:
            found.extend(
                Branch(row, arm, fault.number, sample, tuple(ids), len(kept), room, prompt=prompt)
                for sample in range(settings.samples)
            )

    def waiting(ids: Sequence[Any]) -> list[Any]:
        return [*ids, *tokens.added(ids, leading_on(word, tokens.text(ids)))]

    if fault.wrong:
        add("mistake", kept)
        add("mistake_wait", waiting(kept))
        return found
    true = row["completion"][fault.start : fault.end]
    key = row_key(settings.seed, "falsified", row["prompt_id"], row["sample_idx"])
    other = falsified(int(true), key, lambda number: tokens.knows(f" {number}"))
    if other is None:
        return []
    ids = [*kept, *tokens.added(kept, other)]
    add("intact", [*kept, *tokens.added(kept, true)])
    add("own_error", ids)
    add("own_error_wait", waiting(ids))
    if tokens.knows(FOREIGN):
        said = row["completion"][fault.origin : fault.start]
        for arm, number in (("foreign_intact", true), ("foreign_error", other)):
            add(arm, (), handed(row, said + number))
    return found


def handed(row: Row, attempt: str) -> str:
    """The prompt with somebody's attempt behind the question."""
    before, question, after = around(row)
    return before + question + FOREIGN.replace("{attempt}", attempt.strip()) + after.lstrip()


def asked(writer: Writer, items: Sequence[Fault], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """Every arm of some places, sampled."""
    word = injected(writer.tokens, settings.inject)
    every = [branch for one in items for branch in branches(one, writer, word=word, settings=settings)]
    done = continuations.sample(writer, every, seed=settings.seed, lexicon=settings.lexicon)
    return [continued(one, settings.lexicon) for one in done]


def figures(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Mapping[str, Any]]]) -> Measured:
    """Right answers of each arm, explicit and implicit corrections, what a word does, and the blind spot."""
    ratios = Ratios([_columns(rows) for rows in rows_of_runs])
    found: dict[str, Figure] = {}
    for arm, said in ARMS.items():
        found[arm] = ratios.figure(said, arm)
        if arm in ("own_error", "mistake", "foreign_error"):
            found[f"{arm}_explicit"] = ratios.figure("   explicitly", f"{arm}_explicit")
            found[f"{arm}_implicit"] = ratios.figure("   implicitly", f"{arm}_implicit")
    found["error_cost"] = ratios.difference("falsified beyond unchanged", "own_error", "intact")
    for arm in ("own_error", "mistake"):
        found[f"{arm}_wait_gain"] = ratios.difference(f"gain of a word behind {arm}", f"{arm}_wait", arm)
    found["foreign_beyond_own"] = ratios.difference("somebody else's beyond its own", "foreign_error", "own_error")
    if found["foreign_error"].estimate.above_zero:  # else there is nothing that it could be blind to
        found["blind_spot"] = ratios.figure(
            "blind spot: 1 - own / somebody else's", "own_error", lambda r: 1 - r["own_error"] / r["foreign_error"],
            change=True,
        )  # fmt: skip
    every = [row for rows in rows_of_runs for row in rows]
    parsed = {arm: [row["verdict"] != "unparseable" for row in every if row["arm"] == arm] for arm in ARMS}
    notes = {"parsed": {arm: sum(held) / len(held) for arm, held in parsed.items() if held}}
    return Measured("errors", tuple(runs), step, ratios.prompts, found, notes)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for row in rows:
        if row["verdict"] == "bad_gold":
            continue
        right = row["verdict"] == "correct"
        found[row["arm"]].append((row["prompt_id"], right, 1))
        found[f"{row['arm']}_explicit"].append((row["prompt_id"], right and row["marked"], 1))
        found[f"{row['arm']}_implicit"].append((row["prompt_id"], right and not row["marked"], 1))
    return found
