"""`ZeroTrainer`: TRL's `GRPOTrainer` with r1rl's rollout engine, verdicts and rollout store.

Everything that overrides TRL is here; each override says what upstream does, as read in TRL 1.16.0.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object, is_peft_model
from torch import nn
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from r1rl import batching, scoring
from r1rl.aha import transitions
from r1rl.prompts import Prompt
from r1rl.rollout import records, store
from r1rl.rollout.engine import Completion, Engine
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.run_folder import RunFolder
from r1rl.verify.verdict import OUTCOMES, Verdict, outcome
from rewards.accuracy import Accuracy, reward_of

TRL_VERSION = "1.16.0"
_TOKENS_PER_PASS = {"cpu": 4096, "gpu": 16384}


class ZeroTrainer(GRPOTrainer):
    """GRPO with rule-based rewards on a base model; see `GRPOTrainer` for what is not named here.

    Args:
        folder: the run folder; every rollout of every step goes into its store.
        prompt: the template, for its stop strings.
        engine: `embedded` samples with `r1rl.rollout.engine`; `generate` leaves it to TRL (and to vLLM where
            `use_vllm` is set).
    """

    def __init__(
        self,
        *args: Any,
        reward_funcs: Sequence[Callable[..., list[float | None]]],
        folder: RunFolder,
        prompt: Prompt,
        engine: str = "embedded",
        **kwargs: Any,
    ) -> None:
        self.folder = folder
        self.prompt = prompt
        self.accuracy = next((r for r in reward_funcs if isinstance(r, Accuracy)), Accuracy())
        self.earned = self.judged_rollouts = 0  # of the last step, over all processes
        self._verdicts: list[Verdict] = []
        self._sampled: list[Completion] = []
        self._texts: list[str] = []
        self._rewards_per_func: torch.Tensor | None = None
        self._sampling_copy: nn.Module | None = None
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
        self._can_pack = scoring.can_pack(policy)
        self._cost = scoring.cost(policy)
        self._signal: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None] | None = None
        for scored in filter(None, (policy, self.ref_model)):
            scoring.add_scoring(scored, self.temperature)
        self.engine = Engine(self.processing_class, self.eos_token_ids)
        vocabulary = self.model.config.get_text_config().vocab_size
        self.stop_strings = self.engine.stop_strings(prompt.stop, vocabulary)

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

    def sample(self, prompt_ids: list[list[int]], keys: list[int], sampling: Sampling) -> list[Completion]:
        """Completions from the current policy by the embedded engine; every process must call it together."""
        with self._sampling_model() as model:
            return self.engine.generate(model, prompt_ids, keys, sampling)

    def judge(self, texts: list[str], inputs: list[dict[str, Any]]) -> list[Verdict]:
        """The verdict on each completion's text for its dataset row."""
        columns = {key: [row[key] for row in inputs] for key in ("gold", "meta", "verifier", "prefill")}
        return self.accuracy.verdicts(texts, **columns)

    @contextmanager
    def _sampling_model(self) -> Iterator[nn.Module]:
        """The whole policy, ready for inference: a bf16 copy where `bf16` is set, else the training weights."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as policy,
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            if not self.args.bf16 or next(policy.parameters()).dtype == torch.bfloat16:
                yield policy
                return
            if self._sampling_copy is None:
                self._sampling_copy = copy.deepcopy(policy).to(torch.bfloat16)
            for mine, theirs in zip(self._sampling_copy.parameters(), policy.parameters(), strict=True):
                mine.copy_(theirs)
            yield self._sampling_copy

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
            keys = [row_key(self.args.seed, "train", step, first + i) for i in range(len(prompt_ids))]
            self._sampled = self.sample(prompt_ids, keys, self.sampling())
            return [c.token_ids for c in self._sampled], [c.logprobs for c in self._sampled]
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
        """Correct the truncation metrics. Upstream counts completions that a stop string ended as clipped."""
        output = super()._generate(prompts)
        metrics = self._metrics["train" if self.model.training else "eval"]
        device = self.accelerator.device
        clipped = self.accelerator.gather(
            torch.tensor([c.finish_reason == "length" for c in self._sampled], device=device)
        )
        lengths = self.accelerator.gather(torch.tensor([len(c.token_ids) for c in self._sampled], device=device))
        metrics["completions/clipped_ratio"][-1] = clipped.float().mean().item()
        ended = lengths[~clipped].float()
        for name in ("mean", "min", "max"):
            value = getattr(ended, name)().item() if len(ended) else 0.0
            metrics[f"completions/{name}_terminated_length"][-1] = value
        return output

    def _accuracy_reward(self, completions: list[Any], **columns: Any) -> list[float | None]:
        return [reward_of(verdict) for verdict in self._verdicts]

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: Any
    ) -> torch.Tensor:
        """Judge every completion once and keep the verdicts. Upstream only calls the reward functions.

        Upstream leaves a row out of its group where every reward is None; here one that accuracy cannot judge is,
        unless accuracy has weight 0 and only measures.
        """
        self._verdicts = self.judge(completions, inputs)
        self._texts = completions
        paid = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if "accuracy" in self.reward_func_names:
            index = self.reward_func_names.index("accuracy")
            # A row that cannot be judged is out for every rule, or its format alone would weigh in the group's mean.
            if self.reward_weights[index] != 0:
                paid[paid[:, index].isnan()] = math.nan
        self._rewards_per_func = paid
        return paid

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Store every rollout and log what the verdicts say. Upstream returns the scored batch, no more."""
        output = super()._generate_and_score_completions(inputs)
        if self._mask_truncated:
            truncated = [c.finish_reason == "length" for c in self._sampled]
            keep = ~torch.tensor(truncated, device=self.accelerator.device)
            output["completion_mask"] = output["completion_mask"] * keep.unsqueeze(1)
            output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        if self.model.training:
            self._store(inputs, output["advantages"].tolist())
        return output

    def _store(self, inputs: list[dict[str, Any]], advantages: list[float]) -> None:
        """Write this process's shard of the step and log the metrics that come from the rollouts."""
        assert self._rewards_per_func is not None
        rank, count = self.accelerator.process_index, len(inputs)
        mine = self._rewards_per_func[rank * count : (rank + 1) * count].cpu()
        step = self.state.global_step
        total = (mine * self.reward_weights.cpu()).nansum(dim=1)
        total[mine.isnan().all(dim=1)] = math.nan
        rows = records.rows(
            records.Origin(self.folder.name, "train", step, step, rank),
            inputs,
            self._sampled,
            self._texts,
            self._verdicts,
            self.sampling(),
            samples_per_prompt=self.num_generations,
            rewards={name: mine[:, i].tolist() for i, name in enumerate(self.reward_func_names)},
            reward=total.tolist(),
            advantages=advantages,
        )
        store.write_shard(self.folder.path, rows, kind="train", step=step, rank=rank)
        self.earned = sum(value > 0 for value in gather_object(total.tolist()))
        self.judged_rollouts = len(gather_object(advantages))
        for name, value in self.rollout_metrics(rows).items():
            self._metrics["train"][name].append(value)

    def log_apart(self, metrics: dict[str, float]) -> None:
        """Log at once. TRL's `log` would average and clear the metrics of the step under way as well."""
        due = self.control.should_log
        super(GRPOTrainer, self).log(metrics)
        self.control.should_log = due  # every log takes it back, and the step's own is still to come

    def rollout_metrics(self, rows: list[dict[str, Any]]) -> dict[str, float]:
        """Task accuracy, verdict shares and reflection of rows spread over all processes."""
        kept = (
            "completion", "prefill", "gold", "meta", "task", "verdict", "verdict_reason", "finish_reason", "n_tokens",
        )  # fmt: skip
        everything = gather_object([{key: row[key] for key in kept} for row in rows])
        outcomes = Counter(outcome(row["verdict"], row["verdict_reason"], row["finish_reason"]) for row in everything)
        judged = len(everything) - outcomes["bad_gold"]
        metrics = {"task_accuracy": outcomes["correct"] / judged if judged else math.nan}
        for name in OUTCOMES[1:]:
            metrics[f"verdicts/{name}"] = outcomes[name] / len(everything)
        reflection = transitions.summarise(everything)
        return metrics | {name: value for name, value in reflection.items() if value is not None}

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Leave rows out of the forward pass whose loss is zero whatever they score. Upstream forwards all rows.

        Such a row keeps its old log-probabilities (ratio 1), and for the entropy metric the sampled tokens' negative
        log-probabilities, which estimate the entropy without bias where sampling filters nothing.
        """
        whole = self.beta != 0 or self.top_entropy_quantile < 1
        if self._can_score and not whole:
            advantages = inputs["advantages"]
            signal = (advantages.unsqueeze(1) if advantages.dim() == 1 else advantages).ne(0).any(1)
            sampled = inputs.get("sampling_per_token_logps")
            self._signal = signal, inputs.get("old_per_token_logps"), sampled
            self._metrics["train" if self.model.training else "eval"]["update/row_share"].append(
                self.accelerator.gather(signal.float()).mean().item()
            )
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._signal = None

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
        if not self._can_score or any(value is not None and value is not False for value in kwargs.values()):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
        device = input_ids.device
        shape = len(input_ids), logits_to_keep
        logps, entropies = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        wanted = [True] * len(input_ids)
        if self._signal is not None:
            signal, old, sampled = self._signal
            wanted = signal.tolist()
            logps = logps if old is None else old.detach().float()
            entropies = entropies if sampled is None else -sampled.float().nan_to_num()
        ids, mask = input_ids.tolist(), attention_mask.bool().tolist()
        prompts, completions = [], []
        for row, kept, want in zip(ids, mask, wanted, strict=True):
            prompts.append([t for t, k in zip(row[:-logits_to_keep], kept[:-logits_to_keep], strict=True) if k])
            scored = [t for t, k in zip(row[-logits_to_keep:], kept[-logits_to_keep:], strict=True) if k]
            completions.append(scored if want else [])
        rows = batching.pack(prompts, [len(c) for c in completions], self._cost, may_share=self._can_pack)
        passes = batching.chunks(rows, _TOKENS_PER_PASS["cpu" if device.type == "cpu" else "gpu"])
        # Under ZeRO-3 and FSDP every pass gathers weights from all processes, so all run the same number. And there
        # is always one: a loss without a graph has no backward.
        count = max(1, int(self.accelerator.gather(torch.tensor([len(passes)], device=device)).max()))
        passes += [[batching.PackedRow((0,), (), 1)]] * (count - len(passes))
        for part in passes:
            chunk = batching.layout(part, completions, device)
            with self.accelerator.autocast():
                part_logps, part_entropies = model(
                    input_ids=chunk.input_ids,
                    attention_mask=chunk.attention_mask,
                    position_ids=chunk.position_ids,
                    scored=(chunk.sources, chunk.targets),
                )
            logps = logps.index_put((chunk.row, chunk.column), part_logps)
            entropies = entropies.index_put((chunk.row, chunk.column), part_entropies)
        return logps, entropies if compute_entropy else None, None
