"""A completion cut into stretches, with everything that was found in each: what the page of one rollout shows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from r1rl.inspect.run_data import Rollout
from r1rl.inspect.samples import middle, shown, visible
from r1rl.store.tokens import Token

PART_CHARACTERS: Final = 20_000
"""A longer completion is read in parts of so many characters."""

_TAG: Final = re.compile(r"</?(?:think|answer)>")
SHADES: Final = 5
# The log-probabilities of a token at which its shade gets darker: 0.9, 0.5, 0.2, 0.05 and 0.01.
_SHADE_FROM: Final = (-0.105, -0.693, -1.609, -2.996, -4.605)


def shade(token: Token) -> int:
    """0 for a token that was expected, SHADES for one that hardly ever comes."""
    return 0 if token.logprob is None else sum(token.logprob < bound for bound in _SHADE_FROM)


@dataclass
class Stretch:
    """Text over which nothing changes. `classes` are CSS classes, `titles` say what was found, `marks` follow it."""

    text: str
    classes: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    marks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The text, with invisible characters as escapes: (text, whether it is an escape)."""
        return list(shown(self.text))

    @property
    def title(self) -> str:
        """What was found here, in words."""
        return visible("; ".join(self.titles))


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    classes: tuple[str, ...]
    title: str
    mark: tuple[str, str] | None = None
    opens: bool = False


def stretches(
    rollout: Rollout, tokens: Sequence[Token] = (), *, first: int = 0, last: int | None = None
) -> Iterator[Stretch]:
    """The characters `first` to `last` of the completion, in order. Linear in the text, but for a sort of the spans."""
    text: str = rollout.row["completion"] or ""
    last = len(text) if last is None else min(last, len(text))
    found = [
        span
        for span in (*_found(rollout), *_tokens(tokens))
        if span.start < last and span.end > first and span.end > span.start
    ]
    edges = sorted({first, last, *(edge for one in found for edge in (one.start, one.end) if first < edge < last)})
    starting = sorted(found, key=lambda span: span.start)
    open_spans: list[_Span] = []
    at = 0
    for start, end in itertools.pairwise(edges):
        open_spans = [span for span in open_spans if span.end > start]
        while at < len(starting) and starting[at].start <= start:
            if starting[at].end > start:
                open_spans.append(starting[at])
            at += 1
        stretch = Stretch(text[start:end])
        for span in open_spans:
            stretch.classes += span.classes
            if span.opens and span.start == start:
                stretch.classes.append("opens")
            if span.title:
                stretch.titles.append(span.title)
            if span.end == end and span.mark is not None:
                stretch.marks.append(span.mark)
                stretch.classes.append("closes")
        yield stretch


def shortened(rollout: Rollout, longest: int) -> list[Stretch]:
    """The stretches of the whole completion; of one that is longer without its middle."""
    size = len(rollout.row["completion"] or "")
    if size <= longest:
        return list(stretches(rollout))
    end = longest // 2
    gap = Stretch(f" … {size - longest:,} characters left out … ", classes=["cut"])
    return [*stretches(rollout, last=longest - end), gap, *stretches(rollout, first=size - end)]


def ribbon(rollout: Rollout) -> list[dict[str, Any]]:
    """Attempts in order, repeats left out as in the figures, each with the transition that leads to it."""
    distinct = [i for i, attempt in enumerate(rollout.attempts) if not attempt.repeat]
    moves = rollout.transitions
    return [
        {
            "right": rollout.attempts[i].right,
            "value": visible(middle(rollout.attempts[i].value or "undefined", 40)),
            "claimed": visible(middle(rollout.attempts[i].claimed or "", 40)),
            "slip": not rollout.free_text and rollout.attempts[i].slip,
            "title": attempt_title(rollout, i),
            "transition": moves[n - 1].replace("_", " → ", 1) if 0 < n <= len(moves) else "",
        }
        for n, i in enumerate(distinct)
    ]


def goal_tests(rollout: Rollout) -> list[dict[str, Any]]:
    """What the text says of its attempts, and whether that is true."""
    text = rollout.row["completion"] or ""
    return [
        {
            "words": visible(middle(" ".join(text[test["start"] : test["end"]].split()), 80)),
            "attempt": test["attempt"] + 1,
            "says": test["says"],
            "true": None if test["truth"] is None else test["says"] == test["truth"],
        }
        for test in rollout.annotation.get("goal_tests") or ()
    ]


def attempt_title(rollout: Rollout, index: int) -> str:
    """An attempt in words: its number, its outcome, what it claims and what is true."""
    attempt = rollout.attempts[index]
    parts = [f"attempt {index + 1} of {len(rollout.attempts)}, {'right' if attempt.right else 'wrong'}"]
    if attempt.status != "complete":
        parts[0] += f", {attempt.status}"
    if attempt.repeat:
        parts[0] += ", repeats the one before"
    parts.append(middle(" ".join(rollout.row["completion"][attempt.start : attempt.end].split()), 120))
    parts.append(f"claimed {'nothing' if attempt.claimed is None else middle(attempt.claimed, 40)}")
    if not rollout.free_text:
        parts.append(f"true value {'undefined' if attempt.value is None else middle(attempt.value, 40)}")
    return visible("; ".join(parts))


def _found(rollout: Rollout) -> Iterator[_Span]:
    text = rollout.row["completion"] or ""
    for match in _TAG.finditer(text):
        yield _Span(match.start(), match.end(), ("tag",), "")
    for i, attempt in enumerate(rollout.attempts):
        kind = "right" if attempt.right else "wrong"
        mark = ("✓" if attempt.right else "✗", kind)
        yield _Span(attempt.start, attempt.end, ("attempt", kind), attempt_title(rollout, i), mark, opens=True)
    for marker in rollout.markers:
        title = f"marker: {marker.kind}, {marker.label}"
        yield _Span(marker.start, marker.end, ("marker", f"label-{marker.label}"), title)
    for test in rollout.annotation.get("goal_tests") or ():
        known = test["truth"] is not None
        true = test["says"] == test["truth"]
        says = f"says attempt {test['attempt'] + 1} {'hits' if test['says'] else 'misses'}"
        title = f"{says}: {'true' if true else 'false'}" if known else says
        yield _Span(test["start"], test["end"], ("goal-test", "" if not known else "true" if true else "false"), title)


def _tokens(tokens: Sequence[Token]) -> Iterator[_Span]:
    for token in tokens:
        if token.logprob is not None:
            title = f"log-probability {token.logprob:.2f}"
            yield _Span(token.start, token.end, (f"p{shade(token)}",), title)
