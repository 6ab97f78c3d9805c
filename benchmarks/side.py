"""One side of a comparison, in a process of its own: `python -m benchmarks.side`, driven over its standard input.

The environment names the job, as JSON; every line of input asks for one turn, a whole training step or sampling
alone, and is answered by one line. When the input ends, so does the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchmarks.work import CONTINUOUS, OURS, VLLM

if TYPE_CHECKING:
    from trl import GRPOTrainer

    from benchmarks.meter import Meter
    from r1rl.recipe.load import LoadedRecipe

JOB_VARIABLE = "R1RL_BENCH_JOB"


@dataclass(frozen=True)
class Job:
    """What a side does.

    Args:
        side: one of `benchmarks.work`.
        work: `step`; `sample`, sampling alone; or `update`, a step whose completions are made up, up to the cap.
        recipe: the recipe file.
        folder: for its run folder and output.
        micro_batch: rollouts a forward pass; None is our trainer's own choice.
        threads: of torch.
        memory: bytes it may allocate, None for no limit.
        model: a folder instead of the recipe's model.
        prompts: of a step, instead of the recipe's.
    """

    side: str
    work: str
    recipe: str
    folder: str = ""
    micro_batch: int | None = None
    threads: int = 1
    memory: int | None = None
    model: str | None = None
    prompts: int | None = None


class _Over(BaseException):
    """The input has ended. No Exception, so that no library takes it for a failure."""


def main() -> int:
    """Do the job that standard input names. Everything but answers goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = Job(**json.loads(os.environ[JOB_VARIABLE]))
    if job.memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory, job.memory))
    import torch

    torch.set_num_threads(job.threads)
    if job.side == VLLM:
        from benchmarks import vllm_side

        vllm_side.serve(job, sys.stdin, answers)
        return 0
    serve(job, sys.stdin, answers)
    return 0


def serve(job: Job, questions: TextIO, answers: TextIO) -> None:
    """Take a turn and answer for each line of questions."""
    from benchmarks.meter import Meter

    trainer = build(job)
    if job.work == "update":
        _make_up_completions(trainer)
    meter = Meter(trainer, job.side)
    trainer.add_callback(_turns(job, meter, questions, answers))
    with contextlib.suppress(_Over):
        trainer.train()


def build(job: Job) -> GRPOTrainer:
    """The side's trainer, on the same model, data and rewards."""
    from r1rl.recipe import load as recipe
    from r1rl.train import callbacks
    from r1rl.train import main as train

    overrides = {
        "runs_dir": job.folder,
        "name": "run",
        "per_device_train_batch_size": job.micro_batch,
        "prompts_per_step": job.prompts,
        "model_name_or_path": job.model,
    }
    words = [w for key, value in overrides.items() if value is not None for w in (f"--{key}", str(value))]
    loaded = recipe.load(Path(job.recipe), words)
    folder = train.open_folder(loaded)
    source, tokenizer = train.find_model(loaded)
    if job.side == OURS:
        trainer, interrupt = train.build_trainer(loaded, folder, source, tokenizer)
        for extra in (callbacks.EvaluateEvery, interrupt, callbacks.ShowProgress):
            trainer.remove_callback(extra)
        return trainer
    return _plain(job, loaded, folder, source, tokenizer)


def _plain(job: Job, loaded: LoadedRecipe, folder: Any, source: str, tokenizer: Any) -> GRPOTrainer:
    """TRL's own trainer with its own defaults, but for what the recipe says and what makes it faster on a CPU."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    import rewards
    from r1rl.tasks.dataset import dataset_rows
    from r1rl.train import main as train

    own, grpo = loaded.recipe, loaded.grpo
    rows, _ = train.usable_rows(loaded, folder)
    same = (
        "num_generations", "max_completion_length", "temperature", "learning_rate", "lr_scheduler_type", "max_steps",
        "seed", "bf16", "use_cpu", "reward_weights", "remove_unused_columns", "dataloader_pin_memory", "report_to",
        "per_device_train_batch_size", "gradient_accumulation_steps", "save_strategy", "logging_steps", "optim",
        "disable_dropout", "loss_type", "beta", "epsilon", "scale_rewards", "num_iterations", "top_p", "top_k", "min_p",
    )  # fmt: skip
    settings = {key: getattr(grpo, key) for key in same}
    checkpointing = (
        "activation_checkpointing" if hasattr(grpo, "activation_checkpointing") else "gradient_checkpointing"
    )
    args = GRPOConfig(
        output_dir=str(folder.checkpoints),
        disable_tqdm=True,
        use_transformers_continuous_batching=job.side == CONTINUOUS,
        model_init_kwargs={"dtype": loaded.model.dtype},
        **{checkpointing: False},
        **settings,
    )
    options = own.reward_options if isinstance(own.reward_options, dict) else {}
    return GRPOTrainer(
        model=source,
        args=args,
        reward_funcs=[rewards.get(name, **options.get(name, {})) for name in own.reward_funcs],
        train_dataset=Dataset.from_list(dataset_rows(rows, loaded.task, loaded.prompt(tokenizer))),
        processing_class=tokenizer,
    )


def _turns(job: Job, meter: Meter, questions: TextIO, answers: TextIO) -> Any:
    """A callback that waits for a line before each turn and answers after it."""
    import torch
    from transformers import TrainerCallback

    from benchmarks.machine import reset_peak_memory
    from r1rl.ground.machine import peak_memory

    trainer = meter.trainer
    several = trainer.accelerator.num_processes > 1

    def wait() -> None:
        """Until the next turn is asked for, all processes together."""
        more = torch.tensor(0.0)
        if trainer.accelerator.is_main_process:
            more += bool(questions.readline())
        if several:
            torch.distributed.broadcast(more, src=0)
        if not more:
            raise _Over
        reset_peak_memory()
        meter.start()

    def answer(facts: dict[str, Any] | None = None) -> None:
        if trainer.accelerator.is_main_process:
            facts = facts or meter.result() | {"peak_bytes": peak_memory()}
            answers.write(json.dumps(facts) + "\n")
            answers.flush()

    class Turns(TrainerCallback):
        begun = False
        on_pre_optimizer_step, on_optimizer_step = meter.before_optimizer, meter.after_optimizer

        def on_train_begin(self, *arguments: Any, **options: Any) -> None:
            answer({"ready": True})
            if job.work == "sample":
                _sample(meter, trainer, wait, answer)

        def on_step_begin(self, *arguments: Any, **options: Any) -> None:
            # The turn ends where the next begins, so that logging counts too.
            if self.begun:
                answer()
            self.begun = True
            wait()

    return Turns()


def _make_up_completions(trainer: GRPOTrainer) -> None:
    """Random tokens in place of sampling, every completion as long as the cap allows: the most that is padded to."""
    import torch

    barred = {*trainer.eos_token_ids, trainer.processing_class.pad_token_id}
    allowed = torch.tensor([i for i in range(trainer.model.config.vocab_size) if i not in barred])

    def make_up(prompt_ids: list[list[int]], *arguments: Any, **options: Any) -> tuple[list[list[int]], None]:
        shape = len(prompt_ids), trainer.max_completion_length
        return allowed[torch.randint(len(allowed), shape)].tolist(), None

    trainer._generate_single_turn = make_up


def _sample(meter: Meter, trainer: GRPOTrainer, wait: Any, answer: Any) -> None:
    """Turns of sampling alone, as a step does it, from the unchanged weights."""
    size = trainer.num_generations
    count = trainer.args.generation_batch_size // size
    prompts: Sequence[str] = trainer.train_dataset["prompt"]
    start = 0
    while True:
        chosen = [prompts[(start + i) % len(prompts)] for i in range(count) for _ in range(size)]
        prompt_ids, _, _ = trainer._tokenize_prompts(chosen)
        wait()
        trainer._generate_single_turn(prompt_ids, None, {}, size)
        answer()
        start += count
        trainer.state.global_step += 1  # our rows' random streams hang on it


if __name__ == "__main__":
    sys.exit(main())
