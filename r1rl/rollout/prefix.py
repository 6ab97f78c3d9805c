"""What several prompts begin with, worked examples above all: sampling and the update compute it once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

_WORTH = 16  # from so many tokens on; a shorter beginning does not pay for a pass, or a stretch of keys, of its own


def common(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all of them begin with; at least one is needed."""
    low, high = min(sequences), max(sequences)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens to compute once for all these prompts, 0 for a single one; of each at least one is left."""
    if len(prompts) < 2:
        return 0
    tokens = min(common(prompts), min(map(len, prompts)) - 1)
    return tokens if tokens >= _WORTH else 0


def distinct(sequences: Iterable[tuple[int, ...]]) -> int:
    """The tokens of all of them, what several begin with counted once: no computation can do with fewer."""
    ordered = sorted(sequences)
    return sum(len(mine) - common((before, mine)) for before, mine in pairwise([(), *ordered]))
