"""Which rollouts are looked at, as a dataclass that is written to and read from a URL's query: a permalink."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

from r1rl.aha.detect.lexicons import LEXICONS
from r1rl.aha.figures.figures import Selection
from r1rl.ground.errors import nearest
from r1rl.store.schema import KINDS
from r1rl.verify.verdict import OUTCOMES

MOVES: Final = ("wrong_right", "right_wrong", "right_right", "wrong_same", "wrong_different")
MARKER_KINDS: Final = tuple(dict.fromkeys(pattern.kind for pattern in LEXICONS["strict"].patterns))
MARKER_LABELS: Final = ("effective", "confirmatory", "harmful", "idle")
MARKERS: Final = (*MARKER_KINDS, *MARKER_LABELS)
_OVER: Final = ("wrong_right", "right_wrong")

# Of the row of `annotations`. "superficial": a marker, and no attempt after one ends otherwise than those before it.
FLAG_SQL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "truncated": "truncated",
        "loop": "repetition_loop",
        "continues": "continues_after_answer",
        "code only": "code_only",
        "mixed language": "mixed_language",
        "clean": "clean",
        "retried": "n_attempts > 1",
        "superficial": "len(markers) > 0 AND n_attempts IS NOT NULL "
        "AND len([m for m in markers if m.label IN ('effective', 'harmful')]) = 0",
        "guess": "guess",
        "slip": "slips > 0",
        "false check": "len([g for g in goal_tests if g.says <> g.truth]) > 0",
        "duplicate retry": "duplicate_retries > 0",
    }
)
FLAGS: Final = tuple(FLAG_SQL)
FLAG_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "truncated": "cut off at the cap",
        "loop": "ends in a repetition loop",
        "continues": "goes on after the answer",
        "code only": "nothing but code",
        "mixed language": "mixes languages",
        "clean": "has none of the hygiene flags",
        "retried": "has more than one attempt",
        "superficial": "has a marker, and none changes from wrong to right or back",
        "guess": "the answer was never evaluated in the reasoning",
        "slip": "claims a wrong value for a calculation",
        "false check": "says of an attempt what is not true",
        "duplicate retry": "tries an earlier attempt again",
    }
)
SORTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "newest": "step DESC",
        "oldest": "step",
        "reward": "reward NULLS LAST, step DESC",
        "-reward": "reward DESC NULLS LAST, step DESC",
        "tokens": "n_tokens NULLS LAST",
        "-tokens": "n_tokens DESC NULLS LAST",
        "attempts": "n_attempts NULLS LAST, step DESC",
        "-attempts": "n_attempts DESC NULLS LAST, step DESC",
        "random": "hash(shard, row)",
    }
)
LAST: Final = "run, kind, prompt_id, temperature, sample_idx, shard, row"
"""Sorts what a sort leaves open, so that a page is the same each time."""

LONGEST: Final = 500
PAGE_ROWS: Final = 50
_MOST_PAGES: Final = 10**7
VERDICTS: Final = (*OUTCOMES, "not judged")
_SEVERAL: Final = MappingProxyType({"verdict": VERDICTS, "move": MOVES, "marker": MARKERS, "flag": FLAGS})
_ONE_OF: Final = MappingProxyType({"kind": KINDS, "sampling": ("sampled", "greedy"), "sort": tuple(SORTS)})
_RANGES: Final = ("step", "reward", "tokens")


@dataclass(frozen=True)
class Filters:
    """What is asked for; an empty field asks for nothing. Raises ValueError for a value that means nothing.

    Args:
        run: a run's name.
        kind: train or eval.
        sampling: sampled or greedy.
        step, reward, tokens: a number, or a range such as 10..40, 10.. or ..40, both ends included.
        prompt, group: a problem's id, a group's id.
        verdict: any of verify.verdict.OUTCOMES, or "not judged".
        reason: what the verifier's reason begins with.
        move: any of these transitions between attempts.
        marker: any of these kinds or labels of strict markers.
        flag: all of FLAGS that are named.
        text: what the completion contains; in lower case, whatever the case of the completion.
        regex: a regular expression (RE2) found in the completion.
        sort: a key of SORTS.
        page: from 1.
    """

    run: str = ""
    kind: str = ""
    sampling: str = ""
    step: str = ""
    prompt: str = ""
    group: str = ""
    reward: str = ""
    tokens: str = ""
    verdict: tuple[str, ...] = ()
    reason: str = ""
    move: tuple[str, ...] = ()
    marker: tuple[str, ...] = ()
    flag: tuple[str, ...] = ()
    text: str = ""
    regex: str = ""
    sort: str = "newest"
    page: int = 1

    def __post_init__(self) -> None:
        for name, allowed in _SEVERAL.items():
            for value in getattr(self, name):
                _check(name, value, allowed)
        for name, allowed in _ONE_OF.items():
            if value := getattr(self, name):
                _check(name, value, allowed)
        for name in _RANGES:
            _range(name, getattr(self, name))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and len(value) > LONGEST:
                raise ValueError(f"{field.name}: {len(value):,} characters; at most {LONGEST} are looked for")
        if not 1 <= self.page <= _MOST_PAGES:
            raise ValueError(f"page={self.page}: pages count from 1")

    @classmethod
    def measured(cls, run: str, selection: Selection, step: int | None = None) -> Filters:
        """The rollouts of a run that its figures are measured of, at every step or one."""
        sampling = "" if selection.kind == "train" else "greedy" if selection.greedy else "sampled"
        return cls(run=run, kind=selection.kind, sampling=sampling, step="" if step is None else str(step))

    @classmethod
    def read(cls, items: Iterable[tuple[str, str]]) -> Filters:
        """From the names and values of a URL's query; names that are no filter are left to others."""
        known = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in items:
            if name not in known or not value:
                continue
            if name in _SEVERAL:
                values[name] = tuple(dict.fromkeys((*values.get(name, ()), value)))
            elif name == "page":
                values[name] = _page(value)
            else:
                values[name] = value
        return cls(**values)

    def items(self) -> list[tuple[str, str]]:
        """Names and values, those that ask for nothing left out."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            found += [(field.name, str(one)) for one in (value if isinstance(value, tuple) else (value,))]
        return found

    def query(self, **changes: Any) -> str:
        """The URL's query, with some fields changed."""
        return urlencode((replace(self, **changes) if changes else self).items())

    @property
    def searches(self) -> bool:
        """Whether texts have to be read."""
        return bool(self.text or self.regex)

    @property
    def chosen(self) -> Filters:
        """The same selection, whatever its order and page."""
        return replace(self, sort="newest", page=1)

    @cached_property
    def order(self) -> str:
        """ORDER BY, over the columns of the index."""
        return f"{SORTS[self.sort or 'newest']}, {LAST}"

    def where(self, runs: list[str]) -> tuple[str, list[Any]]:
        """A condition on the index, and its parameters; `text` and `regex` are no part of it."""
        conditions = ["true"]
        values: list[Any] = []
        if self.run:
            _check("run", self.run, tuple(runs))
            conditions.append("run = ?")
            values.append(runs.index(self.run))
        for column, value in (("kind", self.kind), ("prompt_id", self.prompt), ("group_id", self.group)):
            if value:
                conditions.append(f"{column} = ?")
                values.append(value)
        if self.sampling:
            conditions.append(f"temperature IS {'NOT ' if self.sampling == 'greedy' else ''}DISTINCT FROM 0")
        for column, name in (("step", "step"), ("reward", "reward"), ("n_tokens", "tokens")):
            low, high = _range(name, getattr(self, name))
            for bound, sign in ((low, ">="), (high, "<=")):
                if bound is not None:
                    conditions.append(f"{column} {sign} ?")
                    values.append(bound)
        if self.verdict:
            conditions.append("list_contains(?, coalesce(outcome, 'not judged'))")
            values.append(list(self.verdict))
        if self.reason:
            conditions.append("starts_with(reason, ?)")
            values.append(self.reason)
        for column, names, known in (("moves", self.move, MOVES), ("markers", self.marker, MARKERS)):
            if names:
                conditions.append(f"{column} & {_bits(names, known)} <> 0")
        if self.flag:
            bits = _bits(self.flag, FLAGS)
            conditions.append(f"flags & {bits} = {bits}")
        return " AND ".join(conditions), values

    def text_where(self) -> tuple[str, list[str]]:
        """A condition on `completion` for `text` and `regex`, and its parameters."""
        conditions, values = ["true"], []
        if self.text:
            column = "lower(completion)" if self.text == self.text.lower() else "completion"
            conditions.append(f"contains({column}, ?)")
            values.append(self.text)
        if self.regex:
            conditions.append("regexp_matches(completion, ?)")
            values.append(self.regex)
        return " AND ".join(conditions), values


def bits_sql(column: str, known: tuple[str, ...]) -> str:
    """SQL that makes of a list of names a number with a bit for each of `known` that is in it; null of null."""
    parts = [f"list_contains({column}, '{name}')::INTEGER * {1 << i}" for i, name in enumerate(known)]
    return f"({' + '.join(parts)})"


def named(bits: int | None, known: tuple[str, ...]) -> list[str]:
    """The names whose bits are set."""
    return [name for i, name in enumerate(known) if (bits or 0) >> i & 1]


def _bits(names: Iterable[str], known: tuple[str, ...]) -> int:
    return sum(1 << known.index(name) for name in set(names))


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        shown = value if len(value) <= 60 else f"{value[:60]}…"
        raise ValueError(f"{name}={shown!r}: need one of {', '.join(allowed)}{nearest(value, list(allowed))}")


def _range(name: str, text: str) -> tuple[float | None, float | None]:
    """Both ends of "20", "10..40", "10.." or "..40"; steps and tokens may also be "10-40"."""
    text = text.strip()
    if not text:
        return None, None
    low, dots, high = text.partition("..")
    if not dots and name != "reward":
        low, dots, high = text.partition("-")
    if not dots:
        high = low
    try:
        ends = [float(end) if end.strip() else None for end in (low, high)]
    except ValueError:
        ends = [math.nan]
    if any(end is not None and not math.isfinite(end) for end in ends):
        raise ValueError(f"{name}={text[:60]!r}: need a number, or a range such as 10..40, 10.. or ..40")
    return ends[0], ends[1]


def _page(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"page={text[:20]!r}: need a number from 1") from None
