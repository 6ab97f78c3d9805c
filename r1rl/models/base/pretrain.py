"""Pretraining of the tiny base: a small Llama-shaped decoder, plain next-token loss, fp32 on CPU."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1rl.models.base import tokenizer as tokenizer_module
from r1rl.models.base.corpus import CorpusConfig, Kind, texts

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that determines the weights; its hash names the cached base.

    Args:
        hidden, layers, heads, intermediate: the decoder's shape.
        steps, batch, block_tokens: optimizer steps of `batch` rows with `block_tokens` tokens each.
        learning_rate: peak of a linear warm-up and cosine decay, for the layers' matrices (Muon).
        learning_rate_embeddings: the same for embeddings and norms (AdamW).
        first_shares, last_shares: shares of the drills (facts, workings, checks) among all texts at the start and
            from `drill_until` (a share of all steps) on, linear in between; documents get the rest.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 384
    steps: int = 1100
    batch: int = 18
    block_tokens: int = 256
    learning_rate: float = 0.05
    learning_rate_embeddings: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.1
    drill_until: float = 0.5
    first_shares: tuple[float, float, float] = (0.5, 0.2, 0.1)
    last_shares: tuple[float, float, float] = (0.1, 0.15, 0.15)
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

    Only what can be predicted is a label: results in fact drills, else everything after the question. The rest is
    -100.
    """
    import torch

    done = min(1.0, step / (config.steps * config.drill_until))
    mixed = [a + (b - a) * done for a, b in zip(config.first_shares, config.last_shares, strict=True)]
    shares: dict[Kind, float] = dict(zip(("facts", "workings", "checks"), mixed, strict=True))
    stream = texts(random.Random(f"corpus|{config.seed}|{step}"), config.corpus, shares)
    equals, full_stop, colon = tokenizer.convert_tokens_to_ids(["=", ".", ":"])
    inputs, labels = [], []
    for _ in range(config.batch):
        row: list[int] = []
        row_labels: list[int] = []
        while len(row) <= config.block_tokens:
            kind, text = next(stream)
            ids = tokenizer(text)["input_ids"]
            if kind == "facts":
                wanted = [i > 0 and ids[i - 1] == equals for i in range(len(ids))]
            else:
                given = ids.index(full_stop if kind == "document" else colon)
                wanted = [i > given for i in range(len(ids))]
            row += [*ids, tokenizer.eos_token_id]
            row_labels += [t if w else -100 for t, w in zip(ids, wanted, strict=True)]
            row_labels.append(tokenizer.eos_token_id if kind == "document" else -100)
        inputs.append(row[: config.block_tokens])
        labels.append(row_labels[1 : config.block_tokens + 1])
    return torch.tensor(inputs), torch.tensor(labels)


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    import torch

    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def pretrain(
    config: PretrainConfig, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train a base from scratch. `on_step(step, loss)` is called after every step (for progress)."""
    tokenizer = tokenizer_module.build()
    model = new_model(config, tokenizer)
    train_on(model, tokenizer, config, first=0, count=config.steps, on_step=on_step)
    return model, tokenizer


def train_on(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    config: PretrainConfig,
    *,
    first: int,
    count: int,
    peak: float = 1.0,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Steps `first` to `first + count` of the corpus, with a warm-up and decay of their own.

    `peak` scales the learning rates.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from r1rl.models.base.muon import Muon

    model.train()
    bf16 = fast_bf16()
    # Muon reaches in 200 steps what AdamW reaches in 350; it takes the matrices inside the layers, as its authors say.
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    muon = Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(others, lr=config.learning_rate_embeddings, betas=(0.9, 0.95), weight_decay=0.0)
    peaks = [(muon, peak * config.learning_rate), (adam, peak * config.learning_rate_embeddings)]
    for step in range(count):
        warm = min(1.0, (step + 1) / config.warmup_steps)
        decay = 0.5 * (1 + math.cos(math.pi * step / count))
        for optimizer, highest in peaks:
            optimizer.param_groups[0]["lr"] = highest * warm * max(decay, 0.02)
        ids, labels = blocks(config, first + step, tokenizer)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids, use_cache=False).logits
        loss = cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        if on_step:
            on_step(first + step, loss.item())
    model.eval()
