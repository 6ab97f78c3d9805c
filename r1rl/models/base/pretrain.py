"""Pretraining of the tiny base: a small Llama-shaped decoder, plain next-token loss, fp32 on CPU."""

from __future__ import annotations

import hashlib
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
    """Everything that determines the weights.

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
    steps: int = 1600
    batch: int = 12
    block_tokens: int = 256
    learning_rate: float = 0.05
    learning_rate_embeddings: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.1
    drill_until: float = 0.5
    first_shares: tuple[float, float, float] = (0.4, 0.3, 0.1)
    last_shares: tuple[float, float, float] = (0.05, 0.3, 0.05)
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


def corpus_sha256(config: PretrainConfig) -> str:
    """A hash that changes when the corpus, its tokens or its labels do: of three steps' blocks."""
    tokenizer = tokenizer_module.build()
    digest = hashlib.sha256()
    for step in (0, config.steps // 2, config.steps - 1):
        for part in blocks(config, step, tokenizer):
            digest.update(part.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def pretrain(
    config: PretrainConfig, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train a base from scratch in float32. `on_step(step, loss)` is called after every step (for progress)."""
    import torch
    from torch.nn.functional import cross_entropy

    from r1rl.models.base.muon import Muon

    tokenizer = tokenizer_module.build()
    model = new_model(config, tokenizer)
    model.train()
    # Muon reaches in 200 steps what AdamW reaches in 350; it takes the matrices inside the layers, as its authors say.
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    muon = Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(others, lr=config.learning_rate_embeddings, betas=(0.9, 0.95), weight_decay=0.0)
    peaks = [(muon, config.learning_rate), (adam, config.learning_rate_embeddings)]
    for step in range(config.steps):
        warm = min(1.0, (step + 1) / config.warmup_steps)
        decay = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for optimizer, highest in peaks:
            optimizer.param_groups[0]["lr"] = highest * warm * max(decay, 0.02)
        ids, labels = blocks(config, step, tokenizer)
        loss = cross_entropy(model(input_ids=ids, use_cache=False).logits.flatten(0, 1), labels.flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        if on_step:
            on_step(step, loss.item())
    return model.eval(), tokenizer
