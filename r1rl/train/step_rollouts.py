"""A step's rollouts on their way through TRL's methods, which by themselves pass on token ids and texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from r1rl.rollout.engine import Completion
from r1rl.train.grading_ahead import Ahead
from r1rl.verify.verdict import Verdict


@dataclass
class Group:
    """The rollouts of one prompt that this process sampled, and what is known of them.

    Args:
        row: the prompt's dataset row.
        prompt_ids: the prompt's tokens.
        completions, texts, verdicts: one for each rollout.
        rewards: [rollouts, rules], NaN where a rule did not judge.
        extra: columns that a reward function logged, one value for each rollout.
    """

    row: dict[str, Any]
    prompt_ids: list[int]
    completions: list[Completion]
    texts: list[str]
    verdicts: list[Verdict]
    rewards: torch.Tensor
    extra: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class StepRollouts:
    """What the trainer's overrides know of the rollouts they are at: those of a round, then those of the batch.

    A round is filled on its way: `_generate_single_turn` puts `completions` here, `_calculate_rewards` the `verdicts`.
    The batch is filled from the start, and the same two methods of upstream are handed what it holds.

    Args:
        step: the training step whose weights sample.
        round: 0 for the step's own prompts, 1 and more for prompts that take the place of groups without signal.
        grading: judges the rollouts of a round as they finish; None for the batch.
        completions, verdicts: one for each rollout.
        batch: the groups that hold this process's places in the batch; empty for a round.
        rewards: of the batch, over all processes, [rollouts, rules]; None for a round.

    Example: step 7 has the prompts A and B, two rollouts each. In round 0 `completions` are those of A A B B, and both
    of B are wrong, so B has no signal. In round 1 they are those of C C, which has signal and takes B's place. Of the
    batch they are those of A A C C; `generated()` gives them to upstream, and `rewards` are theirs.
    """

    step: int
    round: int = 0
    grading: Ahead | None = None
    completions: list[Completion] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    batch: Sequence[Group] = ()
    rewards: torch.Tensor | None = None

    @classmethod
    def of_batch(cls, step: int, batch: Sequence[Group], rewards: torch.Tensor) -> StepRollouts:
        """The rollouts of the groups that are trained on."""
        completions = [completion for group in batch for completion in group.completions]
        verdicts = [verdict for group in batch for verdict in group.verdicts]
        return cls(step, completions=completions, verdicts=verdicts, batch=batch, rewards=rewards)

    def generated(self) -> tuple[Any, ...]:
        """The batch as TRL's `_generate` (1.16) returns what it has sampled."""
        logprobs = [completion.logprobs for completion in self.completions]
        return (
            [group.prompt_ids for group in self.batch for _ in group.completions],
            [completion.token_ids for completion in self.completions],
            None,  # the mask of tools' tokens
            [text for group in self.batch for text in group.texts],
            logprobs if any(logprobs) else None,
            {},  # extra fields
            None,  # images
            [],
        )
