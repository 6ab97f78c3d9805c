"""The keys of a recipe that r1rl adds to TRL's, and what it says about TRL's: defaults, limits, derived ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def _key(default: Any, text: str) -> Any:
    """A key with its default and its help."""
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class Recipe:
    """r1rl's own keys; those of TRL stand beside them in the same file."""

    name: str | None = _key(None, "The run's name. Default: the recipe file's stem and a counter.")
    runs_dir: str = _key("runs", "Folder of the run folders.")
    resume: bool = _key(False, "Go on with the run of this name if it exists.")
    resume_changed: bool = _key(
        False, "Resume though the recipe is not the run's any more; the change becomes an event."
    )
    launcher: str | None = _key(
        None, "Accelerate config: a name in recipes/accelerate or a path. Default: this process."
    )
    engine: Literal["embedded", "generate"] = _key(
        "embedded", "What samples the rollouts: r1rl's own engine or transformers' generate."
    )
    sampling_dtype: Literal["auto", "float32", "bfloat16"] = _key(
        "auto",
        "Number format of the embedded engine's weights. auto: bfloat16 where bf16 is set and the processor has "
        "instructions for it, until its log-probabilities differ from the update's by more than max_logp_gap. "
        "Colocated vLLM computes in it too; auto: what the update computes in.",
    )
    max_logp_gap: float = _key(
        0.05,
        "Largest mean difference of log-probabilities (nats) between sampler and policy that auto accepts; with other "
        "samplers, vLLM among them, more than that is a warning and an event.",
    )
    kv_cache_gb: float | None = _key(
        None, "Memory for keys and values in sampling, 10^9 bytes a process. Default: a quarter of the free."
    )
    task: str = _key("countdown", "Task name, see `r1rl tasks`.")
    task_options: dict[str, Any] = _key({}, "Options of the task, as JSON; one of them: --task_options.KEY VALUE.")
    train_size: int = _key(1024, "At most this many training problems.")
    heldout_size: int = _key(128, "Number of held-out problems, never trained on.")
    bad_gold: Literal["drop", "stop"] = _key(
        "drop", "Rows whose gold answer the verifier cannot use: leave them out and warn, or stop."
    )
    prompt_template: str = _key("r1-zero", "Prompt template: r1-zero, tinyzero, few-shot, chat or none.")
    prompt_options: dict[str, Any] = _key({}, "Options of the template, as JSON: examples, system, stop.")
    reward_funcs: list[str] = _key(
        ["accuracy", "format"],
        "Rewards by name (`r1rl rewards`), file.py:function or package.module:function; weights: reward_weights.",
    )
    reward_options: dict[str, Any] = _key({}, "Options per reward name, as JSON.")
    prompts_per_step: int = _key(8, "Distinct prompts that are sampled at once, over all processes.")
    steps_per_generation: int = _key(
        1, "Optimizer steps that share out what was sampled at once (TRL counts micro-batches); R1-Zero: 16."
    )
    advantage_estimator: Literal["grpo", "rloo", "reinforce_plus_plus_baseline"] = _key(
        "grpo", "What a reward is compared with: grpo (TRL's, see scale_rewards), rloo, reinforce_plus_plus_baseline."
    )
    dynamic_sampling: bool = _key(
        False, "Replace groups without signal (all rollouts earned the same) by groups of other prompts (DAPO)."
    )
    max_resamples: int = _key(3, "With dynamic_sampling: most rounds of further prompts a step.")
    eval_temperature: float | None = _key(
        None, "Sampling temperature of held-out evaluations. Default: the training temperature."
    )
    max_wasted_steps: int = _key(
        5, "Stop after this many first steps that sampled and in which no rollout earned anything; 0: never."
    )
    guards: dict[str, Any] = _key(
        {},
        "What to do when the run is sick, by guard (docs/safety.md): off, warn, stop or roll_back, or a mapping of "
        "action, limit and window; `all` is for those not named.",
    )
    max_hours: float | None = _key(None, "End with a checkpoint after so many hours on the clock, over all starts.")
    max_tokens: float | None = _key(None, "End with a checkpoint after so many tokens of training rollouts.")
    max_cost: float | None = _key(None, "End with a checkpoint once so much is spent, at `price`.")
    price: float | None = _key(None, "Of one hour of one process, which is one GPU, or a CPU.")
    on_alarm: str | None = _key(
        None, "Command that is run, or webhook (https://…) that is posted to, with JSON about an alarm."
    )
    on_end: str | None = _key(None, "The same when the run ends, however it does.")
    keep_rollouts: str = _key(
        "all", "Training rollouts that stay on disk: all, eval (none but evaluations), or a share of the steps."
    )
    watchdog_seconds: float | None = _key(
        None,
        "End the run when no process makes progress for so many seconds, and name the slow one; 0: never. Default: "
        "1500 with several processes, 0 alone.",
    )


@dataclass(frozen=True)
class Default:
    """A value that replaces TRL's own default, and why; `cpu_only`: only where there is no accelerator."""

    key: str
    value: Any
    reason: str
    cpu_only: bool = False


DEFAULTS = (
    Default("beta", 0.0, "no KL term, so no reference model in memory; R1-Zero's 0.001 is one line"),
    Default("lr_scheduler_type", "constant", "R1-Zero's learning rate is constant"),
    Default("disable_dropout", True, "sampling and update must see the same policy"),
    Default("eval_steps", 50, "held-out evaluation before the first update, every so many steps, at the end"),
    Default("num_generations_eval", 4, "samples per held-out prompt, besides one greedy answer"),
    Default("logging_steps", 1, "a step is long, metrics.jsonl has one line for each"),
    Default("report_to", ["tensorboard"], "curves without an account"),
    Default("save_strategy", "no", "checkpoints are large; giving save_steps turns them on"),
    Default("remove_unused_columns", False, "rewards read gold, meta and the other columns"),
    Default("use_cpu", True, "said openly, so that bf16 and process groups are set up for it", cpu_only=True),
    Default("bf16", False, "TRL's true slows down every CPU without bf16 instructions", cpu_only=True),
    Default("gradient_checkpointing", False, "costs a second forward pass; CPU memory is not the limit", cpu_only=True),
    Default("dataloader_pin_memory", False, "pinned memory serves GPUs only", cpu_only=True),
)

# Keys that r1rl computes, and what to give instead.
DERIVED = {
    "gradient_accumulation_steps": "derived from prompts_per_step, num_generations, "
    "steps_per_generation and the processes",
    "generation_batch_size": "derived: prompts_per_step * num_generations",
    "output_dir": "derived: checkpoints/ in the run folder; give runs_dir and name",
    "run_name": "derived: the run's name; give name",
    "resume_from_checkpoint": "derived; give resume: true and the run's name",
    "eval_strategy": "held-out problems are evaluated by r1rl itself; give eval_steps",
    "auto_find_batch_size": "the batch is fixed by the recipe; lower per_device_train_batch_size",
}

# TRL reads these as free text and complains only in the first update.
CHOICES: dict[str, Any] = {
    "loss_type": Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo", "gspo"],
    "scale_rewards": Literal["group", "batch", "none"],
    "importance_sampling_level": Literal["token", "sequence"],
    "multi_objective_aggregation": Literal["sum_then_normalize", "normalize_then_sum"],
    "vllm_mode": Literal["colocate", "server"],
    "dtype": Literal["auto", "bfloat16", "float16", "float32"],
    # TRL's types allow null here, and its trainer then breaks.
    "num_generations": int,
    "max_completion_length": int,
    "shuffle_dataset": bool,
}


@dataclass(frozen=True)
class Limit:
    """The values that a key may have, beside null: a range as JSON Schema names it, or a single value."""

    text: str  # what is needed, in words
    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None
    whole: bool = False
    only: bool | None = None  # the one value that is allowed
    beside: float | None = None  # a value out of the range that is allowed as well

    def allows(self, value: Any) -> bool:
        """Whether a value of the key's type is allowed."""
        if self.only is not None or value == self.beside:
            return bool(value == self.beside or value is self.only)
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.exclusive_minimum is None or value > self.exclusive_minimum)
            and (self.maximum is None or value <= self.maximum)
            and not (self.whole and value != int(value))
        )


_SEED = Limit(f"need 0 to {2**32 - 1}", minimum=0, maximum=2**32 - 1)
_AT_LEAST_ONE = Limit("need at least 1", minimum=1)
_NOT_NEGATIVE = Limit("need 0 or more", minimum=0)
_MORE_THAN_ZERO = Limit("need more than 0", exclusive_minimum=0)
LIMITS: dict[str, Limit] = {
    "seed": _SEED,
    "data_seed": _SEED,
    "num_generations": Limit("need at least 2, advantages compare siblings; try 8", minimum=2),
    "temperature": Limit("need more than 0 (and at most 10); R1-Zero samples at 1.0", exclusive_minimum=0, maximum=10),
    "eval_temperature": Limit(
        "need more than 0; the greedy answer is sampled besides", exclusive_minimum=0, maximum=10
    ),
    "top_p": Limit("need more than 0 and at most 1; 1.0 switches it off", exclusive_minimum=0, maximum=1),
    "max_steps": Limit("need at least 1, or -1 to count num_train_epochs", minimum=1, beside=-1),
    "num_train_epochs": Limit("need more than 0", exclusive_minimum=0),
    "eval_steps": Limit("need a whole number of steps, 0 for none", minimum=0, whole=True),
    "ref_model_mixup_alpha": Limit(
        "need more than 0 and at most 1; 1 replaces the reference", exclusive_minimum=0, maximum=1
    ),
    "remove_unused_columns": Limit("need false, rewards read gold, meta and the other columns", only=False),
    **dict.fromkeys(("kv_cache_gb", "max_hours", "max_tokens", "max_cost"), _MORE_THAN_ZERO),
    **dict.fromkeys(("learning_rate", "max_logp_gap", "beta", "max_wasted_steps", "price"), _NOT_NEGATIVE),
    **dict.fromkeys(("top_k", "weight_decay", "max_grad_norm", "warmup_steps", "watchdog_seconds"), _NOT_NEGATIVE),
    **dict.fromkeys(("prompts_per_step", "max_resamples", "train_size", "heldout_size"), _AT_LEAST_ONE),
    **dict.fromkeys(("num_generations_eval", "max_completion_length", "ref_model_sync_steps"), _AT_LEAST_ONE),
    **dict.fromkeys(("per_device_train_batch_size", "num_iterations", "steps_per_generation"), _AT_LEAST_ONE),
}
