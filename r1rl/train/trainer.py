"""`ZeroTrainer`: TRL's `GRPOTrainer` with r1rl's rollout engine, verdicts and rollout store.

Everything that overrides TRL is here; each override says what upstream does, as read in TRL 1.16.0.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch
from accelerate.utils import gather_object, is_peft_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import nanstd, pad

from r1rl.rollout.engine import Completion, Engine
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.rollout.weights import SamplingWeights, format_for
from r1rl.run.folder import RunFolder
from r1rl.store import records, store
from r1rl.tasks.prompts import Prompt
from r1rl.train import dynamic_sampling
from r1rl.train.grading_ahead import Ahead
from r1rl.update import allocation, fused, scoring
from r1rl.update.batching import Chunk
from r1rl.verify.verdict import OUTCOMES, Verdict, outcome
from rewards.accuracy import Accuracy, reward_of

TRL_VERSION = "1.16.0"
logger = logging.getLogger(__name__)


class ZeroTrainer(GRPOTrainer):
    """GRPO with rule-based rewards on a base model; see `GRPOTrainer` for what is not named here.

    Args:
        folder: the run folder; every rollout of every step goes into its store.
        prompt: the template, for its stop strings.
        engine: `embedded` samples with `r1rl.rollout.engine`; `generate` leaves it to TRL (and to vLLM where
            `use_vllm` is set).
        max_resamples: rounds in which a step may replace groups without signal, see `dynamic_sampling`; 0: none.
        sampling_dtype: number format of the embedded engine's weights: `float32`, `bfloat16`, or `auto`, which is
            `bfloat16` where the update computes in it too and the processor has instructions for it.
        max_logp_gap: nats; where sampling's log-probabilities differ by more from the update's, on average over the
            tokens of a step, `auto` goes back to the training weights.
        kv_cache_gb: 10^9 bytes for keys and values while sampling; None: a quarter of what is free.
    """

    _metrics: dict[str, Any]  # upstream's, by mode and name: the values of the step under way

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
        **kwargs: Any,
    ) -> None:
        self.folder = folder
        self.prompt = prompt
        self.accuracy = next((r for r in reward_funcs if isinstance(r, Accuracy)), Accuracy())
        self.earned = self.judged_rollouts = 0  # of the last step, over all processes
        self.max_resamples = max_resamples
        self.beat: Callable[[str], None] = lambda phase: None  # told what begins, see r1rl.run.heartbeats
        self.on_stored: Callable[[int], None] | None = None  # measures reflection apart, once a step is stored
        self.grade_ahead = True
        self._verdicts: list[Verdict] = []
        self._sampled: list[Completion] = []
        self._round = 0  # of sampling, within the step
        self._grading: Ahead | None = None
        self._batch: list[dynamic_sampling.Group] = []  # sampled already, for upstream to fetch
        self._rewards_per_func: torch.Tensor | None = None
        self._sampling_weights = SamplingWeights()
        config: GRPOConfig = kwargs["args"]
        self._mask_truncated = config.mask_truncated_completions
        # TRL takes every completion without a final EOS for truncated; one that a stop string ended is not.
        config.mask_truncated_completions = False
        if config.use_vllm and prompt.stop:
            stop = {"stop": list(prompt.stop), "include_stop_str_in_output": True}
            config.generation_kwargs = stop | (config.generation_kwargs or {})
        recorded = [self._accuracy_reward if r is self.accuracy else r for r in reward_funcs]
        super().__init__(*args, reward_funcs=recorded, **kwargs)
        for i, reward in enumerate(reward_funcs):
            self.reward_func_names[i] = reward.__name__
        self.embedded = engine == "embedded" and not config.use_vllm
        policy = self.model.get_base_model() if is_peft_model(self.model) else self.model
        # An entropy bonus needs gradients through the entropies, which only upstream's head computes.
        self._can_score = scoring.can_score(policy) and not self._entropy_bonus_enabled and not self.aux_loss_enabled
        for trained in filter(None, (policy, self.ref_model)):
            fused.fuse(trained)
        self._batching = scoring.batching_for(policy, self.accelerator.device)
        self._update: dict[str, Any] | None = None  # the micro-batch whose loss is being computed
        self._scored: tuple[torch.Tensor, torch.Tensor] | None = None
        if self.accelerator.device.type == "cpu":
            allocation.keep_freed_memory()
        for scored in filter(None, (policy, self.ref_model)):
            scoring.add_scoring(scored, self.temperature)
        memory = None if kv_cache_gb is None else int(kv_cache_gb * 1e9)
        self.engine = Engine(self.processing_class, self.eos_token_ids, memory=memory)
        self.sampling_dtype = format_for(sampling_dtype, bf16=self.args.bf16, device=self.accelerator.device)
        self.max_logp_gap = max_logp_gap if sampling_dtype == "auto" else math.inf
        self._sampled_at = -1  # the step whose weights sampled the last batch
        vocabulary = self.model.config.get_text_config().vocab_size
        self.stop_strings = self.engine.stop_strings(prompt.stop, vocabulary)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL 1.16: a sampler that draws every epoch's order from one generator, which checkpoints do not keep."""
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Transformers 5.23 counts the epochs that a resumed run has behind it; here their orders are drawn again."""
        epochs, steps = super()._init_training_state(*args, **kwargs)
        for _ in range(epochs):
            torch.randperm(self._train_sampler.num_samples, generator=self._train_sampler.generator)
        return epochs, steps

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
        """Completions from the current policy by the embedded engine; every process must call it together."""
        self.beat("sampling")
        with self._sampling_model() as model:
            return self.engine.generate(model, prompt_ids, keys, sampling, on_finished=on_finished)

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
            step = self.state.global_step
            stream = ("resample", step, self._round) if self._round else ("train", step)
            keys = [row_key(self.args.seed, *stream, first + i) for i in range(len(prompt_ids))]
            on_finished = self._grading.finished if self._grading else None
            self._sampled = self.sample(prompt_ids, keys, self.sampling(), on_finished)
            self._log_sampling()
            return [c.token_ids for c in self._sampled], [c.logprobs for c in self._sampled]
        self.beat("sampling")
        ids, logprobs = super()._generate_single_turn(
            prompt_ids, images, multimodal_fields, num_generations, has_tool_images
        )
        kept = [self.stop_strings.cut(row) for row in ids]
        if logprobs is not None:
            logprobs = [row[: len(k)] for row, k in zip(logprobs, kept, strict=True)]
        self._sampled = [
            Completion(k, logprobs[i] if logprobs else [], self._finish_reason(k)) for i, k in enumerate(kept)
        ]
        return kept, logprobs

    def _finish_reason(self, token_ids: list[int]) -> str:
        if token_ids and token_ids[-1] in self.eos_token_ids:
            return "eos"
        return "stop" if self.stop_strings.stops(token_ids) else "length"

    def _generate(self, prompts: list[Any]) -> Any:
        """Correct the truncation metrics, or hand over the rollouts that `_sample_round` has made.

        Upstream samples in every call and counts completions that a stop string ended as clipped.
        """
        if self._batch:
            rollouts = [(group.prompt_ids, completion) for group in self._batch for completion in group.completions]
            logprobs = [completion.logprobs for _, completion in rollouts]
            return (
                [prompt_ids for prompt_ids, _ in rollouts],
                [completion.token_ids for _, completion in rollouts],
                None,  # tools' mask
                [text for group in self._batch for text in group.texts],
                logprobs if any(logprobs) else None,
                {},
                None,  # images
                [],
            )
        output = super()._generate(prompts)
        self._log_lengths(self._sampled, calls=1)
        return output

    def _log_sampling(self) -> None:
        """Which share of the tokens that sampling forwarded was needed: prompts once, every completion's own."""
        work = self.engine.work
        counts = torch.tensor(
            [work.prompt_tokens + work.sampled_tokens, work.prefilled_tokens + work.row_steps],
            device=self.accelerator.device,
        )
        useful, forwarded = self.accelerator.reduce(counts, reduction="sum").tolist()
        self._metrics["train" if self.model.training else "eval"]["sampling/useful_tokens_share"].append(
            useful / forwarded
        )

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
            self._metrics["train" if self.model.training else "eval"][f"completions/{name}"][-calls:] = [value]

    def _accuracy_reward(self, completions: list[Any], **columns: Any) -> list[float | None]:
        return [reward_of(verdict) for verdict in self._verdicts]

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: Any
    ) -> torch.Tensor:
        """Judge every completion once and keep the verdicts. Upstream only calls the reward functions.

        Where `_sample_round` has done that, its rewards are handed over.

        Upstream leaves a row out of its group where every reward is None; here one that accuracy cannot judge is,
        unless accuracy has weight 0 and only measures.
        """
        if self._batch:
            assert self._rewards_per_func is not None
            return self._rewards_per_func
        self._verdicts = self._grading.verdicts(completions) if self._grading else self.judge(completions, inputs)
        paid = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if "accuracy" in self.reward_func_names:
            index = self.reward_func_names.index("accuracy")
            # A row that cannot be judged is out for every rule, or its format alone would weigh in the group's mean.
            if self.reward_weights[index] != 0:
                paid[paid[:, index].isnan()] = math.nan
        self._rewards_per_func = paid
        return paid

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Sample the batch, resample where groups lack signal, score what holds a place then, and store it all.

        Upstream samples its inputs once. Here it finds rollouts and rewards ready and computes what follows from them:
        old and reference log-probabilities, advantages, the padded batch. Its metrics of rewards and lengths are
        put right to count every sampled rollout, thrown away or not, so that choosing groups looks like no progress;
        `frac_reward_zero_std` is that of the batch which is trained on.
        """
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        process = self.accelerator.process_index
        step = dynamic_sampling.sample_step(
            inputs[:: self.num_generations],
            self._sample_round,
            self._has_signal,
            dataset=self.train_dataset,
            seed=self.args.seed,
            step=self.state.global_step,
            max_resamples=self.max_resamples,
            process=process,
            processes=self.accelerator.num_processes,
        )
        batch = step.batch(process)
        for name in sorted({name for group in batch for name in group.extra}):
            nothing = [None] * self.num_generations
            self._pending_extra_logs[name] = [value for group in batch for value in group.extra.get(name, nothing)]
        self._rewards_per_func = step.places.rewards.flatten(0, 1)
        self._sampled = [completion for group in batch for completion in group.completions]
        self._batch = batch
        try:
            output = super()._generate_and_score_completions(
                [group.row for group in batch for _ in range(self.num_generations)]
            )
        finally:
            self._batch = []
        self._sampled_at = self.state.global_step
        if all(len(c.policy_logprobs) == len(c.token_ids) for c in self._sampled):
            output["policy_per_token_logps"] = pad(
                [torch.tensor(c.policy_logprobs, device=self.accelerator.device) for c in self._sampled],
                padding_side="right",
            )
        # Equal rewards may differ from their mean in the last bit, and upstream scales that up to a thousandth.
        groups, mine = output["advantages"].view(len(batch), -1), step.places.of(process)
        groups[[place - mine.start for place in step.places.open if place in mine]] = 0
        if self._mask_truncated:
            truncated = [c.finish_reason == "length" for c in self._sampled]
            keep = ~torch.tensor(truncated, device=self.accelerator.device)
            output["completion_mask"] = output["completion_mask"] * keep.unsqueeze(1)
            output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        self._store(step, self.accelerator.gather(groups))
        return output

    def _has_signal(self, rewards: torch.Tensor) -> list[bool]:
        normalize_first = self.multi_objective_aggregation == "normalize_then_sum"
        return dynamic_sampling.has_signal(
            rewards, self.reward_weights.to(rewards.device), normalize_first=normalize_first
        )

    def _sample_round(
        self, rows: Sequence[dict[str, Any]], number: int
    ) -> tuple[list[dynamic_sampling.Group], torch.Tensor]:
        """Sample and judge a group for each row; see `dynamic_sampling.sample_step`."""
        size = self.num_generations
        inputs = [row for row in rows for _ in range(size)]
        prompts = [row["prompt"] for row in inputs]
        self._round = number
        with closing(Ahead(self.judge, self._text, inputs, overlap=self.grade_ahead)) as self._grading:
            prompt_ids, token_ids, _, texts, *_ = self._generate(prompts)
            gathered = self._calculate_rewards(inputs, prompts, texts, token_ids)
        spent = self._grading.seconds, self._grading.waited_seconds
        self._grading = None
        for name, seconds in zip(("seconds", "waited_seconds"), spent, strict=True):
            entries = self._metrics["train"][f"grading/{name}"]
            entries.append(seconds if number == 0 else entries.pop() + seconds)
        rewards = gathered.view(-1, size, gathered.shape[1])
        first = self.accelerator.process_index * len(rows)
        extra = {name: values for name, values in self._pending_extra_logs.items() if len(values) == len(inputs)}
        self._pending_extra_logs.clear()
        groups = []
        for i, row in enumerate(rows):
            part = slice(i * size, (i + 1) * size)
            groups.append(
                dynamic_sampling.Group(
                    row,
                    prompt_ids[part.start],
                    self._sampled[part],
                    texts[part],
                    self._verdicts[part],
                    rewards[first + i].cpu(),
                    {name: values[part] for name, values in extra.items()},
                )
            )
        return groups, rewards

    def _text(self, token_ids: list[int]) -> str:
        return self.processing_class.decode(token_ids, skip_special_tokens=True)

    def _earned(self, rewards: torch.Tensor) -> torch.Tensor:
        """[rollouts, rules] -> [rollouts], NaN where no rule judged."""
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        total[rewards.isnan().all(dim=1)] = math.nan
        return total

    def _store(self, step: dynamic_sampling.Step, advantages: torch.Tensor) -> None:
        """Write this process's shard of the step, what was thrown away included, and log the metrics of all of it.

        Args:
            advantages: of the whole batch, [places, rollouts].
        """
        process, size = self.accelerator.process_index, self.num_generations
        kept = step.places.kept(process)
        nothing = [math.nan] * size
        mine = torch.cat([group.rewards for group in step.groups])
        total = self._earned(mine)
        rows = records.rows(
            records.Origin(self.folder.name, "train", self.state.global_step, self.state.global_step, process),
            [group.row for group in step.groups for _ in range(size)],
            [completion for group in step.groups for completion in group.completions],
            [text for group in step.groups for text in group.texts],
            [verdict for group in step.groups for verdict in group.verdicts],
            self.sampling(),
            samples_per_prompt=size,
            rewards={name: mine[:, i].tolist() for i, name in enumerate(self.reward_func_names)},
            reward=total.tolist(),
            advantages=[
                value
                for i in range(len(step.groups))
                for value in (advantages[kept[i]].tolist() if i in kept else nothing)
            ],
            kept=[i in kept for i in range(len(step.groups)) for _ in range(size)] if self.max_resamples else None,
        )
        store.write_shard(self.folder.path, rows, kind="train", step=self.state.global_step, rank=process)
        paid = self._earned(step.rewards.flatten(0, 1))
        self.earned, self.judged_rollouts = int((paid > 0).sum()), len(paid)
        metrics = self.rollout_metrics(rows)
        if self.on_stored is not None:
            self.on_stored(self.state.global_step)  # every process has written: the metrics were gathered
        counts = self.accelerator.gather(torch.tensor([step.counts()], device=self.accelerator.device)).sum(0).tolist()
        for name, count in zip(("sampled", "all_right", "all_wrong", "with_signal"), counts, strict=True):
            metrics[f"groups/{name}"] = count
        if self.max_resamples:
            metrics["dynamic/rounds"] = step.rounds
            metrics["dynamic/discarded"] = len(step.rewards) - len(step.places.holders)
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
        if step.rounds:
            self._count_every_rollout(step, paid)

    def _count_every_rollout(self, step: dynamic_sampling.Step, paid: torch.Tensor) -> None:
        """Put metrics over all rounds where upstream has put those of the last batch, or of each round."""
        metrics = self._metrics["train"]
        self._log_lengths([c for group in step.groups for c in group.completions], calls=step.rounds + 1)
        by_rule = {f"rewards/{name}": step.rewards[..., i] for i, name in enumerate(self.reward_func_names)}
        for name, values in by_rule.items():
            metrics[f"{name}/mean"][-1], metrics[f"{name}/std"][-1] = values.nanmean().item(), nanstd(values).item()
        metrics["reward"][-1], metrics["reward_std"][-1] = paid.nanmean().item(), nanstd(paid).item()

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
        self._update = inputs if self._can_score else None
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._update = None

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Forward each prompt once for its group where that pays, nothing padded, and project scored tokens only.

        Upstream forwards every row at the micro-batch's full width and projects every position (without Triton).
        The results are scattered back into upstream's shape, so every loss type is normalised as upstream does.
        """
        if self._scored is not None:
            return *self._scored, None
        if not self._can_score or any(value is not None and value is not False for value in kwargs.values()):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
        device = input_ids.device
        logps, entropies, wanted = self._before_scoring(input_ids, logits_to_keep)
        ids, mask = input_ids.tolist(), attention_mask.bool().tolist()
        prompts, completions = [], []
        for row, kept, want in zip(ids, mask, wanted.tolist(), strict=True):
            prompts.append([t for t, k in zip(row[:-logits_to_keep], kept[:-logits_to_keep], strict=True) if k])
            scored = [t for t, k in zip(row[-logits_to_keep:], kept[-logits_to_keep:], strict=True) if k]
            completions.append(scored if want else [])
        passes, useful = self._batching.passes(prompts, completions)
        # Under ZeRO-3 and FSDP every pass gathers weights from all processes, so all run the same number. And there
        # is always one: a loss without a graph has no backward.
        count = max(1, int(self.accelerator.gather(torch.tensor([len(passes)], device=device)).max()))
        passes += [[]] * (count - len(passes))
        chunks = [self._batching.chunk(part, completions, device) for part in passes]

        def score(chunk: Chunk, known: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            with self.accelerator.autocast():
                found = model(
                    input_ids=chunk.input_ids,
                    attention_mask=chunk.attention_mask,
                    position_ids=chunk.position_ids,
                    scored=(chunk.sources, chunk.targets),
                )
            at = chunk.row, chunk.column
            return known[0].index_put(at, found[0]), known[1].index_put(at, found[1])

        known = logps, entropies
        update = self._update if torch.is_grad_enabled() else None
        if update is not None:
            self._log_tokens(wanted, useful, sum(chunk.input_ids.numel() for chunk in chunks))
            if self.top_entropy_quantile < 1:  # what counts in a chunk then depends on all the others
                with torch.no_grad():
                    for chunk in chunks:
                        known = score(chunk, known)
            for chunk in chunks[:-1]:
                known = self._accumulate(model, update, functools.partial(score, chunk, known))
            chunks = chunks[-1:]
        for chunk in chunks:
            known = score(chunk, known)
        if update is not None:
            self._watch_gap(update, known[0].detach(), wanted)
        return known[0], known[1] if compute_entropy else None, None

    def _before_scoring(
        self, input_ids: torch.Tensor, logits_to_keep: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What stands for rows that are not scored: log-probabilities, entropies; and which rows are, bool [rows].

        A row without advantage keeps its old log-probabilities (ratio 1), and for the entropy metric the sampled
        tokens' negative log-probabilities, which estimate the entropy without bias where sampling filters nothing.
        """
        shape, device = (len(input_ids), logits_to_keep), input_ids.device
        logps, entropies = torch.zeros(2, *shape, device=device)
        wanted = torch.ones(len(input_ids), dtype=torch.bool, device=device)
        if self._update is not None and self.beta == 0 and self.top_entropy_quantile == 1:
            advantages = self._update["advantages"]
            wanted = advantages.reshape(len(input_ids), -1).ne(0).any(1)
            old, sampled = (self._update.get(key) for key in ("old_per_token_logps", "sampling_per_token_logps"))
            logps = logps if old is None else old.detach().float()
            entropies = entropies if sampled is None else -sampled.float().nan_to_num()
        return logps, entropies, wanted

    def _accumulate(
        self,
        model: nn.Module,
        update: dict[str, Any],
        score: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass and the gradient of the whole micro-batch's loss with respect to what it scored.

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
                self._scored = score()
                loss = super()._compute_loss(model, update)
                scaling = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
                self.accelerator.backward(loss, **scaling)
            return self._scored[0].detach(), self._scored[1].detach()
        finally:
            self._scored = None
            self._metrics = metrics
            state._set_sync_gradients(due)

    def _watch_gap(self, update: dict[str, Any], logps: torch.Tensor, wanted: torch.Tensor) -> None:
        """Log how far sampling's log-probabilities are from those of the weights that learn, on the same tokens."""
        sampled = update.get("policy_per_token_logps")
        if sampled is None or self._sampled_at != self.state.global_step:  # the policy has moved on since
            return
        real = update["completion_mask"].bool() & wanted.unsqueeze(1)
        gaps = (logps - sampled[:, : logps.shape[1]])[real].abs()
        found = torch.tensor([gaps.sum(), gaps.numel()], dtype=torch.float64, device=logps.device)
        total, count = self.accelerator.reduce(found, reduction="sum").tolist()
        if not count:
            return
        gap = total / count
        self._metrics["train" if self.model.training else "eval"]["sampling/logp_gap"].append(gap)
        if gap > self.max_logp_gap and self.sampling_dtype is not None:
            self.sampling_dtype = None
            logger.warning(
                "sampling in bfloat16 is %.3f nats from the policy on average (max_logp_gap=%s): sampling with the "
                "training weights from here on", gap, self.max_logp_gap,
            )  # fmt: skip

    def _log_tokens(self, wanted: torch.Tensor, useful: int, forwarded: int) -> None:
        """Which share of the rows enters the update, and which share of its tokens is needed."""
        counts = torch.tensor([int(wanted.sum()), len(wanted), useful, forwarded], device=wanted.device)
        rows, of_rows, tokens, of_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["update/row_share"].append(rows / of_rows)
        metrics["update/useful_tokens_share"].append(tokens / of_tokens)
