"""A decoder's small layers as one call each, forward and backward, where native/training.c serves: on a CPU, in float32
or under autocast to bfloat16.

A root-mean-square norm is six calls of torch's, the gate of a feed-forward layer two, turning queries and keys eight.
Each of them reads and writes all activations and keeps some for the backward pass. `transformers` leaves these layers
replaceable for the same reason; its own replacements are for accelerators.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from r1rl import kernels as native

# Read in transformers 5.23: a norm is weight * x / sqrt(mean(x^2) + variance_epsilon), a feed-forward layer
# down_proj(act_fn(gate_proj(x)) * up_proj(x)), and attention looks `apply_rotary_pos_emb` up in its module.
_FAMILIES = {"LlamaForCausalLM": "Llama", "Qwen2ForCausalLM": "Qwen2", "Qwen3ForCausalLM": "Qwen3"}


class _Shape(NamedTuple):
    """A model's sizes, in elements."""

    head: int
    repeats: int
    hidden: int
    inner: int

    def functions(self, dtype: torch.dtype) -> Any:
        """The functions for activations of `dtype`, None where there are none."""
        return native.functions_for(self.head, self.repeats, dtype, self.hidden, self.inner)


def fuse(model: Any) -> bool:
    """Replace the small layers of a Llama, Qwen2 or Qwen3 model; whatever they cannot take goes the way it went before.

    A model that is moved to an accelerator afterwards is served as before, too. The turning of queries and keys is
    replaced for all models of that family in this process: such rows on the CPU can be differentiated once.

    Returns:
        whether there was something to replace.
    """
    family = _FAMILIES.get(type(model).__name__)
    module = sys.modules[type(model).__module__]
    config = model.config
    if family is None or not type(model).__module__.startswith("transformers.") or config.hidden_act != "silu":
        return False
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return False
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    repeats = config.num_attention_heads // config.num_key_value_heads
    shape = _Shape(head, repeats, config.hidden_size, config.intermediate_size)
    if shape.functions(torch.float32) is None:
        return False
    for layer in model.modules():
        if type(layer) is getattr(module, f"{family}RMSNorm"):
            layer.forward = _Bound(_norm, layer)
        elif type(layer) is getattr(module, f"{family}MLP"):
            layer.forward = _Bound(_feed_forward, layer)
        else:
            continue
        layer.fused = shape
    if not isinstance(module.apply_rotary_pos_emb, _Turning):
        module.apply_rotary_pos_emb = _Turning(module.apply_rotary_pos_emb)  # type: ignore[attr-defined]
    return True


def is_fused(model: nn.Module) -> bool:
    """Whether `fuse` has replaced layers of it."""
    return any(hasattr(module, "fused") for module in model.modules())


class _Bound:
    """A function as a layer's method. A method proper would be pickled by a name that its layer does not have."""

    def __init__(self, function: Callable[..., torch.Tensor], layer: nn.Module) -> None:
        self.function, self.layer = function, layer

    def __call__(self, *given: Any, **named: Any) -> torch.Tensor:
        return self.function(self.layer, *given, **named)


def _norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    full = hidden_states.dtype == self.weight.dtype == torch.float32 and native.serve(hidden_states, self.weight)
    functions = self.fused.functions(torch.float32) if full else None
    if functions is None or self.weight.shape != hidden_states.shape[-1:]:
        return type(self).forward(self, hidden_states)
    return _Norm.apply(hidden_states, self.weight, self.variance_epsilon, functions)


def _feed_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = self.gate_proj(x), self.up_proj(x)
    functions = self.fused.functions(gate.dtype) if gate.dtype == up.dtype and _serves(gate, up) else None
    between = self.act_fn(gate) * up if functions is None else _Gated.apply(gate, up, functions)
    return self.down_proj(between)


def _serves(*tensors: torch.Tensor) -> bool:
    """The gates of a model that is of bfloat16 as a whole keep the roundings of torch's calls."""
    in_full = all(x.dtype == torch.float32 for x in tensors)
    return native.serve(*tensors) and (in_full or torch.is_autocast_enabled("cpu"))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float, functions: native.Functions
    ) -> torch.Tensor:
        x = x.contiguous()
        out, scales = torch.empty_like(x), x.new_empty(x.shape[:-1])
        functions.norm(
            x.data_ptr(), weight.data_ptr(), epsilon, out.data_ptr(), scales.data_ptr(),
            scales.numel(), x.shape[-1], torch.get_num_threads(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, scales)
        ctx.functions = functions
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scales = ctx.saved_tensors
        gradient, threads = gradient.contiguous(), torch.get_num_threads()
        to_x, to_weight = torch.empty_like(x), x.new_zeros(threads, x.shape[-1])
        ctx.functions.norm_backward(
            *(tensor.data_ptr() for tensor in (gradient, x, weight, scales, to_x, to_weight)),
            scales.numel(), x.shape[-1], threads,
        )  # fmt: skip
        return to_x, to_weight.sum(0), None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, functions: native.Functions) -> torch.Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        out, size = torch.empty_like(gate), gate.shape[-1]
        pointers = gate.data_ptr(), up.data_ptr(), size, out.data_ptr()
        functions.gated(*pointers, gate.numel() // size, size, torch.get_num_threads())
        ctx.save_for_backward(gate, up)
        ctx.functions = functions
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        gradient, size = gradient.contiguous(), gate.shape[-1]
        to_gate, to_up = torch.empty_like(gate), torch.empty_like(up)
        ctx.functions.gated_backward(
            *(tensor.data_ptr() for tensor in (gradient, gate, up, to_gate, to_up)),
            gate.numel() // size, size, torch.get_num_threads(),
        )  # fmt: skip
        return to_gate, to_up, None


class _Turning:
    """`apply_rotary_pos_emb` of a module of `transformers`."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        full = cos.dtype == sin.dtype == torch.float32 and q.dtype == k.dtype and native.serve(q, k, cos, sin)
        plain = len(q) == 1 and unsqueeze_dim == 1 and full
        fits = cos.shape == sin.shape == (1, q.shape[2], q.shape[3]) and q.stride(-1) == k.stride(-1) == 1
        functions = native.functions_for(q.shape[-1], q.shape[1] // k.shape[1], q.dtype) if plain and fits else None
        if functions is None:
            return self.before(q, k, cos, sin, unsqueeze_dim)
        cos, sin = cos.contiguous(), sin.contiguous()
        return _Turned.apply(q, cos, sin, functions), _Turned.apply(k, cos, sin, functions)


class _Turned(torch.autograd.Function):
    """[1, heads, tokens, head_dim] -> the same in float32, tokens outside heads in memory."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, functions: native.Functions
    ) -> torch.Tensor:
        ctx.save_for_backward(cosines, sines)
        ctx.functions, ctx.dtype = functions, x.dtype
        return _turned(functions.turn_heads, x, cosines, sines, torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cosines, sines = ctx.saved_tensors
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        return _turned(ctx.functions.turn_heads_backward, gradient, cosines, sines, ctx.dtype), None, None, None


def _turned(
    turn: Callable[..., None], x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    _, heads, tokens, width = x.shape
    out = x.new_empty(tokens, heads, width, dtype=dtype).transpose(0, 1)
    ends = native.heads_of(x[0]), native.heads_of(out)
    turn(*map(ctypes.byref, ends), cosines.data_ptr(), sines.data_ptr(), heads, tokens, torch.get_num_threads())
    return out[None]
