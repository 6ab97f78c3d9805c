"""What a step computes, in tokens and floating-point operations, and the least time this machine needs for it.

All of it follows from shapes and lengths, so it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1rl.rollout import prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from benchmarks.machine import Peak


@dataclass(frozen=True)
class ModelCost:
    """What one forward pass costs, in floating-point operations.

    Args:
        per_token: of the layers' matrices, for each token.
        per_pair: of attention, for each query-key pair.
        head: of the output projection, for each projected position.
        parameters: numbers that a decoding step reads (all matrices, the head once).
    """

    per_token: float
    per_pair: float
    head: float
    parameters: int


@dataclass(frozen=True)
class Forward:
    """The shape of one forward pass: rows x width tokens."""

    rows: int
    width: int

    @property
    def tokens(self) -> int:
        """Tokens forwarded, padding included."""
        return self.rows * self.width


def model_cost(model: PreTrainedModel) -> ModelCost:
    """The cost of a causal LM with a plain output projection."""
    from r1rl.update import scoring

    layers = scoring.cost(model)
    config = model.config.get_text_config()
    head = config.vocab_size * config.hidden_size
    return ModelCost(layers.per_token, layers.per_pair, 2.0 * head, int(layers.per_token / 2) + head)


def prefix_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that must be forwarded where every common beginning is forwarded once."""
    distinct = sorted({tuple(prompt) for prompt in prompts})
    total = 0
    before: tuple[int, ...] = ()
    for prompt in distinct:
        total += len(prompt) - prefix.common([before, prompt])
        before = prompt
    return total


def living(lengths: Sequence[int]) -> list[int]:
    """Rows that a step of decoding must forward, step by step: those whose completion goes on.

    A completion of n tokens needs n - 1 steps: its first token comes from the prompt, its last is never forwarded.
    """
    return [sum(length > step for length in lengths) for step in range(1, max(lengths, default=0))]


def decode_pairs(prompts: Sequence[int], steps: Sequence[int]) -> float:
    """Query-key pairs of decoding: row i takes steps[i] steps behind prompts[i] tokens, each seeing one more."""
    return sum(n * p + n * (n + 1) / 2 for p, n in zip(prompts, steps, strict=True))


def flops(cost: ModelCost, *, tokens: float, pairs: float, projected: float) -> float:
    """Operations of a forward pass."""
    return tokens * cost.per_token + pairs * cost.per_pair + projected * cost.head


def least_seconds(
    cost: ModelCost, peak: Peak, prompts: Sequence[Sequence[int]], lengths: Sequence[int], weight_bytes: int
) -> float:
    """The limit: a pass cannot be faster than its matrix products at the machine's rate, nor than reading the weights.

    Counted are the passes that these completions need: one over the prompts, common beginnings once, and one a step
    with the rows that still go on. Attention and everything else counts as free.

    Args:
        prompts: token ids; lengths: tokens of each completion; weight_bytes: of one weight.
    """
    reading = cost.parameters * weight_bytes / peak.bandwidth
    start = prefix_tokens(prompts) * cost.per_token + len({tuple(p) for p in prompts}) * cost.head
    each = cost.per_token + cost.head
    return max(start / peak.flops, reading) + sum(max(n * each / peak.flops, reading) for n in living(lengths))
