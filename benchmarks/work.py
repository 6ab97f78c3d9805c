"""One turn of a side, as its process reports it, and what follows from it: tokens, floating-point operations, and the
least time that this machine needs for them.

Tokens and operations follow from shapes and lengths, so they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from r1rl.rollout import prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from benchmarks.machine import Peak

OURS, TRL, CONTINUOUS, VLLM = "ours", "trl", "transformers", "vllm"
"""The sides: our trainer, plain TRL with `generate`, plain TRL with continuous batching of transformers, and vLLM."""


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


class Forward(NamedTuple):
    """The shape of one forward pass: rows x width tokens, padding included."""

    rows: int
    width: int


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


@dataclass(frozen=True)
class Turn:
    """What one step, or sampling alone, took and did.

    Args:
        side: who.
        seconds: `step`, and in it `sampling`, `grading`, `rest` (of the rollout batch) and `update`, and in that
            the `optimizer`'s step.
        prompts: token ids, one prompt a rollout.
        lengths: tokens of each completion.
        signal: whether each rollout has an advantage.
        prefilled: prompt tokens that sampling forwarded, padding included; None if that is not known.
        draws: next tokens that sampling computed, those of finished rows included; None if that is not known.
        update: the passes that took a gradient.
        peak_bytes: the most memory held.
    """

    side: str
    seconds: dict[str, float]
    prompts: list[list[int]]
    lengths: list[int]
    signal: list[bool]
    prefilled: int | None
    draws: int | None
    update: list[Forward]
    cost: ModelCost
    peak_bytes: int

    @classmethod
    def of(cls, side: str, answer: dict[str, Any]) -> Turn:
        """From the answer of a side's process."""
        update = [Forward(*shape) for shape in answer["update"]]
        return cls(**answer | {"side": side, "update": update, "cost": ModelCost(**answer["cost"])})

    @property
    def sampled(self) -> int:
        """Tokens of all completions."""
        return sum(self.lengths)

    @property
    def decode_share(self) -> float | None:
        """Useful / processed tokens of decoding: those of completions among those computed."""
        return self.sampled / self.draws if self.draws else None

    @property
    def forwarded(self) -> int:
        """Tokens forwarded in the update, padding included."""
        return sum(rows * width for rows, width in self.update)

    @property
    def needed(self) -> int | None:
        """Tokens that the update's gradient depends on: completions with an advantage, and their prompts, each once.

        None where it depends on none, or the batch was put together from several rounds.
        """
        if len(self.signal) != len(self.lengths) or not any(self.signal):
            return None
        kept = self._with_signal()
        return sum(n for _, n in kept) + sum(map(len, {prompt for prompt, _ in kept}))

    @property
    def update_share(self) -> float | None:
        """Useful / processed tokens of the update; above 1 where prompts begin alike and that was forwarded once."""
        return self.needed / self.forwarded if self.needed and self.forwarded else None

    def sampling_flops(self) -> float | None:
        """Operations of sampling."""
        if self.draws is None or self.prefilled is None:
            return None
        rows, sizes = len(self.prompts), [len(prompt) for prompt in self.prompts]
        if self.side == OURS:  # every row feeds its prompt's last token itself, and leaves when it ends
            tokens = self.prefilled + self.draws
            pairs = _causal({tuple(prompt) for prompt in self.prompts}) + decode_pairs(sizes, self.lengths)
        else:
            widest, steps = max(sizes), self.draws // rows - 1  # the first token comes with the prompts
            tokens = self.prefilled + rows * steps
            pairs = rows * widest**2 + decode_pairs([widest] * rows, [steps] * rows)
        return flops(self.cost, tokens=tokens, pairs=pairs, projected=self.draws)

    def update_flops(self) -> float:
        """Operations of the update: a backward pass costs two forward passes."""
        if self.side == OURS:  # completions with an advantage alone are projected; attention within the groups
            kept = self._with_signal()
            projected = sum(n for _, n in kept)
            pairs = _causal({prompt for prompt, _ in kept})
            pairs += decode_pairs([len(prompt) for prompt, _ in kept], [n for _, n in kept])
        else:  # every position is projected and attends under a mask over the whole square
            projected = sum(rows * (width - 1) for rows, width in self.update)
            pairs = sum(rows * width**2 for rows, width in self.update)
        return 3 * flops(self.cost, tokens=self.forwarded, pairs=pairs, projected=projected)

    def _with_signal(self) -> list[tuple[tuple[int, ...], int]]:
        """Prompt and length of each rollout with an advantage."""
        rows = zip(self.prompts, self.lengths, self.signal, strict=False)
        return [(tuple(prompt), length) for prompt, length, signal in rows if signal]


Turns = dict[str, list[Turn]]
"""Turns by side, equally many of each."""


def _causal(prompts: set[tuple[int, ...]]) -> float:
    return sum(len(prompt) ** 2 / 2 for prompt in prompts)
