"""The table of rollouts, and one rollout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from r1rl.inspect.reader import queries
from r1rl.inspect.reader.filters import (
    FLAG_WORDS,
    FLAGS,
    MARKER_KINDS,
    MARKER_LABELS,
    MOVES,
    PAGE_ROWS,
    SORTS,
    VERDICTS,
    Filters,
    named,
)
from r1rl.inspect.reader.queries import Place
from r1rl.inspect.reader.spans import PART_CHARACTERS, goal_tests, ribbon, stretches
from r1rl.inspect.reader.state import State
from r1rl.inspect.run_data import Rollout
from r1rl.inspect.samples import ending, middle, shown, visible
from r1rl.store.schema import REWARD_PREFIX
from r1rl.store.tokens import tokens_of

_BARS: Final = 60
LONGEST_PROMPT: Final = 20_000
SORT_WORDS: Final = {
    "newest": "latest step first", "oldest": "earliest step first", "-reward": "best paid first",
    "reward": "worst paid first", "-tokens": "longest first", "tokens": "shortest first",
    "-attempts": "most attempts first", "attempts": "fewest attempts first", "random": "in random order",
}  # fmt: skip


def table(state: State, filters: Filters) -> dict[str, Any]:
    """A page of rollouts, and the form that asks for others."""
    found = queries.page(state.index, filters)
    pages = max(1, -(-found.count // PAGE_ROWS))
    return form(state, filters) | {
        "rows": [row_view(state, row, filters) for row in found.rows],
        "count": found.count,
        "total": found.total,
        "pages": pages,
        "first_row": (filters.page - 1) * PAGE_ROWS + 1,
        "outcomes": [("not judged" if one is None else one, number) for one, number in found.outcomes.items()],
        "bars": bars(found.steps),
        "before": filters.query(page=filters.page - 1) if filters.page > 1 else None,
        "after": filters.query(page=filters.page + 1) if filters.page < pages else None,
        "step_before": _next_step(state, filters, -1),
        "step_after": _next_step(state, filters, 1),
    }


def form(state: State, filters: Filters) -> dict[str, Any]:
    """What the form of filters offers."""
    return {
        "filters": filters,
        "query": filters.query(),
        "selection": filters.chosen.query(),
        "names": state.names,
        "verdicts": VERDICTS,
        "moves": [(name, name.replace("_", " → ", 1)) for name in MOVES],
        "marker_kinds": MARKER_KINDS,
        "marker_labels": MARKER_LABELS,
        "flags": [(name, FLAG_WORDS[name]) for name in FLAGS],
        "sorts": [(name, SORT_WORDS[name]) for name in SORTS],
        "active": _active(filters),
    }


def row_view(state: State, row: dict[str, Any], filters: Filters) -> dict[str, Any]:
    """A line of the table."""
    place: Place = row["place"]
    path = row["path"] or ""
    return {
        "place": str(place),
        "link": "/rollout?" + urlencode([("at", str(place)), *replace(filters, page=1).items()]),
        "run": row["run"],
        "colour": state.names.index(row["run"]),
        "kind": row["kind"],
        "greedy": row["temperature"] == 0,
        "step": row["step"],
        "prompt_id": visible(middle(row["prompt_id"], 60)),
        "prompt_link": prompt_link(
            place.run, row["prompt_id"], row["kind"], row["temperature"] == 0, row["sample_idx"]
        ),
        "sample_idx": row["sample_idx"],
        "outcome": (row["outcome"] or "not judged").replace("_", " "),
        "badge": badge(row["correct"]),
        "reason": visible(row["reason"] or ""),
        "reward": row["reward"],
        "tokens": row["n_tokens"],
        "attempts": [(move == "R") for move in path],
        "more": max(0, (row["n_attempts"] or 0) - len(path)),
        "attempted": row["n_attempts"] is not None,
        "flags": named(row["flags"], FLAGS),
        "text": _marked(" ".join((row.get("snippet") or "").split()), " ".join(filters.text.split())),
        "cut": row.get("snippet_from", 0) > 0,
    }


def one(state: State, place: Place, filters: Filters, *, part: int = 1, shaded: bool = False) -> dict[str, Any]:
    """One rollout whole: its text in parts, its rewards, and its group."""
    index = state.index
    rollout = queries.rollout(index, place)
    row = rollout.row
    text = row["completion"] or ""
    parts = max(1, -(-len(text) // PART_CHARACTERS))
    part = min(max(1, part), parts)
    run = index.runs[index.names.index(place.run)]
    tokens = tokens_of(run, row) if shaded else None
    first = (part - 1) * PART_CHARACTERS
    before, after, position, number = queries.beside(index, filters, place)
    greedy = row["temperature"] == 0
    steps = [
        (other["step"], other["place"])
        for other in queries.across_steps(index, place.run, row["prompt_id"], greedy=greedy, kind=place.kind)
        if other["sample_idx"] == row["sample_idx"]
    ]
    keep = filters.items()

    def link(to: Place | None) -> str | None:
        extra = [("shade", "1")] if shaded else []
        return None if to is None else "/rollout?" + urlencode([("at", str(to)), *extra, *keep])

    here = link(place) or ""
    return {
        "place": str(place),
        "filters": filters,
        "back": "/rollouts?" + filters.query(),
        "position": position,
        "number": number,
        "before": link(before),
        "after": link(after),
        "step_before": link(max((step for step in steps if step[0] < place.step), default=(0, None))[1]),
        "step_after": link(min((step for step in steps if step[0] > place.step), default=(0, None), key=_step)[1]),
        "view": head(state, rollout, place),
        "prompt_text": list(shown(ending(row["prompt"] or "", LONGEST_PROMPT))),
        "prefill": list(shown(row.get("prefill") or "")),
        "stretches": list(stretches(rollout, tokens or (), first=first, last=first + PART_CHARACTERS)),
        "part": part,
        "parts": parts,
        "part_links": [f"{here}&part={i}" for i in range(1, parts + 1)],
        "n_chars": len(text),
        "shaded": shaded,
        "shade_link": "/rollout?" + urlencode([("at", str(place)), *([] if shaded else [("shade", "1")]), *keep]),
        "can_shade": bool(row.get("logprobs")),
        "shade_failed": shaded and tokens is None,
        "ribbon": ribbon(rollout),
        "goal_tests": goal_tests(rollout),
        "markers": [{"kind": m.kind, "label": m.label} for m in rollout.markers],
        "rewards": _rewards(state, place, row),
        "facts": _facts(row, rollout),
        "group": [_of_group(state, other, place, filters) for other in queries.group(index, place)],
        "flags": [(name, FLAG_WORDS[name]) for name in _flags(index, place)],
        "annotated": rollout.annotation.get("n_chars") is not None,
        "prompt_link": prompt_link(place.run, row["prompt_id"], place.kind, greedy, row["sample_idx"]),
    }


def head(state: State, rollout: Rollout, place: Place) -> dict[str, Any]:
    """What stands above a rollout's text."""
    row = rollout.row
    return {
        "run": place.run,
        "colour": state.names.index(place.run),
        "outcome": (rollout.outcome or "not judged").replace("_", " "),
        "badge": badge(rollout.annotation["correct"] if rollout.annotation["correct"] is not None else
                       None if row["verdict"] in (None, "bad_gold") else row["verdict"] == "correct"),
        "reason": visible(middle(row["verdict_reason"] or "", 200)),
        "gold": visible(middle(row["gold"] or "", 200)),
        "prompt_id": visible(middle(row["prompt_id"], 80)),
        "sample_idx": row["sample_idx"],
        "kind": row["kind"],
        "greedy": row["temperature"] == 0,
        "step": row["step"],
        "tokens": row["n_tokens"],
        "finish": row["finish_reason"],
        "reward": row["reward"],
    }  # fmt: skip


def _marked(text: str, wanted: str) -> list[tuple[list[tuple[str, bool]], bool]]:
    """The text in stretches, each in pieces and with whether it is what was searched for."""
    folded = text.lower() if wanted == wanted.lower() and len(text.lower()) == len(text) else text
    found, at = [], 0
    while wanted and (start := folded.find(wanted, at)) >= 0:
        found += [(list(shown(text[at:start])), False), (list(shown(text[start : start + len(wanted)])), True)]
        at = start + len(wanted)
    return [*found, (list(shown(text[at:])), False)]


def badge(correct: bool | None) -> str:
    """The class of a verdict."""
    return "unjudged" if correct is None else "right" if correct else "wrong"


def prompt_link(run: str, prompt: str, kind: str, greedy: bool, sample: int) -> str:
    """The page of one prompt across steps."""
    pairs = [("run", run), ("prompt", prompt), ("sample", str(sample))]
    return "/prompt?" + urlencode(
        [*pairs, *([("greedy", "1")] if greedy else []), *([("kind", kind)] if kind != "eval" else [])]
    )


def bars(by_step: dict[int, int]) -> list[dict[str, Any]]:
    """How a selection lies over steps, as at most _BARS bars: their steps, counts, and places of 100 by 24."""
    if not by_step:
        return []
    steps = sorted(by_step)
    size = -(-len(steps) // _BARS)
    groups = [steps[i : i + size] for i in range(0, len(steps), size)]
    counted = [sum(by_step[step] for step in group) for group in groups]
    most = max(counted)
    return [
        {
            "step": str(group[0]) if len(group) == 1 else f"{group[0]}..{group[-1]}",
            "count": number,
            "height": max(1, round(24 * number / most)),
        }
        for group, number in zip(groups, counted, strict=True)
    ]


def _step(pair: tuple[int, Place | None]) -> int:
    return pair[0]


def _next_step(state: State, filters: Filters, way: int) -> str | None:
    """The query of the same selection at the step after, or before, the one it is at."""
    if not filters.step.isdigit():
        return None
    runs = [filters.run] if filters.run in state.names else state.names
    known: set[int] = set()
    for run in runs:
        for kind, steps in queries.steps(state.index, run).items():
            known |= set(steps) if filters.kind in ("", kind) else set()
    at = int(filters.step)
    found = [step for step in known if (step > at if way > 0 else step < at)]
    return filters.query(step=str(min(found) if way > 0 else max(found)), page=1) if found else None


def _active(filters: Filters) -> list[tuple[str, str, str]]:
    """Each condition as (name, value, the query without it)."""
    found = []
    for name, value in filters.chosen.items():
        current = getattr(filters, name)
        left: Any = tuple(one for one in current if one != value) if isinstance(current, tuple) else ""
        found.append((name, visible(middle(value, 60)), filters.query(**{name: left, "page": 1})))
    return found


def _rewards(state: State, place: Place, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rewards by rule with their weights, where the recipe says them."""
    data = state.run(place.run).data
    recipe = {} if data is None else data.recipe
    names, weights = recipe.get("reward_funcs") or [], recipe.get("reward_weights") or []
    known = dict(zip(map(str, names), weights, strict=False)) if isinstance(names, Iterable) else {}
    return [
        {
            "name": visible(middle(name.removeprefix(REWARD_PREFIX), 60)),
            "value": row[name],
            "weight": known.get(name.removeprefix(REWARD_PREFIX)),
        }
        for name in sorted(row)
        if name.startswith(REWARD_PREFIX)
    ]


def _facts(row: dict[str, Any], rollout: Rollout) -> list[tuple[str, str]]:
    ended = {"eos": "by itself", "stop": "at a stop string", "length": "cut at the cap"}
    pairs: Sequence[tuple[str, Any]] = (
        ("gold", middle(row["gold"] or "", 200)),
        ("tokens", row["n_tokens"]),
        ("ended", ended.get(row["finish_reason"] or "", row["finish_reason"])),
        ("advantage", None if row["advantage"] is None else f"{row['advantage']:+.3f}"),
        ("temperature", row["temperature"]),
        ("top p", row["top_p"]),
        ("cap", row["cap"]),
        ("policy of step", row["policy_step"]),
        ("rank", row["rank"]),
        ("group", row["group_id"]),
        ("verifier", rollout.verifier),
        ("task", row["task"]),
    )
    return [(name, visible(str(value))) for name, value in pairs if value not in (None, "")]


def _flags(index: Any, place: Place) -> list[str]:
    found = index.ask(
        'SELECT flags FROM rollouts WHERE run = ? AND kind = ? AND step = ? AND rank = ? AND "row" = ?',
        [index.names.index(place.run), place.kind, place.step, place.rank, place.row],
    )
    return [name for name in named(found[0]["flags"] if found else 0, FLAGS) if name not in ("clean", "retried")]


def _of_group(state: State, row: dict[str, Any], me: Place, filters: Filters) -> dict[str, Any]:
    return row_view(state, row, filters) | {"me": row["place"] == me}
