"""Pretraining of the tiny base: a small Llama-shaped decoder, plain next-token loss, fp32 on CPU."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1rl.base import tokenizer as tokenizer_module
from r1rl.base.corpus import CorpusConfig, texts

_SHORTEST_TEXT = 33  # tokens, EOS included: a document that guesses once, without a check

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that determines the weights; its hash names the cached base.

    Args:
        hidden, layers, heads, intermediate: the decoder's shape.
        steps, batch, block_tokens: optimizer steps of `batch` rows with `block_tokens` tokens each.
        learning_rate: peak of a linear warm-up and cosine decay.
        facts_start, facts_end: share of fact drills at the start and from `drill_until` (a share of all steps) on.
        checks: share of goal-test drills throughout.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 384
    steps: int = 1250
    batch: int = 18
    block_tokens: int = 256
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    facts_start: float = 0.7
    facts_end: float = 0.2
    drill_until: float = 0.5
    checks: float = 0.1
    seed: int = 0
    corpus: CorpusConfig = field(default_factory=CorpusConfig)


def new_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised decoder, seeded by `config.seed`; about a million parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def blocks(config: PretrainConfig, step: int, tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of one step, both int64 [batch, block_tokens]; every row starts at the start of a text.

    Only what can be predicted is a label: results in fact drills, verdicts in goal-test drills, and everything
    after the question in documents. The rest is -100.
    """
    import torch

    done = min(1.0, step / (config.steps * config.drill_until))
    facts = config.facts_start + (config.facts_end - config.facts_start) * done
    rng = random.Random(f"corpus|{config.seed}|{step}")
    stream = texts(rng, config.corpus, facts, config.checks)
    equals, full_stop, yes, no = tokenizer.convert_tokens_to_ids(["=", ".", "yes", "no"])
    per_row = -(-(config.block_tokens + 1) // _SHORTEST_TEXT)
    kinds, parts = zip(*(next(stream) for _ in range(per_row * config.batch)), strict=True)
    tokenized = tokenizer(list(parts))["input_ids"]
    inputs, labels = [], []
    for first in range(0, len(parts), per_row):
        row: list[int] = []
        row_labels: list[int] = []
        for kind, ids in zip(kinds[first : first + per_row], tokenized[first : first + per_row], strict=True):
            if kind == "facts":
                wanted = [i > 0 and ids[i - 1] == equals for i in range(len(ids))]
            elif kind == "checks":
                wanted = [token in (yes, no) for token in ids]
            else:
                question_end = ids.index(full_stop)
                wanted = [i > question_end for i in range(len(ids))]
            row += [*ids, tokenizer.eos_token_id]
            row_labels += [t if w else -100 for t, w in zip(ids, wanted, strict=True)]
            row_labels.append(tokenizer.eos_token_id if kind == "document" else -100)
        inputs.append(row[: config.block_tokens])
        labels.append(row_labels[1 : config.block_tokens + 1])
    return torch.tensor(inputs), torch.tensor(labels)


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def pretrain(
    config: PretrainConfig, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train a base from scratch. `on_step(step, loss)` is called after every step (for progress)."""
    import torch
    from torch.nn.functional import cross_entropy

    tokenizer = tokenizer_module.build()
    model = new_model(config, tokenizer)
    model.train()
    bf16 = fast_bf16()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.95),
    )
    for step in range(config.steps):
        warm = min(1.0, (step + 1) / config.warmup_steps)
        decay = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * max(decay, 0.02)
        ids, labels = blocks(config, step, tokenizer)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids, use_cache=False).logits
        loss = cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if on_step:
            on_step(step, loss.item())
    model.eval()
    return model, tokenizer
