"""A writer whose every word is made up by functions of the text before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from r1rl.aha.counterfactual.tokens import Cuts, TextCuts, Token
from r1rl.rollout.engine import Completion
from tests.aha.annotated_runs import rollout


class MadeUp:
    """See `writers.Writer`; counts what it is asked in `written`.

    Args:
        says: the text before -> what is written behind it.
        sure: the text before, what is wanted -> its log-probability.
        unsure: the text before a place -> the entropy there.
        words: whether a text can be written.
    """

    extraction = "answer-tag"

    def __init__(
        self,
        says: Callable[[str], str] = lambda before: "",
        sure: Callable[[str, str], float] = lambda before, wanted: 0.0,
        unsure: Callable[[str], float] = lambda before: 0.0,
        words: Callable[[str], bool] = lambda text: True,
    ) -> None:
        self.says, self.sure, self.unsure = says, sure, unsure
        self.written: list[str] = []
        self.tokens: Cuts = TextCuts()
        self.tokens.knows = words  # type: ignore[method-assign, assignment]

    def prompt(self, text: str) -> list[Token]:
        return self.tokens.of(text)

    def ends(self, token: Token) -> bool:
        return False

    def write(self, before: list[list[Token]], keys: list[int], rooms: list[int]) -> list[Completion]:
        self.written += [self.tokens.text(one) for one in before]
        return [Completion(self.tokens.of(self.says(self.tokens.text(one))), [], "eos") for one in before]

    def next_tokens(self, before: list[list[Token]], keys: list[int], banned: list[set[Token]]) -> list[Token | None]:
        return [None] * len(before)

    def entropies(self, text: list[Token], places: Sequence[int]) -> list[float]:
        return [self.unsure(self.tokens.text(text[:place])) for place in places]

    def logprobs(self, before: list[list[Token]], wanted: list[list[Token]]) -> list[float]:
        return [self.sure(self.tokens.text(b), self.tokens.text(w)) for b, w in zip(before, wanted, strict=True)]


def row(prompt_id: str, sample: int, completion: str, **changes: Any) -> dict[str, Any]:
    """A rollout whose tokens are pieces of its text."""
    return rollout(prompt_id, sample, completion=completion, token_ids=TextCuts().of(completion), **changes)
