"""One turn of a side, as its process reports it, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks import work
from benchmarks.machine import Peak
from benchmarks.work import Forward, ModelCost

OURS, TRL, CONTINUOUS = "ours", "trl", "transformers"
"""The sides: our trainer, plain TRL with `generate`, plain TRL with continuous batching of transformers."""


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
        prefilled: prompt tokens that sampling forwarded, padding included.
        draws: next tokens that sampling computed, those of finished rows included; None if that is not known.
        update: the passes that took a gradient.
        peak_bytes: the most memory held.
    """

    side: str
    seconds: dict[str, float]
    prompts: list[list[int]]
    lengths: list[int]
    signal: list[bool]
    prefilled: int
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
    def signal_share(self) -> float:
        """Rollouts with an advantage among all."""
        return sum(self.signal) / len(self.signal)

    @property
    def decode_share(self) -> float | None:
        """Useful / processed tokens of decoding: those of completions among those computed."""
        return self.sampled / self.draws if self.draws else None

    @property
    def forwarded(self) -> int:
        """Tokens forwarded in the update, padding included."""
        return sum(forward.tokens for forward in self.update)

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
        if self.draws is None:
            return None
        rows, sizes = len(self.prompts), [len(prompt) for prompt in self.prompts]
        if self.side == OURS:  # every row feeds its prompt's last token itself, and leaves when it ends
            tokens = self.prefilled + self.draws
            pairs = _causal({tuple(prompt) for prompt in self.prompts}) + work.decode_pairs(sizes, self.lengths)
        else:
            widest, steps = max(sizes), self.draws // rows - 1  # the first token comes with the prompts
            tokens = self.prefilled + rows * steps
            pairs = rows * widest**2 + work.decode_pairs([widest] * rows, [steps] * rows)
        return work.flops(self.cost, tokens=tokens, pairs=pairs, projected=self.draws)

    def update_flops(self) -> float:
        """Operations of the update: a backward pass costs two forward passes."""
        if self.side == OURS:  # completions with an advantage alone are projected; attention within the groups
            kept = self._with_signal()
            projected = sum(n for _, n in kept)
            pairs = _causal({prompt for prompt, _ in kept})
            pairs += work.decode_pairs([len(prompt) for prompt, _ in kept], [n for _, n in kept])
        else:  # every position is projected and attends under a mask over the whole square
            projected = sum(forward.tokens - forward.rows for forward in self.update)
            pairs = sum(forward.tokens * forward.width for forward in self.update)
        return 3 * work.flops(self.cost, tokens=self.forwarded, pairs=pairs, projected=projected)

    def limit_share(self, peak: Peak, weight_bytes: int) -> float:
        """The share of the machine's limit at which this side sampled, see `work.least_seconds`."""
        least = work.least_seconds(self.cost, peak, self.prompts, self.lengths, weight_bytes)
        return least / self.seconds["sampling"]

    def _with_signal(self) -> list[tuple[tuple[int, ...], int]]:
        """Prompt and length of each rollout with an advantage."""
        rows = zip(self.prompts, self.lengths, self.signal, strict=False)
        return [(tuple(prompt), length) for prompt, length, signal in rows if signal]


Turns = dict[str, list[Turn]]
"""Turns by side, equally many of each."""


def _causal(prompts: set[tuple[int, ...]]) -> float:
    return sum(len(prompt) ** 2 / 2 for prompt in prompts)
