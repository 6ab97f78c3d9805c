"""`ZeroTrainer`: TRL's `GRPOTrainer` with r1rl's rollout engine, verdicts and rollout store.

Every override of TRL is in this module and says what upstream does, as read in TRL 1.16.0; tests/train/test_trainer.py
fails where upstream's source changes. This is one training step of TRL's, top to bottom, and what happens here:

    TRL's step                                      here
    training_step
      _prepare_inputs                               as upstream: rollouts once a step, then micro-batches of them
        _generate_and_score_completions             samples rounds until the groups have signal, lets upstream compute
                                                    the batch from them, stores every rollout
          _generate                                 round: upstream's; batch: hands the chosen rollouts over
            _generate_single_turn                   r1rl's engine, or upstream's `generate` and vLLM
          _get_per_token_logps_and_entropies        old and reference scores, nothing padded
          _calculate_rewards                        round: one verdict a rollout; batch: hands the rewards over
      compute_loss
        _compute_loss                               skips rows without advantage, and runs the backward pass of all
                                                    forward passes but the last
          _get_per_token_logps_and_entropies        hands over what `_compute_loss` has scored
    log                                             as upstream; `log_apart` logs beside a step
    _get_train_sampler, _init_training_state        a resumed run draws the order of its epoch again
    _run_epoch                                      a resumed run that has made all steps makes no more
    _save_checkpoint                                says last what it wrote, and deletes older ones by that
    _save_rng_state, _load_rng_state                keep, and take up, rollouts not used up and a moved reference

The rollouts' methods share one object, `StepRollouts`; the update's share one value, `_scored`.

One sampling may serve several optimizer steps (`steps_per_generation`, `num_iterations`): then `_prepare_inputs`
calls `_generate_and_score_completions` in the first of them alone, and `StepRollouts.step` stays behind.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from accelerate.utils import gather_object, is_peft_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_generation
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import nanstd, pad

from r1rl.ground.errors import RunFailedError, one_line
from r1rl.recipe.schedules import Schedule
from r1rl.rollout.engine import Completion, Engine
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.rollout.weights import SamplingWeights, format_for
from r1rl.run.folder import RunFolder
from r1rl.store import records, store
from r1rl.tasks.prompts import Prompt
from r1rl.train import checkpoints, dynamic_sampling
from r1rl.train.curriculum import Curriculum
from r1rl.train.grading_ahead import Ahead
from r1rl.train.payments import checked
from r1rl.train.schedules import write_change
from r1rl.train.step_rollouts import Group, StepRollouts
from r1rl.update import allocation, scoring
from r1rl.update.advantages import ESTIMATORS
from r1rl.update.batching import Chunk
from r1rl.update.importance import Correction, gap
from r1rl.verify.verdict import OUTCOMES, Verdict, outcome
from rewards.accuracy import Accuracy, reward_of

logger = logging.getLogger(__name__)

Scores: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Log-probabilities and entropies of a micro-batch's completions, float32 [rows, tokens], passes scored so far."""


_VLLM_SETTINGS: Final = ("temperature", "top_p", "top_k", "min_p", "max_completion_length")


@contextmanager
def _server_is_named(config: GRPOConfig) -> Iterator[None]:
    """Say in one line that the vLLM server is not there, or is no more; in another mode change nothing.

    TRL 1.16's client waits for a server, later tries for about a minute, and then raises what its HTTP library does.
    """
    try:
        yield
    except (OSError, NotImplementedError) as error:
        # A missing file is an OSError as well; what the HTTP library raises says so by its module.
        known = isinstance(error, (ConnectionError, NotImplementedError)) or type(error).__module__.startswith(
            "requests"
        )
        if not known or not config.use_vllm or config.vllm_mode != "server":
            raise
        place = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
        raise RunFailedError(
            f"vllm_mode=server: the vLLM server at {place} cannot be used: {one_line(error)}. Start it again; "
            "--resume goes on from the last checkpoint"
        ) from error


class ZeroTrainer(GRPOTrainer):
    """GRPO with rule-based rewards on a base model; see `GRPOTrainer` for what is not named here.

    Args:
        folder: the run folder, whose store gets every rollout of every step.
        prompt: the prompt template, for its stop strings.
        engine: `embedded` samples with `r1rl.rollout.engine`; `generate` leaves it to TRL (and to vLLM where
            `use_vllm` is set).
        max_resamples: rounds in which a step may replace groups without signal, see `dynamic_sampling`; 0: none.
        sampling_dtype: number format of the embedded engine's weights: `float32`, `bfloat16`, or `auto`, which is
            `bfloat16` where the update computes in it too and the processor has instructions for it. Colocated vLLM
            computes in it as well; `auto` is then what the update computes in.
        max_logp_gap: nats; where sampling's log-probabilities differ by more from the update's, on average over the
            tokens that were sampled at once, `auto` goes back to the training weights, and all else warns.
        kv_cache_gb: 10^9 bytes for keys and values while sampling; None: a quarter of what is free.
        schedules: of the settings that change at a step, by key.
        advantage_estimator: `grpo` is upstream's; else one of `r1rl.update.advantages`.
        curriculum: which level's problems are asked; None: those of the data set.

    Attributes:
        rollouts: the rollouts of the step under way.
        earned, judged_rollouts: how many rollouts of the last step earned something (where none did, how many groups
            were paid differently all the same), and how many were judged, over all processes.
        beat: told which phase begins, see `r1rl.run.heartbeats`.
        on_stored: called with each step whose rollouts are stored; measures their reflection in place of this process.
    """

    _metrics: dict[str, Any]  # upstream's, by mode and name: the values of the step under way
    use_vllm: bool

    def __init__(
        self,
        *args: Any,
        reward_funcs: Sequence[Callable[..., list[float | None]]],
        folder: RunFolder,
        prompt: Prompt,
        engine: str = "embedded",
        max_resamples: int = 0,
        sampling_dtype: str = "auto",
        max_logp_gap: float = 0.05,
        kv_cache_gb: float | None = None,
        schedules: Mapping[str, Schedule] | None = None,
        advantage_estimator: str = "grpo",
        curriculum: Curriculum | None = None,
        **kwargs: Any,
    ) -> None:
        self.folder = folder
        self.prompt = prompt
        self.accuracy = next((r for r in reward_funcs if isinstance(r, Accuracy)), Accuracy())
        self.earned = self.judged_rollouts = 0
        self.max_resamples = max_resamples
        self.curriculum = curriculum
        self.beat: Callable[[str], None] = lambda phase: None
        self.on_stored: Callable[[int], None] | None = None
        self.grade_ahead = True
        self.rollouts = StepRollouts(step=-1)
        self._sampling_weights = SamplingWeights()
        config: GRPOConfig = kwargs["args"]
        self._mask_truncated = config.mask_truncated_completions
        # TRL takes every completion without a final EOS for truncated; one that a stop string ended is not.
        config.mask_truncated_completions = False
        if config.use_vllm and prompt.stop:
            stop = {"stop": list(prompt.stop), "include_stop_str_in_output": True}
            config.generation_kwargs = stop | (config.generation_kwargs or {})
        recorded = [self._accuracy_reward if r is self.accuracy else checked(r) for r in reward_funcs]
        with self._vllm_computes_in(sampling_dtype, config), _server_is_named(config):
            super().__init__(*args, reward_funcs=recorded, **kwargs)
        if config.use_vllm:
            # vLLM reads the ends from the model's files; the tokenizer, or r1rl, may know of more.
            ends = {"stop_token_ids": list(self.eos_token_ids)}
            self.vllm_generation.generation_kwargs = ends | self.vllm_generation.generation_kwargs
        for i, reward in enumerate(reward_funcs):
            self.reward_func_names[i] = reward.__name__
        self.embedded = engine == "embedded" and not config.use_vllm
        policy = next(self._scored_models())
        # An entropy bonus needs gradients through the entropies, which only upstream's head computes.
        self._can_score = scoring.can_score(policy) and not self._entropy_bonus_enabled and not self.aux_loss_enabled
        self._batching = scoring.batching_for(policy, self.accelerator.device)
        self._scored: Scores | None = None  # what the loss under way is computed from
        if self.accelerator.device.type == "cpu":
            allocation.keep_freed_memory()
        for scored in self._scored_models():
            scoring.add_scoring(scored, self.temperature)
        memory = None if kv_cache_gb is None else int(kv_cache_gb * 1e9)
        self.engine = Engine(self.processing_class, self.eos_token_ids, memory=memory)
        self.sampling_dtype = format_for(sampling_dtype, bf16=self.args.bf16, device=self.accelerator.device)
        self.max_logp_gap = max_logp_gap
        self._falls_back = sampling_dtype == "auto"
        if self._falls_back and not self._can_score:  # nobody would see the gap
            self.sampling_dtype = None
        self._is_apart = False  # whether the last gap was too large
        self._correction: Correction | None = None
        if config.vllm_importance_sampling_correction and self._can_score:
            self._correction = Correction(
                config.vllm_importance_sampling_mode,
                config.vllm_importance_sampling_clip_min,
                config.vllm_importance_sampling_clip_max,
            )
        vocabulary = self.model.config.get_text_config().vocab_size
        self.stop_strings = self.engine.stop_strings(prompt.stop, vocabulary)
        self.estimator = ESTIMATORS.get(advantage_estimator)
        self.schedules = dict(schedules or {})
        self._follow_schedules(0)

    def _follow_schedules(self, step: int, *, log: bool = False) -> None:
        """Sample, score and penalise from now on as the schedules say of `step`, at which the run samples."""
        samplers = getattr(self, "vllm_generation", None), getattr(self, "generation_config", None)  # upstream's
        for key in sorted(self.schedules.keys() - {"learning_rate"}):  # that one is `FollowSchedules`'
            value = self.schedules[key].at(step)
            setattr(self, key, value)
            if key == "temperature":
                for scored in self._scored_models():
                    scored.scoring_temperature = value
            for name in ("max_completion_length", "max_new_tokens") if key == "max_completion_length" else (key,):
                for sampler in samplers:
                    if hasattr(sampler, name):
                        setattr(sampler, name, value)
            if log and step and self.accelerator.is_main_process:
                write_change(self.folder, self.schedules[key], step, since=step - self.generate_every)

    def _scored_models(self) -> Iterator[Any]:
        """The policy without an adapter, and the reference model if there is one, without what processes wrap it in."""
        yield self.model.get_base_model() if is_peft_model(self.model) else self.model
        if self.ref_model is not None:
            yield self.accelerator.unwrap_model(self.ref_model)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL 1.16: a sampler that draws every epoch's order from one generator, which checkpoints do not keep."""
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Transformers 5.23 counts the epochs that a resumed run has behind it; here their orders are drawn again."""
        epochs, steps = super()._init_training_state(*args, **kwargs)
        self.state.compute_steps(self.args, args[0])  # upstream goes on with the checkpoint's logging and saving steps
        for _ in range(epochs):
            torch.randperm(self._train_sampler.num_samples, generator=self._train_sampler.generator)
        return epochs, steps

    def _run_epoch(self, **options: Any) -> None:
        """Transformers 5.23 asks whether all steps are made after one more: in a run that was killed at its end."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(**options)

    @property
    def generate_every(self) -> int:
        """Optimizer steps from one sampling to the next."""
        return int(self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Transformers 5.23 writes in place, and deletes older checkpoints whether the new one is whole or not."""
        with checkpoints.written(self):
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        """Transformers 5.23 saves this process's generators; TRL 1.16 forgets its buffer and a moved reference."""
        super()._save_rng_state(output_dir)
        folder, process = Path(output_dir), self.accelerator.process_index
        if self.state.global_step % self.generate_every:
            checkpoints.save_buffer(folder, process, self._buffered_inputs)
        if self.args.sync_ref_model:
            checkpoints.save_reference(folder, process, self.ref_model)
        if self.curriculum is not None and process == 0:
            self.curriculum.save(folder)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Transformers 5.23 restores this process's generators; TRL 1.16 begins with a new sampling wherever it is."""
        super()._load_rng_state(checkpoint)
        if checkpoint is None:
            return
        folder, process, step = Path(checkpoint), self.accelerator.process_index, self.state.global_step
        used = step % self.generate_every  # steps that the rollouts at hand have served
        self._step = step * self.args.gradient_accumulation_steps
        self._follow_schedules(step - used)
        # Sampling that fell back stays there.
        self._is_apart = any(
            event["event"] == "sampler_gap" and event["step"] < step for event in self.folder.read_events()
        )
        if used:
            self._buffered_inputs = checkpoints.load_buffer(folder, process, self.accelerator.device)
        if self.args.sync_ref_model:
            checkpoints.load_reference(folder, process, self.ref_model)
        if self.curriculum is not None:
            self.curriculum.load(folder)

    def sampling(self, temperature: float | None = None) -> Sampling:
        """The recipe's sampling settings, with another temperature if given (0: greedy, no filters)."""
        if temperature == 0:
            return Sampling(0.0, max_completion_length=self.max_completion_length, stop=self.prompt.stop)
        return Sampling(
            temperature=self.temperature if temperature is None else temperature,
            top_p=self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p,
            max_completion_length=self.max_completion_length,
            stop=self.prompt.stop,
        )

    def sample(
        self,
        prompt_ids: list[list[int]],
        keys: list[int],
        sampling: Sampling,
        on_finished: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Completions from the current policy, by vLLM where the run has it; every process must call it together.

        What vLLM draws does not depend on `keys`: TRL's `generate` has one set of parameters for all requests, so a
        seed would be the same for every sample of a prompt (and vLLM on a CPU takes none). Two evaluations of one
        policy then differ by chance, and a resumed run draws other completions; greedy ones do not depend on it.

        Args:
            on_finished: told of each completion as it ends, by the embedded engine alone.
        """
        self.beat("sampling")
        if self.use_vllm:
            return self._sample_with_vllm(prompt_ids, sampling)
        with self._sampling_model() as model:
            return self.engine.generate(model, prompt_ids, keys, sampling, on_finished=on_finished)

    def _sample_with_vllm(self, prompt_ids: list[list[int]], sampling: Sampling) -> list[Completion]:
        """TRL 1.16's `generate` reads the settings of sampling from `vllm_generation`, in both modes."""
        settings = self.vllm_generation.__dict__
        before = {name: settings[name] for name in _VLLM_SETTINGS}
        settings.update({name: getattr(sampling, name) for name in _VLLM_SETTINGS})
        try:
            with _server_is_named(self.args):
                return self._completions(*super()._generate_single_turn(prompt_ids, None, {}, num_generations=1))
        finally:
            settings.update(before)

    @contextmanager
    def _vllm_computes_in(self, wanted: str, config: GRPOConfig) -> Iterator[None]:
        """TRL 1.16 names no dtype to colocated vLLM, which then samples float32 weights in bfloat16.

        Here it is what the recipe says, and for `auto` what the update computes in.
        """
        upstream = getattr(vllm_generation, "LLM", None)  # absent where vLLM is not installed

        def llm(**options: Any) -> Any:
            auto = "bfloat16" if config.bf16 else "float16" if config.fp16 else str(self.model.dtype)[len("torch.") :]
            return upstream(dtype=auto if wanted == "auto" else wanted, **options)  # type: ignore[misc]

        if upstream is None:
            yield
            return
        vllm_generation.LLM = llm
        try:
            yield
        finally:
            vllm_generation.LLM = upstream

    def judge(self, texts: list[str], inputs: list[dict[str, Any]]) -> list[Verdict]:
        """The verdict on each completion's text for its dataset row."""
        columns = {key: [row[key] for row in inputs] for key in ("gold", "meta", "verifier", "prefill")}
        return self.accuracy.verdicts(texts, **columns)

    @contextmanager
    def _sampling_model(self) -> Iterator[nn.Module]:
        """The whole policy, ready for inference, in the number format that sampling uses."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as policy,
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
            self._sampling_weights.of(policy, self.sampling_dtype or next(policy.parameters()).dtype) as model,
        ):
            yield model

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Sample with the embedded engine. Upstream pads all prompts and calls `generate` (or vLLM)."""
        if self.embedded:
            first = self.accelerator.process_index * len(prompt_ids)
            step, number = self.state.global_step, self.rollouts.round
            stream = ("resample", step, number) if number else ("train", step)
            keys = [row_key(self.args.seed, *stream, first + i) for i in range(len(prompt_ids))]
            on_finished = self.rollouts.grading.finished if self.rollouts.grading else None
            sampled = self.rollouts.completions = self.sample(prompt_ids, keys, self.sampling(), on_finished)
            self._log_sampling()
            return [c.token_ids for c in sampled], [c.logprobs for c in sampled]
        self.beat("sampling")
        with _server_is_named(self.args):
            ids, logprobs = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        sampled = self.rollouts.completions = self._completions(ids, logprobs)
        return [c.token_ids for c in sampled], None if logprobs is None else [c.logprobs for c in sampled]

    def _completions(self, ids: list[list[int]], logprobs: list[list[float]] | None) -> list[Completion]:
        """What upstream has sampled, each cut behind a stop string, with the reason for its end."""
        kept = [self.stop_strings.cut(row) for row in ids]
        return [
            Completion(k, logprobs[i][: len(k)] if logprobs else [], self._finish_reason(k)) for i, k in enumerate(kept)
        ]

    def _finish_reason(self, token_ids: list[int]) -> str:
        if token_ids and token_ids[-1] in self.eos_token_ids:
            return "eos"
        return "stop" if self.stop_strings.stops(token_ids) else "length"

    def _generate(self, prompts: list[Any]) -> Any:
        """Sample a round and correct its length metrics, or hand the chosen batch over.

        Upstream samples in every call and counts completions that a stop string ended as clipped.
        """
        if self.rollouts.batch:
            return self.rollouts.generated()
        output = super()._generate(prompts)
        self._log_lengths(self.rollouts.completions, calls=1)
        return output

    def _log_sampling(self) -> None:
        """Log which share of the tokens that sampling forwarded was needed; the rest is padding and what came twice.

        Needed are what the prompts begin with once, the rest of each, and a token for each that was sampled.
        """
        work = self.engine.work
        counts = torch.tensor(
            [work.needed_tokens + work.sampled_tokens, work.prefilled_tokens + work.row_steps],
            device=self.accelerator.device,
        )
        useful, forwarded = self.accelerator.reduce(counts, reduction="sum").tolist()
        self.step_metrics["sampling/useful_tokens_share"].append(useful / forwarded)

    def _log_lengths(self, completions: Sequence[Completion], *, calls: int) -> None:
        """Put one entry of the length metrics where upstream put one for each of the last `calls` calls."""
        device = self.accelerator.device
        clipped = self.accelerator.gather(
            torch.tensor([c.finish_reason == "length" for c in completions], device=device)
        )
        lengths = self.accelerator.gather(torch.tensor([len(c.token_ids) for c in completions], device=device)).float()
        found = {"clipped_ratio": clipped.float().mean().item()}
        for suffix, chosen in (("length", lengths), ("terminated_length", lengths[~clipped])):
            for name in ("mean", "min", "max"):
                found[f"{name}_{suffix}"] = getattr(chosen, name)().item() if len(chosen) else 0.0
        for name, value in found.items():
            self.step_metrics[f"completions/{name}"][-calls:] = [value]

    def _accuracy_reward(self, completions: list[Any], **columns: Any) -> list[float | None]:
        return [reward_of(verdict) for verdict in self.rollouts.verdicts]

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: Any
    ) -> torch.Tensor:
        """Judge every completion of a round once and keep the verdicts, or hand the chosen batch's rewards over.

        Upstream calls the reward functions, and leaves a row out of its group where every reward is None; here a row
        that accuracy cannot judge is left out, unless accuracy has weight 0 and only measures.
        """
        rollouts = self.rollouts
        if rollouts.rewards is not None:
            return rollouts.rewards
        assert rollouts.grading is not None
        rollouts.verdicts = rollouts.grading.verdicts(completions)
        paid = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if "accuracy" in self.reward_func_names:
            index = self.reward_func_names.index("accuracy")
            # A row that cannot be judged is out for every rule, or its format alone would weigh in the group's mean.
            if self.reward_weights[index] != 0:
                paid[paid[:, index].isnan()] = math.nan
        return paid

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Sample rounds until the groups have signal, let upstream compute the batch, correct it and store it all.

        Upstream samples its inputs once. Here it finds rollouts and rewards ready and computes what follows from them:
        old and reference log-probabilities, advantages, the padded batch.
        """
        if self._is_apart and self._falls_back:
            self.sampling_dtype = None
        self._follow_schedules(self.state.global_step, log=True)
        if self.curriculum is not None:
            for change in self.curriculum.move():
                if self.accelerator.is_main_process:
                    self.folder.append_event("setting", step=self.state.global_step, **change)
        step = dynamic_sampling.sample_step(
            inputs[:: self.num_generations],
            self._sample_round,
            self._has_signal,
            dataset=self.train_dataset,
            seed=self.args.seed,
            step=self.state.global_step,
            max_resamples=self.max_resamples,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        batch = step.batch(self.accelerator.process_index)
        for name in sorted({name for group in batch for name in group.extra}):
            nothing = [None] * self.num_generations
            self._pending_extra_logs[name] = [value for group in batch for value in group.extra.get(name, nothing)]
        self.rollouts = StepRollouts.of_batch(self.state.global_step, batch, step.places.rewards.flatten(0, 1))
        output = super()._generate_and_score_completions([group.row for group in batch for _ in group.completions])
        self._correct(output, step.places)
        advantages = self.accelerator.gather(output["advantages"].view(len(batch), -1))
        self._store(step, advantages)
        self._log_groups(step)
        return output

    def _correct(self, output: dict[str, Any], places: dynamic_sampling.Places) -> None:
        """Put right in upstream's batch what it cannot know: advantages, truncated rows, the policy's own scores."""
        completions, device = self.rollouts.completions, self.accelerator.device
        for name in ("mean", "max"):  # of vLLM; ours are those of `_log_gap`
            self.step_metrics.pop(f"sampling/sampling_logp_difference/{name}", None)
        if all(len(c.policy_logprobs) == len(c.token_ids) for c in completions):
            output["policy_per_token_logps"] = pad(
                [torch.tensor(c.policy_logprobs, device=device) for c in completions], padding_side="right"
            )
        # Equal rewards may differ from their mean in the last bit, and upstream scales that up to a thousandth.
        mine = places.of(self.accelerator.process_index)
        if self.estimator is not None:
            found = self.estimator(self._earned(places.rewards))[mine.start : mine.stop]
            output["advantages"] = found.flatten().to(output["advantages"])
        groups = output["advantages"].view(len(mine), -1)
        groups[[place - mine.start for place in places.open if place in mine]] = 0
        if self._mask_truncated:
            keep = torch.tensor([c.finish_reason != "length" for c in completions], device=device)
            output["completion_mask"] = output["completion_mask"] * keep.unsqueeze(1)
            output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        old = output.get("old_per_token_logps")
        if old is not None:
            counted = output["completion_mask"].bool()
            weights = self._log_gap(output, old, counted)
            if self._corrects:
                output["importance_sampling_ratio"] = weights

    def _has_signal(self, rewards: torch.Tensor) -> list[bool]:
        weights = self.reward_weights.to(rewards.device)
        normalize_first = self.multi_objective_aggregation == "normalize_then_sum"
        return dynamic_sampling.has_signal(rewards, weights, normalize_first=normalize_first)

    def _sample_round(self, rows: Sequence[dict[str, Any]], number: int) -> tuple[list[Group], torch.Tensor]:
        """Sample and judge a group for each row; see `dynamic_sampling.sample_step`."""
        if self.curriculum is not None:
            rows = self.curriculum.at_level(rows)
        size = self.num_generations
        inputs = [row for row in rows for _ in range(size)]
        prompts = [row["prompt"] for row in inputs]
        with closing(Ahead(self.judge, self.engine.text, inputs, overlap=self.grade_ahead)) as grading:
            self.rollouts = StepRollouts(step=self.state.global_step, round=number, grading=grading)
            prompt_ids, token_ids, *_ = self._generate(prompts)
            texts = [self.engine.text(ids) for ids in token_ids]  # upstream's lack tags that are special tokens
            rewards = self._calculate_rewards(inputs, prompts, texts, token_ids)
        for name, seconds in (("seconds", grading.seconds), ("waited_seconds", grading.waited_seconds)):
            entries = self.step_metrics[f"grading/{name}"]
            entries.append(seconds + (entries.pop() if number else 0.0))
        rewards = rewards.view(-1, size, rewards.shape[1])
        first = self.accelerator.process_index * len(rows)
        extra = {name: values for name, values in self._pending_extra_logs.items() if len(values) == len(inputs)}
        self._pending_extra_logs.clear()
        groups = []
        for i, row in enumerate(rows):
            part = slice(i * size, (i + 1) * size)
            groups.append(
                Group(
                    row=row,
                    prompt_ids=prompt_ids[part.start],
                    completions=self.rollouts.completions[part],
                    texts=texts[part],
                    verdicts=self.rollouts.verdicts[part],
                    rewards=rewards[first + i].cpu(),
                    extra={name: values[part] for name, values in extra.items()},
                )
            )
        return groups, rewards

    def _earned(self, rewards: torch.Tensor) -> torch.Tensor:
        return dynamic_sampling.earned(rewards, self.reward_weights.to(rewards.device))

    def _store(self, step: dynamic_sampling.Step, advantages: torch.Tensor) -> None:
        """Write this process's shard of the step, with the groups that were thrown away, and log what it shows.

        Args:
            advantages: of the whole batch, over all processes, [places, rollouts].
        """
        process, size = self.accelerator.process_index, self.num_generations
        kept = step.places.kept(process)
        nothing = [math.nan] * size
        mine = torch.cat([group.rewards for group in step.groups])
        columns: dict[str, list[Any]] = {
            f"reward_{x}": mine[:, i].tolist() for i, x in enumerate(self.reward_func_names)
        }
        columns["reward"] = self._earned(mine).tolist()
        columns["advantage"] = [
            value for i in range(len(step.groups)) for value in (advantages[kept[i]].tolist() if i in kept else nothing)
        ]
        if self.max_resamples:  # else no group can be thrown away
            columns["kept"] = [i in kept for i in range(len(step.groups)) for _ in range(size)]
        rows = records.rows(
            records.Origin(self.folder.name, "train", self.state.global_step, self.state.global_step, process),
            [group.row for group in step.groups for _ in range(size)],
            [completion for group in step.groups for completion in group.completions],
            [text for group in step.groups for text in group.texts],
            [verdict for group in step.groups for verdict in group.verdicts],
            self.sampling(),
            samples_per_prompt=size,
            columns=columns,
        )
        store.write_shard(self.folder.path, rows, kind="train", step=self.state.global_step, rank=process)
        for name, value in self.rollout_metrics(rows).items():
            self.step_metrics[name].append(value)
        if self.on_stored is not None:
            self.on_stored(self.state.global_step)  # every process has written: the metrics were gathered

    def _log_groups(self, step: dynamic_sampling.Step) -> None:
        """Log how many groups had signal; where there were several rounds, count every rollout in upstream's metrics.

        Choosing groups must not look like progress, so what was thrown away counts in rewards and lengths;
        `frac_reward_zero_std` stays that of the batch which is trained on.
        """
        metrics = self.step_metrics
        paid = self._earned(step.rewards.flatten(0, 1))
        counts = self.accelerator.gather(torch.tensor([step.counts()], device=self.accelerator.device)).sum(0).tolist()
        for name, count in zip(("sampled", "all_right", "all_wrong", "with_signal"), counts, strict=True):
            metrics[f"groups/{name}"].append(count)
        if self.curriculum is not None:
            mine = torch.tensor([self.curriculum.counts(step.groups)], device=self.accelerator.device)
            self.curriculum.take(self.accelerator.gather(mine).sum(0).tolist())
            for name, value in self.curriculum.metrics().items():
                metrics[name].append(value)
        # Where some are punished more than others there is something to learn as well.
        self.earned, self.judged_rollouts = int((paid > 0).sum()) or counts[-1], len(paid)
        if self.max_resamples:
            metrics["dynamic/rounds"].append(step.rounds)
            metrics["dynamic/discarded"].append(len(step.rewards) - len(step.places.holders))
        if step.rounds:
            self._log_lengths([c for group in step.groups for c in group.completions], calls=step.rounds + 1)
            for i, name in enumerate(self.reward_func_names):
                values = step.rewards[..., i]
                metrics[f"rewards/{name}/mean"][-1] = values.nanmean().item()
                metrics[f"rewards/{name}/std"][-1] = nanstd(values).item()
            metrics["reward"][-1], metrics["reward_std"][-1] = paid.nanmean().item(), nanstd(paid).item()

    @property
    def step_metrics(self) -> dict[str, list[float]]:
        """The values that the log line of the step under way is made from, by name; each name's mean is logged."""
        return self._metrics["train"]

    def log_apart(self, metrics: dict[str, float]) -> None:
        """Log at once. TRL's `log` would average and clear the metrics of the step under way as well."""
        due = self.control.should_log
        super(GRPOTrainer, self).log(metrics)
        self.control.should_log = due  # every log takes it back, and the step's own is still to come

    def rollout_metrics(self, rows: list[dict[str, Any]]) -> dict[str, float]:
        """Task accuracy and verdict shares of rows spread over all processes."""
        everything = gather_object(
            [outcome(row["verdict"], row["verdict_reason"], row["finish_reason"]) for row in rows]
        )
        outcomes = Counter(everything)
        judged = len(everything) - outcomes["bad_gold"]
        metrics = {"task_accuracy": outcomes["correct"] / judged if judged else math.nan}
        for name in OUTCOMES[1:]:
            metrics[f"verdicts/{name}"] = outcomes[name] / len(everything)
        return metrics

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss of a micro-batch, of which only the last forward pass is left to differentiate.

        Upstream forwards all rows at once. Here rows whose loss is zero whatever they score stay out, and all passes
        but the last have gone backward already, as in gradient accumulation: what is kept for the backward pass does
        not grow with the batch.
        """
        self.beat("update")
        if not self._can_score:
            return super()._compute_loss(model, inputs)
        ids, mask = (torch.cat([inputs[f"prompt_{x}"], inputs[f"completion_{x}"]], dim=1) for x in ("ids", "mask"))
        known, wanted = self._before_scoring(inputs)
        chunks, useful = self._chunks(ids, mask, inputs["completion_ids"].shape[1], wanted)
        self._log_tokens(wanted, useful, sum(chunk.input_ids.numel() for chunk in chunks))
        if self.top_entropy_quantile < 1:  # what counts in a chunk then depends on all the others
            with torch.no_grad():
                for chunk in chunks:
                    known = self._score(model, chunk, known)
        for chunk in chunks[:-1]:
            known = self._accumulate(model, inputs, chunk, known)
        known = self._score(model, chunks[-1], known)
        # Where old log-probabilities were scored, `_correct` has looked; later the policy has moved on.
        if "old_per_token_logps" not in inputs and self.rollouts.step == self.state.global_step:
            self._log_gap(inputs, known[0].detach(), inputs["completion_mask"].bool() & wanted.unsqueeze(1))
        return self._loss_of(model, inputs, known)

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Hand over what `_compute_loss` has scored; outside of it (old, reference policy) score all rows, unpadded.

        Upstream forwards every row at the micro-batch's full width and projects every position (without Triton).
        The results come in upstream's shape, so every loss type is normalised as upstream does.
        """
        if self._scored is not None:
            return *self._scored, None
        if not self._can_score:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
        logps, entropies = torch.zeros(2, len(input_ids), logits_to_keep, device=input_ids.device)
        for chunk in self._chunks(input_ids, attention_mask, logits_to_keep)[0]:
            logps, entropies = self._score(model, chunk, (logps, entropies))
        return logps, entropies if compute_entropy else None, None

    def _before_scoring(self, inputs: dict[str, Any]) -> tuple[Scores, torch.Tensor]:
        """What stands for the rows of a micro-batch that are not scored, and which rows are, bool [rows].

        A row without advantage keeps its old log-probabilities, or the sampler's (ratio 1), and for the entropy metric
        the sampled tokens' negative log-probabilities, which estimate the entropy without bias where sampling filters
        nothing.
        """
        shape, device = inputs["completion_ids"].shape, inputs["completion_ids"].device
        logps, entropies = torch.zeros(2, *shape, device=device)
        wanted = torch.ones(len(logps), dtype=torch.bool, device=device)
        if self.beta == 0 and self.top_entropy_quantile == 1:
            wanted = inputs["advantages"].reshape(len(logps), -1).ne(0).any(1)
            old, sampled = (inputs.get(key) for key in ("old_per_token_logps", "sampling_per_token_logps"))
            entropies = entropies if sampled is None else -sampled.float().nan_to_num()
            logps = -entropies if old is None else old.detach().float()
        return (logps, entropies), wanted

    def _chunks(
        self, input_ids: torch.Tensor, mask: torch.Tensor, width: int, wanted: torch.Tensor | None = None
    ) -> tuple[list[Chunk], int]:
        """The forward passes that score the wanted rows' completions, their last `width` tokens, and the useful tokens.

        Each prompt is forwarded once for its group where that pays, and nothing is padded.
        """
        count = len(input_ids)
        rows = [row[keep] for row, keep in zip(input_ids.cpu(), mask.bool().cpu(), strict=True)]
        sizes = mask[:, -width:].sum(1).tolist()
        wants = [True] * count if wanted is None else wanted.tolist()
        prompts = [row[: len(row) - size].tolist() for row, size in zip(rows, sizes, strict=True)]
        completions = [
            row[len(row) - size :].tolist() if want else [] for row, size, want in zip(rows, sizes, wants, strict=True)
        ]
        passes, useful = self._batching.passes(prompts, completions)
        # Under ZeRO-3 and FSDP every pass gathers weights from all processes, so all run the same number. And there
        # is always one: a loss without a graph has no backward.
        device = input_ids.device
        most = max(1, int(self.accelerator.gather(torch.tensor([len(passes)], device=device)).max()))
        passes += [[]] * (most - len(passes))
        return [self._batching.chunk(part, completions, device) for part in passes], useful

    def _score(self, model: nn.Module, chunk: Chunk, known: Scores) -> Scores:
        """What is known, and what a forward pass over a chunk tells besides."""
        with self.accelerator.autocast():
            found = model(
                input_ids=chunk.input_ids,
                attention_mask=chunk.attention_mask,
                position_ids=chunk.position_ids,
                scored=(chunk.sources, chunk.targets),
            )
        at = chunk.row, chunk.column
        return known[0].index_put(at, found[0]), known[1].index_put(at, found[1])

    def _loss_of(self, model: nn.Module, inputs: dict[str, Any], scored: Scores) -> torch.Tensor:
        """Upstream's loss of a micro-batch from what was scored.

        Upstream weights the loss with `importance_sampling_ratio` where vLLM sampled; here also where the embedded
        engine sampled from other weights. Without old log-probabilities those just scored are the sampling policy's.
        """
        vllm = self.use_vllm
        if self._corrects and "importance_sampling_ratio" not in inputs:
            assert self._correction is not None
            sampled, mask = inputs["sampling_per_token_logps"], inputs["completion_mask"]
            weights, _ = self._correction.weights(scored[0].detach(), sampled, mask)
            inputs = inputs | {"importance_sampling_ratio": weights}
        self._scored = scored
        try:
            self.use_vllm = "importance_sampling_ratio" in inputs
            return super()._compute_loss(model, inputs)
        finally:
            self._scored, self.use_vllm = None, vllm

    def _accumulate(self, model: nn.Module, inputs: dict[str, Any], chunk: Chunk, known: Scores) -> Scores:
        """Score a chunk, and add the gradient of the whole micro-batch's loss with respect to what it scored.

        The gradient is exact though other rows are not scored yet: in every loss type a row's gradient depends on the
        log-probabilities of that row alone; the normalisers are known from the masks.
        """
        state = self.accelerator.gradient_state
        metrics = self._metrics
        due = state.sync_gradients
        # As in gradient accumulation: DDP and DeepSpeed exchange gradients and step at the last backward pass only.
        state._set_sync_gradients(False)
        quiet = model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
        self._metrics = {mode: defaultdict(list) for mode in metrics}  # upstream's are of the last, complete loss
        try:
            with quiet:
                logps, entropies = self._score(model, chunk, known)
                loss = self._loss_of(model, inputs, (logps, entropies))
                scaling = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
                self.accelerator.backward(loss, **scaling)
            return logps.detach(), entropies.detach()
        finally:
            self._metrics = metrics
            state._set_sync_gradients(due)

    def _log_gap(self, batch: dict[str, Any], policy: torch.Tensor, counted: torch.Tensor) -> torch.Tensor | None:
        """Log how far the sampler is from the policy on the tokens it sampled, and act where that is too far.

        A sampler that missed an update (a sync of weights that failed silently) shows here, on any engine.

        Args:
            policy: log-probabilities of the completions under the policy as it sampled, [rows, tokens].
            counted: the tokens that count, bool [rows, tokens].

        Returns:
            The weights that correct the loss, see `Correction.weights`; None where nothing is corrected.
        """
        sampler = batch.get("sampling_per_token_logps")
        if sampler is None:
            return None
        compared = batch.get("policy_per_token_logps", sampler)  # before filters such as top_p, where that is known
        found = self.accelerator.reduce(gap(policy, compared[:, : policy.shape[1]], counted), reduction="sum")
        total, divergence, count = found.tolist()
        if count:
            self.step_metrics["sampling/logp_gap"].append(total / count)
            self.step_metrics["sampling/kl"].append(divergence / count)
            self._act_on_gap(total / count)
        if self._correction is None or not (self.use_vllm or self._corrects):
            return None
        weights, outside = self._correction.weights(policy, sampler, counted)
        weighed = counted if weights.shape == counted.shape else counted.any(1, keepdim=True)
        counts = torch.stack([(outside & weighed).sum(), weighed.sum()])
        clipped, of = self.accelerator.reduce(counts, reduction="sum").tolist()
        if of:
            self.step_metrics["sampling/clipped_share"].append(clipped / of)
        return weights

    def _act_on_gap(self, nats: float) -> None:
        """Sample from the training weights where that is left to r1rl; else say once that sampler and policy parted."""
        was_apart, self._is_apart = self._is_apart, nats > self.max_logp_gap
        filtered = self.use_vllm and (self.top_p < 1 or self.top_k or self.min_p)  # then they differ by design
        if was_apart or not self._is_apart or filtered:
            return
        if self.embedded and self.sampling_dtype is None:
            done = "the update computes in another number format than its weights have"
        elif self.embedded and self._falls_back:
            done = "sampling with the training weights from here on"
        elif self.embedded:
            done = "a shorter max_completion_length, or sampling_dtype: auto, brings them together"
        else:
            done = "where it grows from step to step, vLLM does not get the new weights"
        if self.accelerator.is_main_process:
            self.folder.append_event("sampler_gap", step=self.state.global_step, nats=nats)
        logger.warning(
            "the sampler's log-probabilities are %.3f nats from the policy's on average (max_logp_gap=%s): %s",
            nats, self.max_logp_gap, done,
        )  # fmt: skip

    @property
    def _corrects(self) -> bool:
        """Whether the loss is corrected here for the embedded engine's other number format; vLLM's is upstream's."""
        return self._correction is not None and self.embedded and self.sampling_dtype is not None

    def _log_tokens(self, wanted: torch.Tensor, useful: int, forwarded: int) -> None:
        """Log which share of the rows enters the update, and which share of its tokens is needed."""
        counts = torch.tensor([int(wanted.sum()), len(wanted), useful, forwarded], device=wanted.device)
        rows, of_rows, tokens, of_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        self.step_metrics["update/row_share"].append(rows / of_rows)
        self.step_metrics["update/useful_tokens_share"].append(tokens / of_tokens)
