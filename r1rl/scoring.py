"""Log-probabilities and entropies of chosen tokens, by one forward pass that projects no other position.

TRL's fused head (1.16) does the same for Triton devices; elsewhere it projects every position, prompts and padding
included, and multiplies in float32 kernels that a CPU with bf16 instructions is slow at.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from r1rl.batching import Cost

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BYTES_PER_CHUNK = 256 * 2**20  # of float32 logits
_BYTES_KEPT = 2 * 2**30  # above this many, logits are recomputed in the backward pass
# What configurations do to logits besides a softcap. TRL's head knows all of these.
_LOGIT_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def can_score(model: PreTrainedModel) -> bool:
    """Whether `add_scoring` computes this model's logits: a plain head, softcapped at most."""
    config = model.config.get_text_config()
    return not any(getattr(config, name, None) is not None for name in _LOGIT_SCALES)


def can_pack(model: PreTrainedModel) -> bool:
    """Whether completions of one prompt may share a row: full attention in every layer, through a boolean 4-D mask."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa" or getattr(model, "_is_stateful", False):
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    sliding = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return not sliding


def cost(model: PreTrainedModel) -> Cost:
    """Floating-point operations of a forward pass through the layers, by token and by query-key pair."""
    config = model.config.get_text_config()
    matrices = sum(
        getattr(p, "ds_numel", p.numel())  # ZeRO-3 leaves an empty tensor in place of a partitioned one
        for name, p in model.named_parameters()
        if p.dim() == 2 and "embed" not in name and "lm_head" not in name
    )
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Cost(2.0 * matrices, 4.0 * config.num_hidden_layers * config.num_attention_heads * head_dim)


def add_scoring(model: PreTrainedModel, temperature: float) -> None:
    """Make `model(..., scored=(sources, targets))` return `(logps, entropies)`, both float32 [scores].

    Without `scored` the forward is the one before. It is a forward of the model itself, so that DDP, FSDP, ZeRO and
    PEFT see one call as they expect it.

    Args:
        temperature: divides the logits, as in sampling.
    """
    before = model.forward
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    settings = {"vocabulary": config.vocab_size, "temperature": temperature, "softcap": softcap}

    @functools.wraps(type(model).forward)  # `generate` validates its arguments against the signature
    def forward(self: Any, *args: Any, scored: tuple[torch.Tensor, torch.Tensor] | None = None, **kwargs: Any) -> Any:
        if scored is None:
            return before(*args, **kwargs)
        sources, targets = scored
        hidden = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state
        chosen = hidden.flatten(0, 1)[sources]
        return score(self.get_output_embeddings(), chosen, targets, **settings)

    model.forward = types.MethodType(forward, model)


def score(
    head: nn.Module,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    vocabulary: int,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and entropy of its distribution, in nats; no gradient through the entropy.

    Args:
        head: maps hidden states to `vocabulary` logits.
        hidden: [scores, hidden size].
        targets: int64 [scores].
        temperature, softcap: divides the logits; bounds them before that, as Gemma 2 does.
    """

    def of(part: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(part).float()
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        if temperature != 1:
            logits = logits / temperature
        logps = logits.log_softmax(-1)
        with torch.no_grad():
            entropies = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, wanted[:, None]).squeeze(-1), entropies

    bytes_each = 4 * vocabulary
    size = max(1, _BYTES_PER_CHUNK // bytes_each)
    recompute = torch.is_grad_enabled() and bytes_each * len(targets) > _BYTES_KEPT
    parts = [
        checkpoint(of, part, wanted, use_reentrant=False) if recompute else of(part, wanted)
        for part, wanted in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    logps, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    return logps, entropies
