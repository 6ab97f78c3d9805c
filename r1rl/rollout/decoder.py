"""One decoding step of a plain decoder on a CPU, with eight calls a layer where `transformers` makes some sixty.

A step of few tokens costs a small model more in calls than in arithmetic. Here layers with the same input are one
product, and norms and attention are three calls of kernels/decoding.c. What is computed is the same; `Engine` compares
the two on the first step and keeps to the model's own where they differ, or where the C functions do not serve.
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

from r1rl import kernels
from r1rl.rollout.cache import GroupCache, GroupLayer
from r1rl.rollout.weights import PACKED_FROM, PackedLinear

# Exactly these classes: one derived from them may compute something else. As read in transformers 5.23.
_PLAIN = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")  # the others depend on how long the text has become

Product = Callable[[torch.Tensor], torch.Tensor]


def decoder_for(model: Any, positions: int) -> Decoder | None:
    """The quick way through this model for positions below `positions`; None where it has something out of the plain.

    That is any other architecture, activation or device, adapters, hooks, quantised or sharded weights, shapes that the
    C functions do not serve, and autocast, under which a layer's output is of another number format than its weights.
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
    config, weight = model.config, model.model.embed_tokens.weight
    sizes = config.hidden_size, config.intermediate_size
    repeats = config.num_attention_heads // config.num_key_value_heads
    head = model.model.layers[0].self_attn.head_dim
    functions = kernels.functions_for(head, repeats, weight.dtype, *sizes) if weight.device.type == "cpu" else None
    return None if functions is None else Decoder(model, positions, functions)


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
        functions: the C functions for this model's shape.
    """

    def __init__(self, model: Any, positions: int, functions: Any) -> None:
        self.model, self.functions = model, functions
        embedding = model.model.embed_tokens.weight
        cosines, sines = model.model.rotary_emb(embedding, torch.arange(positions)[None])
        half = sines.shape[-1] // 2
        self.cosines = cosines[0].float().contiguous()
        self.sines = torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1).float()
        self.last_norm = _norm_of(model.model.norm)
        fuse = sum(parameter.numel() for parameter in model.parameters()) < PACKED_FROM
        self.layers = [_Layer(layer, fuse) for layer in model.model.layers]

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, cache: GroupCache) -> torch.Tensor:
        """What comes after each row's token, ([rows], [rows]) -> [rows, vocabulary]; the token's keys are stored."""
        hidden = self.model.model.embed_tokens(tokens)
        rows, threads = len(hidden), torch.get_num_threads()
        first = self.layers[0]
        prompts = cache.layers[0].prompt_keys
        step = kernels.Step(
            rows, first.heads, cache.cap, 0 if prompts is None else prompts.shape[2], threads,
            *map(_pointer, (cache.prompt_of, cache.lengths, cache.prompt_lengths, positions, self.cosines, self.sines)),
        )  # fmt: skip
        more: torch.Tensor | None = None

        def normed(weight: torch.Tensor, epsilon: float) -> torch.Tensor:
            out = torch.empty_like(hidden)
            self.functions.add_norm(
                _pointer(hidden), _pointer(more), _pointer(weight), epsilon, _pointer(out), *hidden.shape, threads
            )
            return out

        for layer, stored in zip(self.layers, cache.layers, strict=True):
            assert isinstance(stored, GroupLayer)
            qkv = layer.qkv(normed(*layer.first_norm))
            stored.make_room(*qkv.view(rows, -1, layer.size)[:, layer.heads :].split(layer.kv_heads, 1))
            seen = qkv.new_empty(rows, layer.heads * layer.size)
            storage = ctypes.byref(layer.storage(stored))
            self.functions.attend(storage, ctypes.byref(step), _pointer(qkv), _pointer(seen))
            more = layer.output(seen)
            gate, up = layer.gate_up(normed(*layer.second_norm)).chunk(2, -1)
            more = layer.down(functional.silu(gate).mul_(up))
        return self.model.lm_head(normed(*self.last_norm))


class _Layer:
    """A layer's products and what the C functions need of it."""

    def __init__(self, layer: Any, fuse: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.first_norm, self.second_norm = _norm_of(layer.input_layernorm), _norm_of(layer.post_attention_layernorm)
        self.qkv = _product((attention.q_proj, attention.k_proj, attention.v_proj), fuse)
        self.output = _product((attention.o_proj,), fuse)
        self.gate_up = _product((mlp.gate_proj, mlp.up_proj), fuse)
        self.down = _product((mlp.down_proj,), fuse)
        self.size = attention.head_dim
        self.heads = attention.q_proj.out_features // self.size
        self.kv_heads = attention.k_proj.out_features // self.size
        self.scaling, self.window = attention.scaling, getattr(attention, "sliding_window", None)
        self.head_norms: list[torch.Tensor | None] = [None, None]  # of queries and keys, Qwen3's
        self.epsilon = 0.0
        if hasattr(attention, "q_norm"):
            self.head_norms = [norm.weight.detach().float() for norm in (attention.q_norm, attention.k_norm)]
            self.epsilon = attention.q_norm.variance_epsilon

    def storage(self, stored: GroupLayer) -> kernels.Layer:
        """Where the C functions find what they need of this layer."""
        tensors = stored.keys, stored.values, stored.prompt_keys, stored.prompt_values, *self.head_norms
        window = sys.maxsize if self.window is None else self.window
        return kernels.Layer(*map(_pointer, tensors), window, self.scaling, self.epsilon)


def _pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _norm_of(norm: Any) -> tuple[torch.Tensor, float]:
    return norm.weight.detach().float(), norm.variance_epsilon


def _product(linears: Sequence[Any], fuse: bool) -> Product:
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
    return lambda x: functional.linear(x, weight, bias)
