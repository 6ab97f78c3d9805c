"""One decoding step of a plain decoder in a third of the calls that `transformers` makes.

A step of few tokens costs a small model more in calls than in arithmetic: `transformers` makes some sixty small ones a
layer. Here layers with the same input are one product, and what lies between the products is four calls of
native/decoding.c where that can be built; else torch's: queries and keys turned together, a norm in one call. What is
computed is the same; `Engine` compares the two on the first step and keeps to the model's own where they differ.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM

from r1rl import kernels as native
from r1rl.rollout.cache import GroupCache, GroupLayer, attend
from r1rl.rollout.weights import PACKED_FROM, PackedLinear

# Exactly these classes: one derived from them may compute something else. As read in transformers 5.23.
_PLAIN = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")  # the others depend on how long the text has become

Product = Callable[[torch.Tensor], torch.Tensor]


def decoder_for(model: Any, positions: int) -> Decoder | None:
    """The quick way through this model for positions below `positions`; None where it has something out of the plain.

    That is any other architecture or activation, adapters, hooks, quantised or sharded weights, and autocast, under
    which a layer's output is of another number format than its weights.
    """
    if torch.is_autocast_enabled(model.device.type):
        return None
    if type(model) not in _PLAIN or model.config.hidden_act != "silu" or any(map(_is_watched, model.modules())):
        return None
    if (model.config.rope_parameters or {}).get("rope_type") not in _FIXED_ROTATIONS:
        return None
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        linears = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        norms = layer.input_layernorm, layer.post_attention_layernorm
        if not all(map(_is_whole, (*linears, mlp.gate_proj, mlp.up_proj, mlp.down_proj))):
            return None
        if not all(hasattr(norm, "variance_epsilon") for norm in norms):  # an adapter's
            return None
    return Decoder(model, positions)


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_whole(linear: nn.Module) -> bool:
    """Whether it is a linear layer with its weights here: ZeRO-3 leaves an empty tensor in their place."""
    if type(linear) is not nn.Linear:
        return isinstance(linear, PackedLinear)
    return type(linear.weight) is nn.Parameter and linear.weight.shape == (linear.out_features, linear.in_features)


class Decoder:
    """A model's decoding step, with its weights as they are now.

    Args:
        model: one that `decoder_for` takes.
        positions: there will be no position from this one on.

    Attributes:
        native: the compiled functions for this model's shape; None where torch's calls do their work.
    """

    def __init__(self, model: Any, positions: int) -> None:
        self.model = model
        embedding = model.model.embed_tokens.weight
        cosines, sines = model.model.rotary_emb(embedding, torch.arange(positions, device=embedding.device)[None])
        half = sines.shape[-1] // 2
        self.cosines = cosines[0]
        self.sines = torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1)  # `rotate_half` as a roll
        last = model.model.norm
        self.norm, self.last_norm = _norm_of(last), (last.weight.detach().float(), last.variance_epsilon)
        config = model.config
        repeats = config.num_attention_heads // config.num_key_value_heads
        sizes = config.hidden_size, config.intermediate_size
        on_cpu = embedding.device.type == "cpu"
        self.native = native.functions_for(cosines.shape[-1], repeats, embedding.dtype, *sizes) if on_cpu else None
        fuse = sum(parameter.numel() for parameter in model.parameters()) < PACKED_FROM
        self.layers = [_Layer(layer, fuse, self.native) for layer in model.model.layers]
        if self.native is not None:
            self.cosines, self.sines = self.cosines.float().contiguous(), self.sines.float()

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, cache: GroupCache) -> torch.Tensor:
        """What comes after each row's token, ([rows], [rows]) -> [rows, vocabulary]; the token's keys are stored."""
        hidden = self.model.model.embed_tokens(tokens)
        if self.native is not None:
            return self.model.lm_head(self._natively(self.native, hidden, positions, cache))
        cosines, sines = self.cosines[positions, None], self.sines[positions, None]
        for layer, stored in zip(self.layers, cache.layers, strict=True):
            assert isinstance(stored, GroupLayer)
            hidden = layer.forward(hidden, cosines, sines, stored)
        return self.model.lm_head(self.norm(hidden))

    def _natively(
        self, functions: native.Functions, hidden: torch.Tensor, positions: torch.Tensor, cache: GroupCache
    ) -> torch.Tensor:
        """The same up to the last norm, [rows, hidden size] -> [rows, hidden size]."""
        rows, threads = len(hidden), torch.get_num_threads()
        first = self.layers[0]
        prompts = cache.layers[0].prompt_keys
        step = native.Step(
            rows, first.heads, cache.capacity, 0 if prompts is None else prompts.shape[2], threads,
            *map(_pointer, (cache.prompt_of, cache.lengths, cache.prompt_lengths, positions, self.cosines, self.sines)),
        )  # fmt: skip
        more: torch.Tensor | None = None

        def normed(weight: torch.Tensor, epsilon: float) -> torch.Tensor:
            out = torch.empty_like(hidden)
            functions.add_norm(
                _pointer(hidden), _pointer(more), _pointer(weight), epsilon, _pointer(out), *hidden.shape, threads
            )
            return out

        for layer, stored in zip(self.layers, cache.layers, strict=True):
            assert isinstance(stored, GroupLayer)
            qkv = layer.qkv(normed(*layer.first_norm))
            keys, values = qkv.view(rows, -1, first.size)[:, first.heads :].split(first.kv_heads, 1)
            stored.make_room(keys, values)
            seen = qkv.new_empty(rows, first.heads * first.size)
            functions.attend(ctypes.byref(layer.storage(stored)), ctypes.byref(step), _pointer(qkv), _pointer(seen))
            more = layer.output(seen)
            gate_up = layer.gate_up(normed(*layer.second_norm))
            gate, up = gate_up.chunk(2, -1)
            between = torch.empty_like(gate, memory_format=torch.contiguous_format)
            functions.gated(_pointer(gate), _pointer(up), gate.stride(0), _pointer(between), *between.shape, threads)
            more = layer.down(between)
        return normed(*self.last_norm)


class _Layer:
    def __init__(self, layer: Any, fuse: bool, functions: native.Functions | None) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before_attention = _norm_of(layer.input_layernorm)
        self.before_mlp = _norm_of(layer.post_attention_layernorm)
        self.first_norm, self.second_norm = (
            (norm.weight.detach().float(), norm.variance_epsilon)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        )
        self.qkv = _product((attention.q_proj, attention.k_proj, attention.v_proj), fuse, functions)
        self.output = _product((attention.o_proj,), fuse, functions)
        self.gate_up = _product((mlp.gate_proj, mlp.up_proj), fuse, functions)
        self.down = _product((mlp.down_proj,), fuse, functions)
        self.size = attention.head_dim
        self.heads = attention.q_proj.out_features // self.size
        self.kv_heads = attention.k_proj.out_features // self.size
        self.scaling, self.window = attention.scaling, getattr(attention, "sliding_window", None)
        self.heads_norm: Product | None = None  # of queries and keys, Qwen3's
        self.head_weights: list[torch.Tensor | None] = [None, None]
        self.epsilon = 0.0
        if hasattr(attention, "q_norm"):
            norms = (attention.q_norm, self.heads), (attention.k_norm, self.kv_heads)
            self.heads_norm = _norm_of(attention.q_norm, torch.cat([n.weight.detach().expand(c, -1) for n, c in norms]))
            self.head_weights = [norm.weight.detach().float() for norm, _ in norms]
            self.epsilon = attention.q_norm.variance_epsilon

    def storage(self, stored: GroupLayer) -> native.Layer:
        """Where the compiled functions find what they need of this layer."""
        tensors = stored.keys, stored.values, stored.prompt_keys, stored.prompt_values, *self.head_weights
        window = sys.maxsize if self.window is None else self.window
        return native.Layer(*map(_pointer, tensors), window, self.scaling, self.epsilon)

    def forward(
        self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, stored: GroupLayer
    ) -> torch.Tensor:
        """[rows, hidden size] -> the same; cosines and sines are [rows, 1, head_dim]."""
        rows, turning = len(hidden), self.heads + self.kv_heads
        qkv = self.qkv(self.before_attention(hidden)).view(rows, -1, self.size)
        turned = qkv[:, :turning]
        if self.heads_norm is not None:
            turned = self.heads_norm(turned)
        turned = torch.addcmul(turned * cosines, turned.roll(self.size // 2, -1), sines)
        stored.write(turned[:, self.heads :], qkv[:, turning:])
        seen = attend(stored, turned[:, : self.heads], self.scaling, self.window)
        hidden = hidden + self.output(seen.reshape(rows, -1))
        gate, up = self.gate_up(self.before_mlp(hidden)).chunk(2, -1)
        return hidden + self.down(functional.silu(gate).mul_(up))


def _pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _norm_of(norm: Any, weight: torch.Tensor | None = None) -> Product:
    """What a norm makes of one tensor; `weight` is in the place of its own."""
    weight = norm.weight.detach() if weight is None else weight
    if weight.device.type != "cpu":
        return lambda x: functional.rms_norm(x, x.shape[-1:], None, norm.variance_epsilon) * weight
    epsilon = torch.tensor([norm.variance_epsilon])
    return lambda x: _norm(x, weight, epsilon)


def _norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: torch.Tensor) -> torch.Tensor:
    """The root-mean-square norm over the last dimension; torch's own is eight calls in disguise on a CPU."""
    size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
    scale = torch.addcmul(epsilon, size, size, value=1 / hidden.shape[-1]).rsqrt_()
    return (hidden * scale).to(hidden.dtype).mul_(weight)


def _product(linears: Sequence[Any], fuse: bool, functions: native.Functions | None) -> Product:
    """What all of these layers make of one tensor, one after another in the last dimension."""
    first = linears[0]
    if isinstance(first, PackedLinear) and len(first.together.linears) == len(linears):
        return first.together.product
    if not fuse or not all(isinstance(linear, nn.Linear) for linear in linears):  # a copy would take its memory
        return first if len(linears) == 1 else lambda x: torch.cat([linear(x) for linear in linears], -1)
    weight = torch.cat([linear.weight.detach() for linear in linears])
    bias: torch.Tensor | None = None
    if any(linear.bias is not None for linear in linears):
        bias = torch.cat([weight.new_zeros(x.out_features) if x.bias is None else x.bias.detach() for x in linears])
    if functions is not None and weight.dtype == torch.float32:
        return _Projection(functions, weight, bias)
    return lambda x: functional.linear(x, weight, bias)


class _Projection:
    """A linear layer whose weights stay in the caches, [rows, in] -> [rows, out]."""

    def __init__(self, functions: native.Functions, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.project, self.bias = functions.project, bias
        self.outs = len(weight)
        panels = weight.split(2 * functions.lanes)
        self.packed = torch.cat([panel.t().reshape(-1) for panel in panels])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows, size = x.shape
        out = x.new_empty(rows, self.outs)
        pointers = map(_pointer, (x, self.packed, self.bias, out))
        self.project(*pointers, rows, size, self.outs, torch.get_num_threads())
        return out
