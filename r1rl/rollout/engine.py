"""The embedded rollout engine: samples completions from any `transformers` causal LM, without a server.

What it does that `generate` does not: every distinct prompt is prefilled once and its cache shared out to its
group, the cache is preallocated, finished rows leave the batch, and every row has its own random stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1rl.rollout.cache import PreallocatedCache
from r1rl.rollout.sampling import Sampling, StopStrings, draw

_DROP_BELOW = 0.85  # finished rows are dropped once fewer than this share of the rows still decode


@dataclass
class Completion:
    """One sampled completion.

    `logprobs[t]` is the log-probability of `token_ids[t]` under the sampling distribution; `finish_reason` is
    `eos`, `stop` (a stop string) or `length` (the cap). The token that ended it is included.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class Engine:
    """Samples from `model`.

    Args:
        tokenizer: for stop strings and padding.
        eos_token_ids: every id that ends a completion.
        max_rows: most rows decoded at the same time; more are done one batch after another.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_token_ids: list[int], *, max_rows: int = 512) -> None:
        self.tokenizer = tokenizer
        self.eos_token_ids = eos_token_ids
        self.max_rows = max_rows
        self._stops: dict[tuple[tuple[str, ...], int], StopStrings] = {}

    @torch.no_grad()
    def generate(
        self, model: PreTrainedModel, prompts: list[list[int]], keys: list[int], sampling: Sampling
    ) -> list[Completion]:
        """One completion per prompt, in order. Equal prompts share their prefill.

        Args:
            prompts: token ids; at least one token each.
            keys: one `sampling.row_key` a prompt; decides the row's random draws.

        Raises:
            ValueError: a prompt is empty.
        """
        if not all(prompts):
            raise ValueError(f"prompt {prompts.index([])} has no tokens: the engine needs at least one")
        training = model.training
        model.eval()
        try:
            done: list[Completion] = []
            for start in range(0, len(prompts), self.max_rows):
                end = start + self.max_rows
                done += self._generate_batch(model, prompts[start:end], keys[start:end], sampling)
            return done
        finally:
            model.train(training)

    def _generate_batch(
        self, model: PreTrainedModel, prompts: list[list[int]], keys: list[int], sampling: Sampling
    ) -> list[Completion]:
        device = next(model.parameters()).device
        stops = self.stop_strings(sampling.stop, model.config.get_text_config().vocab_size)
        completes = stops.completes.to(device)
        eos = torch.zeros_like(completes)
        eos[self.eos_token_ids] = True
        completions = [Completion([], [], "length") for _ in prompts]

        distinct = list(dict.fromkeys(map(tuple, prompts)))
        position_of = {prompt: i for i, prompt in enumerate(distinct)}
        expand = torch.tensor([position_of[tuple(p)] for p in prompts], device=device)
        longest = max(map(len, distinct))
        mask = torch.zeros(len(distinct), longest, dtype=torch.long, device=device)
        ids = torch.full_like(mask, self.tokenizer.pad_token_id)
        for i, prompt in enumerate(distinct):
            ids[i, longest - len(prompt) :] = torch.tensor(prompt, device=device)
            mask[i, longest - len(prompt) :] = 1
        cache = PreallocatedCache(model.config.get_text_config().num_hidden_layers, longest)
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

        capacity = longest + sampling.max_completion_length
        cache.select(expand, capacity)
        logits = logits[expand]
        lengths = mask.sum(1)[expand]
        full_mask = torch.ones(len(prompts), capacity, dtype=torch.long, device=device)
        full_mask[:, :longest] = mask[expand]
        rows = list(range(len(prompts)))  # which prompt each row of the batch belongs to
        row_keys = torch.tensor(keys, dtype=torch.long)
        alive = torch.ones(len(prompts), dtype=torch.bool, device=device)

        for position in range(sampling.max_completion_length):
            tokens, logprobs = draw(logits, row_keys, position, sampling)
            ended = eos[tokens]
            maybe_stopped = completes[tokens]
            for i, (token, logprob, living, at_eos, at_stop) in enumerate(
                zip(
                    tokens.tolist(),
                    logprobs.tolist(),
                    alive.tolist(),
                    ended.tolist(),
                    maybe_stopped.tolist(),
                    strict=True,
                )
            ):
                if not living:
                    continue
                completion = completions[rows[i]]
                completion.token_ids.append(token)
                completion.logprobs.append(logprob)
                if at_eos:
                    completion.finish_reason = "eos"
                    alive[i] = False
                elif at_stop and stops.finished(completion.token_ids):
                    completion.finish_reason = "stop"
                    alive[i] = False
            living_rows = int(alive.sum())
            if living_rows == 0 or position + 1 == sampling.max_completion_length:
                break
            if living_rows < _DROP_BELOW * len(rows):
                kept = alive.nonzero().squeeze(1)
                cache.select(kept)
                rows = [rows[i] for i in kept.tolist()]
                tokens, lengths, full_mask = tokens[kept], lengths[kept], full_mask[kept]
                row_keys, alive = row_keys[kept.cpu()], alive[kept]
            logits = model(
                input_ids=tokens[:, None],
                attention_mask=full_mask[:, : longest + position + 1],
                position_ids=(lengths + position)[:, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return completions

    def stop_strings(self, stop: tuple[str, ...], vocabulary: int) -> StopStrings:
        """The stop strings' detector for a vocabulary of that size, built once."""
        if (stop, vocabulary) not in self._stops:
            self._stops[stop, vocabulary] = StopStrings(stop, self.tokenizer, vocabulary)
        return self._stops[stop, vocabulary]
