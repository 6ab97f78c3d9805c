"""Less than 0 for a completion that repeats itself, by the share of its token n-grams that it had before."""

from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, column

MAX_NGRAM_TOKENS = 100


class Repetition:
    """0 without any repeated n-gram of tokens, towards `max_penalty` the more of them repeat: Yeo et al.

    Equation: r = max_penalty * (1 - distinct n-grams / n-grams), over `completion_ids`; 0 for fewer than n tokens.
    Range (max_penalty, 0]. Source: Demystifying Long CoT, arXiv 2502.03373 appendix C.2, in the form per completion of
    its code, open-r1 and TRL, which differ in what a word is (the paper's own penalty goes to single tokens, with
    n = 40 and -0.05 each).

    Args:
        n: tokens in an n-gram, 1 to 100.
        max_penalty: at most 0.
    """

    def __init__(self, n: int = 3, max_penalty: float = -1.0) -> None:
        if not 1 <= n <= MAX_NGRAM_TOKENS:
            raise ValueError(f"n={n!r}: need a whole number of tokens, 1 to {MAX_NGRAM_TOKENS}; try 3")
        if max_penalty > 0:
            raise ValueError(f"max_penalty={max_penalty!r}: need a number of at most 0; try -1.0")
        self.n, self.max_penalty = n, max_penalty

    def of(self, tokens: Sequence[int]) -> float:
        """The reward of one completion's token ids. Linear in their number."""
        ngrams = list(zip(*(tokens[start:] for start in range(self.n)), strict=False))
        return self.max_penalty * (1 - len(set(ngrams)) / len(ngrams)) if ngrams else 0.0

    def __call__(
        self, completions: Sequence[Completion], *, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One reward per completion, never None. Raises `ValueError` without `completion_ids`."""
        return [self.of(ids) for ids in column("completion_ids", completion_ids, completions, reward=self)]
