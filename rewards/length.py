"""Rewards of the completion's length in tokens: DAPO's soft overlong punishment, Yeo et al.'s cosine, Kimi k1.5's.

None depends on the number of characters.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

from rewards.accuracy import Accuracy, reward_of
from rewards.completions import Completion, column, lengths


class SoftOverlong:
    """0 up to a soft cap, then falling to -1 at `max_tokens` and beyond: DAPO's soft overlong punishment.

    Equation, with L = max_tokens and C = cache_tokens:
        r = 0                      if |y| <= L - C
        r = ((L - C) - |y|) / C    if L - C < |y| <= L
        r = -1                     if L < |y|
    Range [-1, 0]. Source: DAPO, arXiv 2503.14476 eq. 13 (there L = 20,480 and C = 4,096). To punish at all, L must
    not exceed the run's `max_completion_length`.

    Args:
        max_tokens: L, the hard cap, in tokens.
        cache_tokens: C, the interval before it where the punishment grows; 0 < C <= L.
    """

    def __init__(self, max_tokens: int, cache_tokens: int) -> None:
        if not 0 < cache_tokens <= max_tokens:
            raise ValueError(f"cache_tokens={cache_tokens}: need 1 to max_tokens={max_tokens}; try {max_tokens // 5}")
        self.max_tokens, self.cache_tokens = max_tokens, cache_tokens

    def of(self, length: int) -> float:
        """The reward of one length in tokens."""
        over = length - (self.max_tokens - self.cache_tokens)
        return -min(1.0, over / self.cache_tokens) if over > 0 else 0.0

    def __call__(
        self, completions: Sequence[Completion], *, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One reward per completion, never None. Raises `ValueError` without `completion_ids`."""
        return [self.of(length) for length in lengths(completion_ids, completions, reward=self)]


class Cosine:
    """A right answer earns more when short, a wrong one loses less when long, along a cosine: Yeo et al.

    Equation, with t = min(|y|, L) / L and L = max_tokens:
        r = end + (start - end) * (1 + cos(pi t)) / 2
    from `start` at length 0 to `end` at L: (correct_short, correct_long) for a right answer, (wrong_short, wrong_long)
    for a wrong one. The length is clamped to L, as the cosine would rise again beyond it. With `exceeded` set, a
    completion of L tokens or more earns that instead, the paper's third case. None where the gold is unusable.
    Range: between the smallest and the largest of the values given, [-1, 1] by default.
    Source: Demystifying Long CoT, arXiv 2502.03373 section 4.2 and appendix C.1 (there 2, 1, -10, 0, exceeded -10); the
    defaults are those of open-r1 and TRL.

    Args:
        max_tokens: L, in tokens: the run's `max_completion_length`.
        correct_short, correct_long, wrong_short, wrong_long: rewards at length 0 and at L.
        exceeded: the reward at L and beyond, right or wrong; None: the cosine's own.
        extraction: where the answer stands, as for `accuracy`.
    """

    def __init__(
        self,
        max_tokens: int,
        *,
        correct_short: float = 1.0,
        correct_long: float = 0.5,
        wrong_short: float = -1.0,
        wrong_long: float = -0.5,
        exceeded: float | None = None,
        extraction: str = "answer-tag",
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens}: need at least 1; try 1024")
        self.max_tokens, self.exceeded = max_tokens, exceeded
        self.correct, self.wrong = (correct_short, correct_long), (wrong_short, wrong_long)
        self.accuracy = Accuracy(extraction)

    def of(self, length: int, correct: bool) -> float:
        """The reward of one length in tokens."""
        if self.exceeded is not None and length >= self.max_tokens:
            return self.exceeded
        start, end = self.correct if correct else self.wrong
        share = min(length, self.max_tokens) / self.max_tokens
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

    def __call__(
        self, completions: Sequence[Completion], *, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One reward per completion. Raises `ValueError` without `completion_ids` and as `accuracy` does."""
        sizes = lengths(completion_ids, completions, reward=self)
        marks = [reward_of(verdict) for verdict in self.accuracy.verdicts(completions, **columns)]
        return [
            None if mark is None else self.of(length, mark == 1.0) for length, mark in zip(sizes, marks, strict=True)
        ]


class KimiLength:
    """Shorter than its siblings is better, and a wrong answer is never paid for it: Kimi k1.5's length reward.

    Equation, over the completions of one prompt:
        lambda = 0.5 - (|y| - shortest) / (longest - shortest)
        r = lambda if the answer is right, min(0, lambda) if it is wrong; 0 for all if longest = shortest
    Range [-0.5, 0.5]; None where the gold is unusable. Source: Kimi k1.5, arXiv 2501.12599 section 2.3.3. The paper
    switches it on only after a warm-up.

    Completions belong together that have the same `prompt_id`, or without that column the same prompt (open-r1
    compares all prompts of the batch with each other). Siblings that another process holds are not seen.

    Args:
        extraction: where the answer stands, as for `accuracy`.
    """

    def __init__(self, extraction: str = "answer-tag") -> None:
        self.accuracy = Accuracy(extraction)

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        completion_ids: Any = None,
        prompt_id: Sequence[str] | None = None,
        prompts: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per completion. Raises `ValueError` for a missing column and as `accuracy` does."""
        sizes = lengths(completion_ids, completions, reward=self)
        if prompt_id is not None:
            keys: list[Hashable] = list(column("prompt_id", prompt_id, completions, reward=self))
        else:
            keys = [repr(prompt) for prompt in column("prompts", prompts, completions, reward=self)]
        marks = [reward_of(verdict) for verdict in self.accuracy.verdicts(completions, **columns)]
        groups: dict[Hashable, list[int]] = {}
        for key, length in zip(keys, sizes, strict=True):
            groups.setdefault(key, []).append(length)
        rewards: list[float | None] = []
        for key, length, mark in zip(keys, sizes, marks, strict=True):
            shortest, longest = min(groups[key]), max(groups[key])
            share = 0.5 - (length - shortest) / (longest - shortest) if longest > shortest else 0.0
            rewards.append(None if mark is None else share if mark == 1.0 else min(0.0, share))
        return rewards
