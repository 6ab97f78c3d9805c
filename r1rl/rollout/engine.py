"""The embedded rollout engine: samples completions from any `transformers` causal LM, without a server.

What it does that `generate` does not: a distinct prompt is prefilled once and its keys and values are shared by its
group, what all prompts begin with is computed once for all of them, finished rows leave at once and waiting rows
take their places, and every row has its own random stream.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import psutil
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1rl.ground.machine import accelerator_memory
from r1rl.rollout.cache import ATTENTION, GroupCache, PrefillCache, stored_dtype
from r1rl.rollout.decoder import decoder_for
from r1rl.rollout.prefix import distinct
from r1rl.rollout.prefix import shared as shared_prefix
from r1rl.rollout.sampling import Sampling, StopStrings, draw
from r1rl.rollout.texts import text_of

logger = logging.getLogger(__name__)

_PREFILL_TOKENS = 8192  # tokens of one prefill pass at most, padding included
_ADMIT_FROM = 8  # waiting rows enter once one slot in eight is free
_MEMORY_SHARE = 0.25  # of the memory that is free at the start, for keys and values


@dataclass
class Completion:
    """One sampled completion.

    `logprobs[t]` is the log-probability of `token_ids[t]` under the sampling distribution, `policy_logprobs[t]` that
    under the policy as the update scores it: the same temperature, no top-p, top-k or min-p. `finish_reason` is
    `eos`, `stop` (a stop string) or `length` (the cap). The token that ended it is included.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    policy_logprobs: list[float] = field(default_factory=list)


@dataclass
class Work:
    """What one call of `generate` computed.

    Args:
        needed_tokens: tokens that had to be forwarded for the prompts, at least: each beginning once, and without a
            prompt's last token, which every completion of it forwards.
        prefilled_tokens: tokens forwarded for the prompts, padding included.
        sampled_tokens: tokens of all completions.
        widths: how many decode steps forwarded so many rows together, by the number of rows.
        seconds: wall time of the call.
    """

    needed_tokens: int = 0
    prefilled_tokens: int = 0
    sampled_tokens: int = 0
    widths: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def row_steps(self) -> int:
        """Tokens forwarded in decoding."""
        return sum(width * count for width, count in self.widths.items())


class Engine:
    """Samples from a model.

    Args:
        tokenizer: for stop strings and padding.
        eos_token_ids: every id that ends a completion.
        max_rows: most rows decoded at the same time.
        memory: bytes for keys and values, as they are stored; None: a quarter of what is free. Every row is given room
            up to the cap.

    Attributes:
        work: what the last call of `generate` computed.
        quick: whether the quick `Decoder` of a model agrees with the model, by the id of the model's configuration.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        eos_token_ids: list[int],
        *,
        max_rows: int = 512,
        memory: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.eos_token_ids = eos_token_ids
        self.max_rows = max_rows
        self.memory = memory
        self.work = Work()
        self._stops: dict[tuple[tuple[str, ...], int], StopStrings] = {}
        self.quick: dict[int, bool] = {}

    @torch.no_grad()
    def generate(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        sampling: Sampling,
        on_finished: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """One completion per prompt, in order. Equal prompts share their prefill.

        Args:
            prompts: token ids; at least one token each.
            keys: one `sampling.row_key` a prompt; decides the row's random draws.
            on_finished: called with the index of a prompt as soon as its completion has ended.

        Raises:
            ValueError: a prompt is empty, or the model cannot be sampled from in this way.
        """
        if not all(prompts):
            raise ValueError(f"prompt {[bool(p) for p in prompts].index(False)} has no tokens: the engine needs one")
        model = getattr(model, "get_base_model", lambda: model)()  # PEFT's adapters are inside it
        if not getattr(model, "_supports_attention_backend", False) or getattr(model, "_is_stateful", False):
            raise ValueError(f"engine=embedded: {type(model).__name__} keeps no plain key-value cache; try generate")
        started, training = time.perf_counter(), model.training
        model.eval()
        batch = _Batch(self, model, prompts, keys, sampling, on_finished)
        # Quicker, but a model that keeps what it computes on the way could not train with it any more.
        plain = batch.decoder is not None
        try:
            while batch.waiting or batch.rows:
                batch.admit()
                with torch.inference_mode() if plain else nullcontext():
                    batch.step()
        finally:
            batch.cache.layers.clear()  # they know the cache: garbage that would hold its memory for many steps
            model.train(training)
            self.work = batch.work
            self.work.seconds = time.perf_counter() - started
        return batch.completions

    def text(self, token_ids: Sequence[int]) -> str:
        """A completion's text, as everything reads it that judges or keeps it."""
        return text_of(self.tokenizer, token_ids, self.eos_token_ids)

    def stop_strings(self, stop: tuple[str, ...], vocabulary: int) -> StopStrings:
        """The stop strings' detector for a vocabulary of that size, built once."""
        if (stop, vocabulary) not in self._stops:
            self._stops[stop, vocabulary] = StopStrings(stop, self.tokenizer, vocabulary)
        return self._stops[stop, vocabulary]


class _Batch:
    """The rows under way in one call of `generate`. `rows[i]` is the completion that slot i is working on."""

    def __init__(
        self,
        engine: Engine,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        sampling: Sampling,
        on_finished: Callable[[int, Completion], None] | None,
    ) -> None:
        self.engine = engine
        self.model = model
        self.prompts = [tuple(prompt) for prompt in prompts]
        self.keys = keys
        self.sampling = sampling
        self.on_finished = on_finished
        self.work = Work(needed_tokens=distinct(prompt[:-1] for prompt in self.prompts))
        self.completions = [Completion([], [], "length") for _ in prompts]
        config = model.config.get_text_config()
        self.configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}.values()
        self.device = next(model.parameters()).device
        self.stops = engine.stop_strings(sampling.stop, config.vocab_size)
        self.completes = self.stops.completes.to(self.device)
        self.eos = torch.zeros_like(self.completes)
        self.eos[engine.eos_token_ids] = True
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        longest = max(map(len, self.prompts), default=0) + sampling.max_completion_length
        self.slots = self._slots(heads, longest)
        self.cache = GroupCache(
            config.num_hidden_layers,
            sampling.max_completion_length,
            self.device,
            even=len(self.prompts) <= self.slots,
        )
        # A group's rows one after another, prompts in the order of their first row.
        first = {prompt: i for i, prompt in reversed(list(enumerate(self.prompts)))}
        self.waiting = sorted(range(len(self.prompts)), key=lambda i: (first[self.prompts[i]], i))[::-1]
        self.rows: list[int] = []
        self.held: list[tuple[int, ...]] = []  # prompts in the cache
        none = torch.zeros(0, dtype=torch.long, device=self.device)
        self.tokens = self.positions = none  # of the token that every row feeds next
        self.row_keys = none.cpu()
        self.decoder = decoder_for(model, longest) if engine.quick.get(id(model.config), True) else None

    def _slots(self, kv_heads: int, tokens: int) -> int:
        """How many rows of so many tokens, the prompt included, the memory allows at once."""
        config = self.model.config.get_text_config()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_value = stored_dtype(next(self.model.parameters())).itemsize
        per_token = 2 * config.num_hidden_layers * kv_heads * size * per_value
        memory = _free_memory(self.device) * _MEMORY_SHARE if self.engine.memory is None else self.engine.memory
        # A row alone on its prompt is the worst case.
        return max(1, min(self.engine.max_rows, int(memory // (per_token * tokens))))

    def admit(self) -> None:
        """Let waiting rows into free slots, prompts prefilled where they are not held."""
        free = self.slots - len(self.rows)
        if not self.waiting or (free < max(1, self.slots // _ADMIT_FROM) and self.rows):
            return
        entering = [self.waiting.pop() for _ in range(min(free, len(self.waiting)))]
        living = {self.prompts[i] for i in self.rows}
        kept = [n for n, prompt in enumerate(self.held) if prompt in living]
        held = [self.held[n] for n in kept]
        new = list(dict.fromkeys(p for p in (self.prompts[i] for i in entering) if p not in living))
        # Similar lengths go together, so that a pass pads little.
        new.sort(key=len)
        keep = torch.tensor(kept, dtype=torch.long, device=self.device)
        for prefilled, lengths in self._prefill(new):
            self.cache.add_prompts(keep, prefilled, lengths)
            keep = torch.arange(len(self.cache.prompt_lengths), device=self.device)
        if not new and len(kept) < len(self.held):
            self.cache.add_prompts(keep, None, [])
        self.held = held + new
        place = {prompt: n for n, prompt in enumerate(self.held)}
        self.rows += entering
        prompt_of = torch.tensor([place[self.prompts[i]] for i in self.rows], device=self.device)
        fresh = torch.zeros(len(entering), dtype=torch.long, device=self.device)
        self.cache.set_rows(prompt_of, torch.cat([self.cache.lengths, fresh]))
        last = torch.tensor([self.prompts[i][-1] for i in entering], device=self.device)
        at = torch.tensor([len(self.prompts[i]) - 1 for i in entering], device=self.device)
        self.tokens, self.positions = torch.cat([self.tokens, last]), torch.cat([self.positions, at])
        self.row_keys = torch.cat([self.row_keys, torch.tensor([self.keys[i] for i in entering], dtype=torch.long)])

    def _prefill(self, prompts: list[tuple[int, ...]]) -> Iterator[tuple[PrefillCache, list[int]]]:
        """Keys and values of all but the last token of each prompt (which its rows feed themselves), pass by pass."""
        if not prompts:
            return
        bodies = [prompt[:-1] for prompt in prompts]
        shared = shared_prefix(prompts)
        prefix = self._forward_prompts([bodies[0][:shared]], None, 0) if shared else None
        start = 0
        while start < len(bodies):
            end = start + 1
            while end < len(bodies) and (end + 1 - start) * (len(bodies[end]) - shared) <= _PREFILL_TOKENS:
                end += 1
            part = [body[shared:] for body in bodies[start:end]]
            yield self._forward_prompts(part, prefix, shared), [len(body) for body in bodies[start:end]]
            start = end

    def _forward_prompts(self, parts: list[tuple[int, ...]], prefix: PrefillCache | None, shared: int) -> PrefillCache:
        """One padded pass over what follows the first `shared` tokens, which `prefix` has."""
        width = max(1, max(map(len, parts)))
        ids = torch.full((len(parts), width), self.engine.tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.ones(len(parts), shared + width, dtype=torch.long)
        for i, part in enumerate(parts):
            ids[i, : len(part)] = torch.tensor(part, dtype=torch.long)
            mask[i, max(1, shared + len(part)) :] = 0  # a query that sees nothing gives NaN
        cache = PrefillCache(self.model.config.get_text_config().num_hidden_layers)
        if prefix is not None:
            for mine, theirs in zip(cache.layers, prefix.layers, strict=True):
                mine.lazy_initialization(theirs.keys, theirs.values)
                mine.keys, mine.values = theirs.keys, theirs.values
        positions = torch.arange(shared, shared + width).expand(len(parts), -1)
        self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            position_ids=positions.to(self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.work.prefilled_tokens += ids.numel()
        return cache

    def step(self) -> None:
        """Sample one token for every row; finished rows leave."""
        self.cache.begin_step()
        logits = self._logits()
        self.cache.end_step()
        self.work.widths[len(self.rows)] += 1
        sampled = self.cache.lengths.cpu() - 1
        drawn = draw(logits, self.row_keys, sampled, self.sampling)
        finished = self._record(drawn.tokens, drawn.logprobs, drawn.policy_logprobs)
        self.tokens, self.positions = drawn.tokens, self.positions + 1
        if finished:
            order = self.cache.drop(finished)
            index = torch.tensor(order, dtype=torch.long, device=self.device)
            self.rows = [self.rows[i] for i in order]
            self.tokens, self.positions = self.tokens[index], self.positions[index]
            self.row_keys = self.row_keys[index.cpu()]

    def _logits(self) -> torch.Tensor:
        """What comes after every row's token, [rows, vocabulary]."""
        if self.decoder is None:
            return self._own_logits()
        # What is compared once is the first step of a run or of a resumed one, and must not differ from all others.
        own = None if self.engine.quick.get(id(self.model.config)) else self._own_logits()
        quick = self.decoder.logits(self.tokens, self.positions, self.cache)
        if quick is None:
            return self._own_logits() if own is None else own
        if own is not None:
            agree = self.engine.quick[id(self.model.config)] = _agree(quick, own)
            if not agree:
                self.decoder = None
                return self._own_logits()  # again: the cache has what the quick way left
        return quick

    def _own_logits(self) -> torch.Tensor:
        """The same by the model's own forward pass; both leave the tokens' keys and values in the cache."""
        with self._group_attention():
            return self.model(
                input_ids=self.tokens[:, None],
                position_ids=self.positions[:, None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    @contextmanager
    def _group_attention(self) -> Iterator[None]:
        """Attention over the group cache; prefilling and training use the model's own."""
        before = [config._attn_implementation for config in self.configs]
        try:
            for config in self.configs:
                config._attn_implementation = ATTENTION
            yield
        finally:
            for config, own in zip(self.configs, before, strict=True):
                config._attn_implementation = own

    def _record(self, tokens: torch.Tensor, logprobs: torch.Tensor, policy_logprobs: torch.Tensor) -> list[int]:
        """Append the tokens to their completions; returns the slots that have finished."""
        finished = []
        columns = (tokens, logprobs, policy_logprobs, self.eos[tokens], self.completes[tokens])
        for slot, (token, logprob, policy_logprob, at_eos, may_stop) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            completion = self.completions[self.rows[slot]]
            completion.token_ids.append(token)
            completion.logprobs.append(logprob)
            completion.policy_logprobs.append(policy_logprob)
            if at_eos:
                completion.finish_reason = "eos"
            elif may_stop and self.stops.finished(completion.token_ids):
                completion.finish_reason = "stop"
            elif len(completion.token_ids) < self.sampling.max_completion_length:
                continue
            finished.append(slot)
        self.work.sampled_tokens += len(self.rows)
        if self.on_finished is not None:
            for slot in finished:
                self.on_finished(self.rows[slot], self.completions[self.rows[slot]])
        return finished


def _agree(quick: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether two ways to the same logits are as near as rounding in their number format allows."""
    near = 1e-4 if own.dtype == torch.float32 else 8 * torch.finfo(own.dtype).eps
    gap, size = (quick.float() - own.float()).abs().max(), own.float().abs().max()
    if gap <= near * size:
        return True
    logger.warning(
        "%.2g of difference in logits up to %.2g between r1rl's decoding step and the model's: using the model's",
        gap, size,
    )  # fmt: skip
    return False


def _free_memory(device: torch.device) -> int:
    """Bytes that are free on the device."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    return accelerator_memory(device)[0]
