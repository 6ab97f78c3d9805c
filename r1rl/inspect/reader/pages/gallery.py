"""Rollouts of a kind beside a random sample, each with its number, what it is counted in, and the query for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from r1rl.inspect.reader import queries
from r1rl.inspect.reader.filters import Filters
from r1rl.inspect.reader.pages.rollouts import head
from r1rl.inspect.reader.queries import Place
from r1rl.inspect.reader.spans import Stretch, goal_tests, ribbon, stretches
from r1rl.inspect.reader.state import State
from r1rl.inspect.run_data import Rollout
from r1rl.inspect.samples import ending, shown

SHOWN: Final = 2
LONGEST: Final = 1_600
_PROMPT: Final = 300


@dataclass(frozen=True)
class Kind:
    """A kind of rollout: `asks` makes its selection of the one that it is counted in; `rule` says it in words."""

    name: str
    rule: str
    asks: Callable[[Filters], Filters]
    every_step: bool = False
    rows: int = SHOWN


KINDS: Final = (
    Kind("random", "any rollout of the step, drawn by a hash: what the others are to be judged against",
         lambda f: replace(f, sort="random"), rows=3),
    Kind("first wrong → right", "the earliest in which a right attempt follows a wrong one",
         lambda f: replace(f, move=("wrong_right",), sort="oldest"), every_step=True, rows=1),
    Kind("best wrong → right", "ends right, is clean, and went from wrong to right after the most attempts",
         lambda f: replace(f, move=("wrong_right",), verdict=("correct",), flag=("clean",), sort="-attempts")),
    Kind("worst right → wrong", "had a right attempt, left it, and ends wrong; the longest first",
         lambda f: replace(f, move=("right_wrong",), verdict=("wrong", "truncated", "no_answer", "unparseable"),
                           sort="-tokens")),
    Kind("superficial reflections", "has a marker, and no attempt after one ends otherwise than the one before it",
         lambda f: replace(f, flag=("superficial",), sort="random")),
    Kind("false checks", "says that an attempt hits or misses, and is wrong about it",
         lambda f: replace(f, flag=("false check",), sort="random")),
    Kind("loops", "ends in a repetition loop", lambda f: replace(f, flag=("loop",), sort="random")),
    Kind("guesses", "the answer was never evaluated in the reasoning",
         lambda f: replace(f, flag=("guess",), sort="random")),
)  # fmt: skip


def context(state: State, name: str, step: int | None = None) -> dict[str, Any]:
    """The gallery of one run at a step, the last measured one by default."""
    run = state.run(name)
    found: dict[str, Any] = {
        "run": name, "colour": state.names.index(name), "problem": run.problem,
        "kinds": [], "steps": [], "step": step, "measured_of": "",
    }  # fmt: skip
    if run.data is None:
        return found
    measured = run.data.measured
    step = measured.steps[-1] if step is None else step
    everywhere, here = (Filters.measured(name, measured.selection, at) for at in (None, step))
    totals = {True: queries.count(state.index, everywhere), False: queries.count(state.index, here)}
    return found | {
        "step": step,
        "steps": measured.steps,
        "measured_of": measured.selection.words,
        "kinds": [_kind(state, kind, kind.asks(everywhere if kind.every_step else here), totals[kind.every_step])
                  for kind in KINDS],
    }  # fmt: skip


def _kind(state: State, kind: Kind, asked: Filters, total: int) -> dict[str, Any]:
    places = queries.first(state.index, asked, kind.rows)
    return {
        "name": kind.name,
        "rule": kind.rule,
        "every_step": kind.every_step,
        "count": queries.count(state.index, asked),
        "total": total,
        "link": "/rollouts?" + asked.query(),
        "cards": [
            card(state, place, rollout, asked) for place, rollout in queries.rollouts(state.index, places).items()
        ],
    }


def card(state: State, place: Place, rollout: Rollout, filters: Filters) -> dict[str, Any]:
    """A rollout in short: the beginning and the end of a long text."""
    text = rollout.row["completion"] or ""
    if len(text) <= LONGEST:
        cut = list(stretches(rollout))
    else:
        half = LONGEST // 2
        gap = Stretch(f" … {len(text) - 2 * half:,} characters left out … ", classes=["cut"])
        cut = [*stretches(rollout, last=half), gap, *stretches(rollout, first=len(text) - half)]
    return {
        "link": f"/rollout?at={quote(str(place), safe='')}&{filters.query()}",
        "view": head(state, rollout, place),
        "prompt_text": list(shown(ending(rollout.row["prompt"] or "", _PROMPT))),
        "stretches": cut,
        "ribbon": ribbon(rollout),
        "goal_tests": goal_tests(rollout),
    }
