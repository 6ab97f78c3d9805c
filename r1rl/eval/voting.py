"""Which answers of a question are the same: the verifier says so, not their spelling.

Right answers are one group. A wrong one joins the first group whose first answer the verifier takes for its gold; under
the verifier `countdown`, whose golds are targets, it joins those of the same value. A verifier that cannot take an
answer for a gold (`code`, `gym`) tells answers apart by their text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from r1rl import verify
from r1rl.eval.estimates import Votes
from r1rl.verify import extraction
from rewards.completions import meta_of

_BY_VALUE: Final = frozenset({"countdown", "roles"})
_BY_TEXT: Final = frozenset({"code", "gym"})


@dataclass(frozen=True)
class Answered:
    """One sample's answer: its text, None for none, and whether it is right."""

    answer: str | None
    right: bool


def answer_of(row: Mapping[str, Any], policy: str) -> str | None:
    """What the extraction policy finds in a stored sample."""
    return extraction.get(policy)((row.get("prefill") or "") + (row["completion"] or ""))[0]


def group(verifier: str, questions: Sequence[tuple[Sequence[Answered], str, str]]) -> list[Votes]:
    """The votes of each question, given its samples' answers, its gold answer and its meta as JSON."""
    wrong: list[dict[str, int]] = [{} for _ in questions]
    for counts, (answers, _, _) in zip(wrong, questions, strict=True):
        for said in answers:
            if not said.right and said.answer is not None:
                key = " ".join(said.answer.split())
                counts[key] = counts.get(key, 0) + 1
    metas = [meta_of(meta) or {} for _, _, meta in questions]
    if verifier in _BY_VALUE:
        sizes = _by_value(verifier, wrong, [gold for _, gold, _ in questions], metas)
    elif verifier in _BY_TEXT:
        sizes = [list(counts.values()) for counts in wrong]
    else:
        sizes = _by_verdict(verifier, wrong, metas)
    return [
        Votes(sum(said.right for said in answers), tuple(found), sum(said.answer is None for said in answers))
        for (answers, _, _), found in zip(questions, sizes, strict=True)
    ]


def _by_value(
    verifier: str, wrong: Sequence[Mapping[str, int]], golds: Sequence[str], metas: Sequence[dict[str, Any]]
) -> list[list[int]]:
    items = [(text, gold, meta) for counts, gold, meta in zip(wrong, golds, metas, strict=True) for text in counts]
    verdicts = iter(verify.verify_many(verifier, items))
    found = []
    for counts in wrong:
        sizes: dict[str, int] = {}
        for text, count in counts.items():
            value = next(verdicts).value
            key = json.dumps(text) if value is None else value
            sizes[key] = sizes.get(key, 0) + count
        found.append(list(sizes.values()))
    return found


def _by_verdict(verifier: str, wrong: Sequence[Mapping[str, int]], metas: Sequence[dict[str, Any]]) -> list[list[int]]:
    """In rounds over all questions at once, so that the verifier gets large batches."""
    left = [dict(counts) for counts in wrong]
    found: list[list[int]] = [[] for _ in wrong]
    while any(left):
        items, places = [], []
        for number, counts in enumerate(left):
            if counts:
                first = next(iter(counts))
                found[number].append(counts.pop(first))
                items += [(text, first, metas[number]) for text in counts]
                places += [(number, text) for text in counts]
        for (number, text), verdict in zip(places, verify.verify_many(verifier, items) if items else [], strict=True):
            if verdict.status == "correct":
                found[number][-1] += left[number].pop(text)
    return found
