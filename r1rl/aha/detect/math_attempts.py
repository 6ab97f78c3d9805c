r"""Attempts in free text: committed candidate answers of tasks that are not Countdown, graded by the task's verifier.

Committed is what the text announces (`r1rl.aha.detect.announced`), and where the answer is a number what a line of
reasoning ends with (`r1rl.aha.detect.line_ends`); in a long text what comes to an answer that the text announces
(`r1rl.aha.detect.long_text`). Working and the statement of its result that follows are one attempt.
The same value again without new working is a repeat, unless a rejection or a fresh start stands between.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from r1rl import verify
from r1rl.aha.detect.announced import MAX_CANDIDATES, MAX_TEXT, Candidate, announced, number
from r1rl.aha.detect.arithmetic import Check
from r1rl.aha.detect.attempts import Attempt
from r1rl.aha.detect.line_ends import with_line_ends
from r1rl.aha.detect.long_text import long_candidates, worked_anew
from r1rl.aha.detect.reasoning import Reasoning
from r1rl.aha.detect.statements import results
from r1rl.verify.verdict import Verdict

VERIFIERS: Final = frozenset({"math", "exact", "choice", "gym"})
_REJECTION: Final = frozenset({"reject", "error"})
_NO_REJECTION: Final = frozenset({"verify", "hesitate", "aha", "rethink", "doubt"})


def candidates(text: Reasoning, *, verifier: str, gold: str, question: str = "") -> list[Candidate]:
    """The committed candidates in the reasoning, in order, none overlapping. Linear in the text."""
    found = announced(text, verifier=verifier, question=question)
    if verifier == "choice":
        return worked_anew(found, text) if text.long else found
    if text.long:
        return long_candidates(found, text)
    if not is_number(gold):
        return found
    return with_line_ends(found, text)[:MAX_CANDIDATES]


def math_attempts(
    text: Reasoning, found: Sequence[Candidate], checked: Sequence[Check], *, verifier: str, gold: str, meta: str
) -> list[Attempt]:
    """The candidates `found`, graded; `meta` is JSON. Raises what the verifier raises, such as `ImportError`."""
    attempts: list[Attempt] = []
    starts = [marker.start for marker in text.markers]
    slips = [check for check in checked if not check.holds] if found else []
    for candidate in found:
        verdict = graded(verifier, candidate.text, gold, meta)
        value = verdict.value or " ".join(candidate.text.split())[:MAX_TEXT]
        repeats = False
        if attempts and attempts[-1].value == value and not candidate.worked:
            last = attempts[-1].end
            between = (bisect_left(starts, place) for place in (last, candidate.end))
            kinds = {marker.kind for marker in text.markers[slice(*between)]}
            # Long texts say "wait, let me check" of what they then find right.
            repeats = not (kinds & _REJECTION if text.long else kinds - _NO_REJECTION)
        attempts.append(
            Attempt(
                start=candidate.start,
                end=candidate.end,
                text=text.completion[candidate.start : candidate.end],
                expression=None,
                value=value,
                claimed=candidate.text[:MAX_TEXT],
                complete=True,
                right=verdict.status == "correct",
                repeat=repeats,
                slip=any(slip.start < candidate.end and candidate.start < slip.end for slip in slips),
            )
        )
    return attempts


@lru_cache(maxsize=16_384)  # a verifier can be slow, and the rollouts of a prompt give the same answers
def graded(verifier: str, answer: str, gold: str, meta: str) -> Verdict:
    """The verdict of the verifier of that name."""
    columns: Mapping[str, Any] = json.loads(meta) if meta and verifier in ("choice", "gym") else {}
    return verify.get(verifier)(answer, gold, dict(columns) if isinstance(columns, dict) else {})


def is_number(gold: str) -> bool:
    """Whether a gold answer is a plain number."""
    return number(gold) is not None


def evaluated(text: Reasoning, attempts: Sequence[Attempt], answer: str) -> bool:
    """Whether the reasoning comes to `answer`: as a result, as a candidate, or in the same words.

    If not, the answer is a guess.
    """
    wanted = number(answer)
    if wanted is None:
        words = " ".join(answer.casefold().split())
        return any(words in " ".join(text.completion[start:end].casefold().split()) for start, end in text.spans)
    if any(attempt.value is not None and number(attempt.value) == wanted for attempt in attempts):
        return True
    return any(result.value == wanted for result in results(text.completion, text.equations))
