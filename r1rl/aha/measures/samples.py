"""What a measure reads: the rollouts of a run at a few steps with their annotations, by prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from r1rl.aha.detect.annotation import KEY, verifier_of
from r1rl.aha.detect.math_attempts import VERIFIERS, graded
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.aha.figures.annotations import connection
from r1rl.aha.figures.figures import Figure, Selection
from r1rl.store import store
from r1rl.store.tokens import Token, aligned, tokenizer_of
from r1rl.verify import expression as expressions
from r1rl.verify.extraction import answer_tag, boxed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TOKENS: Final = 3_000_000
"""Of so many tokens at most it is looked where they stand in the text, which takes seconds; of more, of those of every
second prompt, or third, …, and lengths are then counted in characters."""

_ROWS: Final = (*KEY, "task", "verifier", "prefill", "completion", "n_tokens", "gold", "meta")
_TOKENS: Final = (*KEY, "token_ids", "logprobs")
_ANNOTATIONS: Final = (*KEY, "correct", "attempts", "markers", "goal_tests")


class Span(NamedTuple):
    """An attempt, a marker or a goal test of the annotations; what it is not has the default."""

    start: int
    end: int
    value: str | None = None
    right: bool = False
    repeat: bool = False
    kind: str = ""
    label: str = ""


@dataclass(frozen=True)
class Sample:
    """One rollout: its row of the store and its annotations.

    Args:
        tokenizer: that of the run, where it is known and the row has its tokens.
        in_tokens: whether lengths are counted in tokens; else in characters, so that all of a run are alike.
    """

    row: Mapping[str, Any]
    annotation: Mapping[str, Any]
    tokenizer: Tokenizer | None = None
    in_tokens: bool = False

    @property
    def correct(self) -> bool | None:
        """The verdict on its answer; None where it is not known."""
        found: bool | None = self.annotation["correct"]
        return found

    @cached_property
    def reasoning(self) -> tuple[int, int]:
        """Where the completion reasons, in characters, without white space at the ends."""
        text = self.row["completion"] or ""
        spans = reasoning_spans(text, self.row.get("prefill") or "")
        start, end = spans[0][0], spans[-1][1]
        return end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())

    @cached_property
    def attempts(self) -> list[Span] | None:
        """Every attempt, repeats too; None where the task has no detector."""
        found = self.annotation["attempts"]
        return None if found is None else [_span(one) for one in found]

    @cached_property
    def markers(self) -> list[Span]:
        """The strict markers of the reasoning."""
        return [_span(one) for one in self.annotation["markers"] or ()]

    @cached_property
    def goal_tests(self) -> list[Span]:
        """What the reasoning says of its attempts."""
        return [_span(one) for one in self.annotation["goal_tests"] or ()]

    @cached_property
    def tokens(self) -> list[Token] | None:
        """The stored tokens over the text; None where ids or the tokenizer are missing."""
        ids = self.row.get("token_ids")
        if not ids or self.tokenizer is None:
            return None
        return aligned(self.tokenizer, self.row["completion"] or "", ids, self.row.get("logprobs"))

    def length(self, start: int, end: int) -> int:
        """Tokens that end in a stretch of the completion, as many begin with the blank before it; or its characters.

        0 of a rollout whose tokens do not spell its text, where others are counted in tokens.
        """
        if not self.in_tokens:
            return max(0, end - start)
        return sum(start < token.end <= end for token in self.tokens or ())

    @cached_property
    def answer(self) -> str | None:
        """What it answers, in a form that equal answers share; None without an answer.

        Countdown: the expression up to commutativity and associativity. Else the verifier's normal form.
        """
        text = self.row["completion"] or ""
        said = answer_tag(text) or boxed(text)[0]
        if said is None:
            return None
        verifier = verifier_of(self.row)
        if verifier == "countdown":
            try:
                return expressions.canonical(expressions.parse_equation(said)[0])
            except expressions.ExpressionError:
                return " ".join(said.split())
        if verifier in VERIFIERS and isinstance(self.row.get("gold"), str):
            value = graded(verifier, said, self.row["gold"], self.row.get("meta") or "").value
            return value or " ".join(said.split())
        return " ".join(said.split())


Prompts: TypeAlias = Mapping[str, Sequence[Sequence[Sample]]]
"""Prompt -> its rollouts at each measured step."""


class Term(NamedTuple):
    """What is added to a figure's two sums for a prompt at a step (its place among the measured ones)."""

    prompt: str
    step: int
    key: str
    above: float
    below: float


@dataclass(frozen=True)
class Measure:
    """A claim's figures and how they are counted.

    Args:
        name: its file's.
        source: where the claim was made.
        figures: what it counts; numerator and denominator are words here, not SQL, as texts must be read.
        count: the terms of the figures' sums over all rollouts.
    """

    name: str
    source: str
    figures: Sequence[Figure]
    count: Callable[[Prompts], Iterator[Term]]


def every(prompts: Prompts) -> Iterator[tuple[str, int, Sample]]:
    """Each rollout with its prompt and the place of its step."""
    for prompt, steps in prompts.items():
        for place, samples in enumerate(steps):
            for sample in samples:
                yield prompt, place, sample


def load(run: Path | str, selection: Selection, steps: Sequence[int]) -> dict[str, list[list[Sample]]]:
    """The selected rollouts at some steps, which must be annotated. Raises ValueError where there are none."""
    with connection(run, kind=selection.kind, steps=steps) as database:
        columns = ", ".join(_ANNOTATIONS)
        answer = database.sql(f"SELECT {columns} FROM annotations WHERE {selection.where}").to_arrow_table()
    annotated = {_key(row): row for row in answer.to_pylist()}
    rows = store.read(run, kind=selection.kind, steps=steps, columns=_ROWS).to_pylist()
    total = sum(row["n_tokens"] or 0 for row in rows)
    every_nth = max(1, -(-total // MOST_TOKENS))
    tokens = _tokens(run, selection, steps, sorted({row["prompt_id"] for row in rows})[::every_nth])
    tokenizer = tokenizer_of(Path(run)) if tokens else None
    in_tokens = tokenizer is not None and every_nth == 1
    place = {step: i for i, step in enumerate(steps)}
    found: dict[str, list[list[Sample]]] = {}
    for row in rows:
        key = _key(row)
        if (annotation := annotated.get(key)) is not None:
            at = found.setdefault(row["prompt_id"], [[] for _ in steps])
            at[place[row["step"]]].append(Sample(row | tokens.get(key, {}), annotation, tokenizer, in_tokens))
    return found


def _tokens(
    run: Path | str, selection: Selection, steps: Sequence[int], prompts: Sequence[str]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Ids and log-probabilities of the rollouts of some prompts."""
    table = store.read(run, kind=selection.kind, steps=steps, columns=_TOKENS)
    table = table.filter(pc.is_in(table["prompt_id"], pa.array(prompts, pa.string())))
    return {
        _key(row): {"token_ids": row["token_ids"], "logprobs": row["logprobs"]}
        for row in table.to_pylist()
        if row["token_ids"] or row["logprobs"]
    }


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _span(found: Mapping[str, Any]) -> Span:
    return Span(**{name: found[name] for name in Span._fields if found.get(name) is not None})
