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

from r1rl.ground.machine import accelerator_memory
from r1rl.update.batching import Batching, Cost

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_CPU_BYTES = 1536 * 2**20  # activations kept for a backward pass on a CPU
_ROWS_BYTES = 16 * 2**20  # float32 logits at work at a time: what stays in a cache
# What configurations do to logits besides a softcap. TRL's head knows all of these.
_LOGIT_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def can_score(model: PreTrainedModel) -> bool:
    """Whether `add_scoring` computes this model's logits: a plain head, softcapped at most."""
    return plain_head(model.config.get_text_config())


def plain_head(config: PretrainedConfig) -> bool:
    """Whether the logits of a text model of this configuration are its head's, softcapped at most."""
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


def can_flatten(model: PreTrainedModel) -> bool:
    """Whether many groups may lie in one row under `packed_attention`: full or sliding attention through sdpa."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa" or getattr(model, "_is_stateful", False):
        return False
    if not model._supports_attention_backend or getattr(config, "attention_dropout", None):
        return False
    if getattr(config, "v_head_dim", None):  # latent attention: values are narrower than keys
        return False
    kinds = getattr(config, "layer_types", None)
    return can_pack(model) if kinds is None else set(kinds) <= {"full_attention", "sliding_attention"}


def batching_for(model: PreTrainedModel, device: torch.device) -> Batching:
    """How the update lays out this model's rows on a device."""
    # Many small products are what a CPU does well; an accelerator wants few launches, and has fused kernels for masks.
    on_cpu = device.type == "cpu"
    budget = _CPU_BYTES if on_cpu else accelerator_memory(device)[1] // 4
    least, most = (512, 4096) if on_cpu else (2048, 16384)
    tokens = min(max(budget // activation_bytes(model), least), most)
    return Batching(tokens, on_cpu and can_flatten(model), can_pack(model), cost(model))


def activation_bytes(model: PreTrainedModel) -> int:
    """Bytes that one token keeps for the backward pass in float32, without gradient checkpointing; an upper bound."""
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return 4 * (config.num_hidden_layers * (13 * config.hidden_size + 4 * inner) + config.vocab_size)


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
        temperature: divides the logits, as in sampling; `model.scoring_temperature` from here on.
    """
    model.scoring_temperature = temperature
    before = model.forward
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)

    @functools.wraps(type(model).forward)  # `generate` validates its arguments against the signature
    def forward(self: Any, *args: Any, scored: tuple[torch.Tensor, torch.Tensor] | None = None, **kwargs: Any) -> Any:
        if scored is None:
            return before(*args, **kwargs)
        sources, targets = scored
        hidden = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state
        chosen = hidden.flatten(0, 1)[sources]
        return score(
            self.get_output_embeddings(), chosen, targets, temperature=self.scoring_temperature, softcap=softcap
        )

    model.forward = types.MethodType(forward, model)


def score(
    head: nn.Module,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and entropy of its distribution, in nats; no gradient through the entropy.

    Args:
        head: maps hidden states to logits.
        hidden: [scores, hidden size].
        targets: int64 [scores].
        temperature, softcap: divides the logits; bounds them before that, as Gemma 2 does.
    """

    logps, entropies = _Score.apply(head(hidden), targets, temperature, softcap)
    return logps, entropies


class _Score(torch.autograd.Function):
    """Keeps the logits as the head gave them and one number a row, and turns them into their own gradient.

    `log_softmax` would keep the whole distribution in float32 besides, and autograd make as much again on the way back.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, temperature: float, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logps, entropies, normalizers = torch.empty(3, len(targets), device=logits.device)
        for some in _some_rows(logits):
            z = _scaled(logits[some], temperature, softcap)
            top = z.amax(-1, keepdim=True)
            picked = z.gather(-1, targets[some, None])
            z -= top
            weights = z.exp()
            total = weights.sum(-1, keepdim=True)
            log_total = total.log()
            normalizers[some] = (top + log_total).squeeze(-1)
            logps[some] = (picked - top - log_total).squeeze(-1)
            entropies[some] = (log_total - z.mul_(weights).sum(-1, keepdim=True) / total).squeeze(-1)
        ctx.save_for_backward(logits, targets, normalizers)
        ctx.settings = temperature, softcap
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, targets, normalizers = ctx.saved_tensors
        temperature, softcap = ctx.settings
        for some in _some_rows(logits):
            outer = gradient[some, None].float()
            z = _scaled(logits[some], temperature, softcap)
            bend = None if softcap is None else 1 - (z * (temperature / softcap)).square()  # of the softcap
            down = z.sub_(normalizers[some, None]).exp_().mul_(-outer)
            down.scatter_add_(-1, targets[some, None], outer)
            if temperature != 1:
                down /= temperature
            # What was saved is changed: a second backward pass is refused.
            logits[some] = down if bend is None else down.mul_(bend)
        return logits, None, None, None


def _some_rows(logits: torch.Tensor) -> list[slice]:
    size = max(1, _ROWS_BYTES // (4 * logits.shape[-1]))
    return [slice(start, start + size) for start in range(0, len(logits), size)]


def _scaled(logits: torch.Tensor, temperature: float, softcap: float | None) -> torch.Tensor:
    """A float32 copy of some logits, as they enter the softmax."""
    z = logits.to(torch.float32, copy=True)
    if softcap is not None:
        z = z.div_(softcap).tanh_().mul_(softcap)
    return z.div_(temperature) if temperature != 1 else z
