"""Where a step's time and tokens go, measured the same way in our trainer and in plain TRL's.

The stages are TRL 1.16's own methods: `_generate_single_turn` samples, `_calculate_rewards` grades, both inside
`_generate_and_score_completions`; what a step takes besides that is the update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import work
from benchmarks.work import CONTINUOUS, OURS, Forward

if TYPE_CHECKING:
    from trl import GRPOTrainer

_NO_ADVANTAGE = 0.01
_STAGES = {
    "_generate_and_score_completions": "rollout",
    "_generate_single_turn": "sampling",
    "_calculate_rewards": "grading",
}


class Meter:
    """Counts what `trainer` does, from `start` to `result`; `side` is one of `benchmarks.work`."""

    def __init__(self, trainer: GRPOTrainer, side: str) -> None:
        self.trainer = trainer
        self.side = side
        self.cost = work.model_cost(trainer.model)
        self._stage = ""
        self.start()
        for name, stage in _STAGES.items():
            setattr(trainer, name, self._timed(getattr(trainer, name), stage))
        self._watch()

    def start(self) -> None:
        """Begin a step."""
        self._seconds = dict.fromkeys(("rollout", "sampling", "grading", "optimizer"), 0.0)
        self._prompts: list[list[int]] = []
        self._lengths: list[int] = []
        self._signal: list[bool] = []
        self._prefilled = self._draws = 0
        self._sampled_forwards: list[Forward] = []
        self._update: list[Forward] = []
        self._started = time.perf_counter()

    def result(self) -> dict[str, Any]:
        """What the step took and did, all of a `Turn` but its peak memory; JSON-able."""
        whole, seconds = time.perf_counter() - self._started, self._seconds
        inside = {
            "sampling": seconds["sampling"],
            "grading": seconds["grading"],
            "rest": max(0.0, seconds["rollout"] - seconds["sampling"] - seconds["grading"]),
            "update": max(0.0, whole - seconds["rollout"]) if seconds["rollout"] else 0.0,
            "optimizer": seconds["optimizer"],
        }
        return {
            "seconds": {"step": whole} | inside,
            "prompts": self._prompts,
            "lengths": self._lengths,
            "signal": self._signal,
            "prefilled": self._prefilled,
            # Continuous batching puts tokens of all kinds of rows into one.
            "draws": None if self.side == CONTINUOUS else self._draws,
            "update": self._update,
            "cost": asdict(self.cost),
        }

    def before_optimizer(self, *_: Any, **__: Any) -> None:
        """The gradient is there."""
        self._gradient_at = time.perf_counter()

    def after_optimizer(self, *_: Any, **__: Any) -> None:
        """The weights are new."""
        self._seconds["optimizer"] += time.perf_counter() - self._gradient_at

    def _watch(self) -> None:
        """Count the forward passes of the policy from here on."""

        def count(module: Any, arguments: Any, options: dict[str, Any]) -> None:
            input_ids = options.get("input_ids", arguments[0] if arguments else None)
            if input_ids is None:
                return
            if torch.is_grad_enabled():
                self._update.append(Forward(*input_ids.shape))
            elif self._stage == "sampling":
                self._sampled_forwards.append(Forward(*input_ids.shape))

        self._hook = self.trainer.model.base_model.register_forward_pre_hook(count, with_kwargs=True)

    def _timed(self, method: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            outer, self._stage = self._stage, stage
            unwatched = stage == "sampling" and self.side == OURS
            if unwatched:  # our engine counts for itself, and takes a model with hooks the slow way
                self._hook.remove()
            started = time.perf_counter()
            try:
                output = method(*arguments, **options)
            finally:
                self._seconds[stage] += time.perf_counter() - started
                self._stage = outer
                if unwatched:
                    self._watch()
            if stage == "sampling":
                self._sampled(arguments[0] if arguments else options["prompt_ids"], output[0])
            if stage == "rollout":
                advantages = output["advantages"]
                rows = advantages if advantages.dim() == 1 else advantages.abs().sum(1)
                # Equal rewards may differ from their mean in the last bit, which TRL scales up to a thousandth.
                self._signal = rows.abs().gt(_NO_ADVANTAGE).tolist()
            return output

        return timed

    def _sampled(self, prompts: list[list[int]], completions: list[list[int]]) -> None:
        """After each round of sampling."""
        self._prompts += [list(prompt) for prompt in prompts]
        self._lengths += map(len, completions)
        if self.side == OURS:
            done = self.trainer.engine.work
            self._prefilled += done.prefilled_tokens
            self._draws += done.row_steps
        else:
            # `generate` draws one token a row from every pass, the first of which is over the prompts.
            self._draws += sum(forward.rows for forward in self._sampled_forwards)
            self._prefilled += sum(rows * width for rows, width in self._sampled_forwards if width > 1)
        self._sampled_forwards = []
