"""One question across steps, side by side; and the list of questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from r1rl.inspect.reader import queries
from r1rl.inspect.reader.diff import changes
from r1rl.inspect.reader.pages.rollouts import badge, prompt_link
from r1rl.inspect.reader.queries import Place
from r1rl.inspect.reader.spans import ribbon
from r1rl.inspect.reader.state import State
from r1rl.inspect.reader.tokens import pieces
from r1rl.inspect.samples import ending, middle, shown, visible
from r1rl.store.tokens import tokens_of

MOST_STEPS: Final = 24
"""So many steps stand side by side at most: the first, the last and evenly many between."""

LONGEST: Final = 12_000
PROMPTS_A_PAGE: Final = 50


def listing(state: State, run: str, kind: str, search: str, page: int) -> dict[str, Any]:
    """The prompts of a run, those first that more rollouts answer at the last step than at the first."""
    state.run(run)
    rows = queries.prompts(
        state.index, run, kind=kind, search=search, rows=PROMPTS_A_PAGE, offset=(page - 1) * PROMPTS_A_PAGE
    )
    number = rows[0]["prompts"] if rows else 0
    pages = max(1, -(-number // PROMPTS_A_PAGE))

    def at(other: int) -> str:
        return urlencode([("run", run), ("kind", kind), ("search", search), ("page", str(other))])

    return {
        "run": run,
        "colour": state.names.index(run),
        "names": state.names,
        "kind": kind,
        "search": search,
        "page": page,
        "pages": pages,
        "number": number,
        "before": at(page - 1) if page > 1 else None,
        "after": at(page + 1) if page < pages else None,
        "rows": [
            row | {"prompt_id": visible(middle(row["prompt_id"], 80)),
                   "link": prompt_link(run, row["prompt_id"], kind, False, 0)}
            for row in rows
        ],
    }  # fmt: skip


def one(state: State, run: str, prompt_id: str, *, kind: str, greedy: bool, sample: int) -> dict[str, Any]:
    """One prompt's answer at every step, each compared with the one before. Raises LookupError for no such prompt."""
    state.run(run)
    index = state.index
    rows = queries.across_steps(index, run, prompt_id, greedy=greedy, kind=kind)
    if not rows:
        raise LookupError(f"prompt={prompt_id[:80]!r}: no such {kind} rollouts of {run}")
    samples = sorted({row["sample_idx"] for row in rows})
    sample = sample if sample in samples else samples[0]
    steps = sorted({row["step"] for row in rows})
    mine: dict[int, Place] = {}
    for row in rows:
        if row["sample_idx"] == sample or row["step"] not in mine:
            mine[row["step"]] = row["place"]
    columns = _columns(state, [mine[step] for step in _spread(steps)])
    return {
        "run": run,
        "colour": state.names.index(run),
        "names": state.names,
        "kind": kind,
        "greedy": greedy,
        "sample": sample,
        "samples": [(one, prompt_link(run, prompt_id, kind, greedy, one)) for one in samples],
        "other_sampling": prompt_link(run, prompt_id, kind, not greedy, 0),
        "prompt_id": visible(prompt_id),
        "prompt_text": list(shown(ending(columns[0].pop("prompt"), 4_000))) if columns else [],
        "gold": columns[0].pop("gold") if columns else "",
        "columns": columns,
        "steps": len(steps),
        "grid": _grid(rows, steps),
        "all": "/rollouts?" + urlencode([("run", run), ("kind", kind), ("prompt", prompt_id)]),
    }


def _columns(state: State, places: Sequence[Place]) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = []
    before: list[str] | None = None
    found = queries.rollouts(state.index, places)
    for place in places:
        rollout = found[place]
        row = rollout.row
        text = row["completion"] or ""
        run = state.index.runs[state.names.index(place.run)]
        tokens = pieces(text[:LONGEST], tokens_of(run, row) if len(text) <= LONGEST else None)
        compared = None if before is None else changes(before, tokens)
        same = [{"kind": "same", "pieces": list(shown(text[:LONGEST]))}]
        columns.append(
            {
                "step": place.step,
                "place": str(place),
                "link": "/rollout?" + urlencode([("at", str(place))]),
                "badge": badge(rollout.annotation["correct"]),
                "outcome": (rollout.outcome or "not judged").replace("_", " "),
                "tokens": row["n_tokens"],
                "reward": row["reward"],
                "ribbon": ribbon(rollout),
                "changes": same
                if compared is None
                else [{"kind": one.kind, "pieces": list(shown(one.text))} for one in compared],
                "compared": compared is not None,
                "too_long": before is not None and compared is None,
                "left_out": max(0, len(text) - LONGEST),
                "same_as_before": before == tokens,
                "prompt": row["prompt"] or "",
                "gold": visible(middle(row["gold"] or "", 200)),
            }
        )
        before = tokens
    return columns


def _spread(steps: Sequence[int]) -> list[int]:
    few = min(MOST_STEPS, len(steps))
    return [steps[i * (len(steps) - 1) // max(1, few - 1)] for i in range(few)]


def _grid(rows: Sequence[dict[str, Any]], steps: Sequence[int]) -> list[dict[str, Any]]:
    """Right and wrong of every sample at every step, for a small map of them."""
    shown_steps = _spread(steps)
    found = []
    for sample in sorted({row["sample_idx"] for row in rows})[:64]:
        by_step = {row["step"]: row for row in rows if row["sample_idx"] == sample}
        cells = []
        for step in shown_steps:
            row = by_step.get(step)
            cells.append(
                None if row is None else {"badge": badge(row["correct"]), "step": step,
                                          "link": "/rollout?" + urlencode([("at", str(row["place"]))])}
            )  # fmt: skip
        found.append({"sample": sample, "cells": cells})
    return found
