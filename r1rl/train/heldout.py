"""Held-out problems under the current policy: the same prompts each time, sampled and greedy, in one shard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from r1rl.rollout.sampling import Sampling, row_key
from r1rl.store import records, store
from r1rl.train.reflection import measured

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer


@dataclass
class HeldoutEvaluation:
    """The same held-out prompts, number of samples, temperature and cap at every evaluation.

    Args:
        rows: dataset rows of the held-out problems.
        generations: samples per prompt at `temperature`; one greedy completion comes besides.
        seed: the run's seed. The draws depend on (seed, prompt, sample) alone, so two evaluations of the same policy
            are the same.
    """

    rows: list[dict[str, Any]]
    generations: int
    temperature: float | None
    seed: int

    def run(self, trainer: ZeroTrainer) -> dict[str, float]:
        """Sample, judge and store this process's part; returns `heldout/…` metrics over all processes.

        Figures of reflection, `heldout/aha/…`, are read from the store by the first process, which alone returns them.
        Every process must call it together.
        """
        step = trainer.state.global_step
        origin = records.Origin(
            trainer.folder.name, "eval", step, policy_step=step, rank=trainer.accelerator.process_index
        )
        # The largest cap throughout, or two evaluations would differ in their settings.
        sampling, greedily = (
            replace(trainer.sampling(each), max_completion_length=trainer.args.max_completion_length)
            for each in (self.temperature, 0)
        )
        sampled = self._sample(trainer, origin, self.generations, sampling)
        greedy = self._sample(trainer, origin, 1, greedily, first_group=len(sampled) // self.generations)
        if sampled:
            store.write_shard(trainer.folder.path, [*sampled, *greedy], kind="eval", step=step, rank=origin.rank)
        metrics = {
            "heldout/accuracy": trainer.rollout_metrics(sampled)["task_accuracy"],
            "heldout/accuracy_greedy": trainer.rollout_metrics(greedy)["task_accuracy"],
        }
        # Every process has written its shard: the metrics were gathered.
        figures = measured(trainer.folder.path, "eval", step) if trainer.accelerator.is_main_process else {}
        return metrics | {f"heldout/{name}": value for name, value in figures.items()}

    def _sample(
        self, trainer: ZeroTrainer, origin: records.Origin, count: int, sampling: Sampling, *, first_group: int = 0
    ) -> list[dict[str, Any]]:
        rank, world_size = origin.rank, trainer.accelerator.num_processes
        # Every process gets the same number of prompts: under ZeRO-3 they run their forward passes together.
        # What is left over is sampled by all and kept by one.
        share = -(-len(self.rows) // world_size)
        indices = [(rank * share + i) % len(self.rows) for i in range(share)]
        mine = [i for i in range(share) if rank * share + i < len(self.rows)]
        prompts = trainer.processing_class([self.rows[i]["prompt"] for i in indices])["input_ids"]
        completions = trainer.sample(
            [ids for ids in prompts for _ in range(count)],
            [row_key(self.seed, origin.kind, i, sample) for i in indices for sample in range(count)],
            sampling,
        )
        inputs = [self.rows[indices[i]] for i in mine for _ in range(count)]
        completions = completions[: len(inputs)]
        texts = [trainer.engine.text(c.token_ids) for c in completions]
        return records.rows(
            origin,
            inputs,
            completions,
            texts,
            trainer.judge(texts, inputs),
            sampling,
            samples_per_prompt=count,
            first_group=first_group,
        )
