"""Exact attention over many rollouts in one row without padding, each group's prompt shared.

`transformers` layers see one row of tokens: what all prompts begin with, if they do, then the rest of a prompt, its
completions, the rest of the next prompt, and so on. A completion's token attends to its prompt and to the earlier
tokens of its own completion. A 4-D mask says the same, but then every token is multiplied with every other one, and
nearly all of that is masked away: with 8 completions behind a prompt of the same length, seven eighths. Here only pairs
that count are multiplied, by kernels/packed.c or, where that does not serve, by one call of torch's for each segment.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from r1rl import kernels

_EVERYTHING = sys.maxsize // 2  # a window; distances to its end are in 64 bits, too


class Segment(NamedTuple):
    """Tokens of a row that attend to each other: what all prompts begin with, the rest of a prompt, or a completion.

    Before a completion's tokens are `prefix` tokens of its prompt's rest, from `prefix_start` on, and before those the
    row's first `common` tokens. `prefix` is 0 for a prompt's rest.
    """

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0
    common: int = 0

    @property
    def pairs(self) -> float:
        """Pairs of a query and a key that it sees."""
        return self.length * (self.common + self.prefix + self.length / 2)


@dataclass(frozen=True)
class Strands:
    """What one thread does after another in the backward pass: some segments of one group, or the prompts' beginning.

    Args:
        segments: int64 [segments, 5], the fields of each `Segment`.
        first: int64 [strands + 1], each strand's first segment.
        places: int64 [strands], where each has its prompt among all strands' prompts, one behind the other.
        prompt_tokens: tokens of all strands' prompts.
    """

    segments: torch.Tensor
    first: torch.Tensor
    places: torch.Tensor
    prompt_tokens: int


class Spans:
    """Where prompts and completions lie in a flat row.

    Args:
        groups: the tokens of the rest of each group's prompt, at least one, and of its completions, which lie one
            behind the other.
        common: the tokens that all prompts begin with, which lie before the groups.

    Example: `Spans([(2, [3, 1])], common=4)` is a row of 10 tokens: 4 that all prompts begin with, 2 of the prompt's
    rest, a completion of 3 and one of 1.
    """

    def __init__(self, groups: Sequence[tuple[int, Sequence[int]]], common: int = 0) -> None:
        self.common = common
        self.groups: list[list[Segment]] = []
        at = common
        for prompt, lengths in groups:
            assert prompt > 0, "what has no token before it is a prompt"
            start, at = at, at + prompt
            group = [Segment(start, prompt, start, 0, common)]
            for length in lengths:
                group.append(Segment(at, length, start, prompt, common))
                at += length
            self.groups.append(group)
        self.tokens = at
        self._strands: dict[int, Strands] = {}

    @property
    def segments(self) -> list[Segment]:
        """All segments in the order of their tokens."""
        beginning = [Segment(0, self.common)] if self.common else []
        return beginning + [segment for group in self.groups for segment in group]

    def strands(self, threads: int) -> Strands:
        """The segments, each group's divided among at most so many threads, about equally many pairs for each."""
        if threads not in self._strands:
            self._strands[threads] = self._divided(threads)
        return self._strands[threads]

    def _divided(self, threads: int) -> Strands:
        strands = [[Segment(0, self.common)]] if self.common else []
        places, place = ([0] if self.common else []), self.common
        for group in self.groups:
            bins: list[list[Segment]] = [[] for _ in range(max(1, min(threads, len(group) - 1)))]
            work = [0.0] * len(bins)
            for segment in sorted(group, key=lambda segment: -segment.pairs):
                least = work.index(min(work))
                bins[least].append(segment)
                work[least] += segment.pairs
            strands += bins
            for _ in bins:
                places.append(place)
                place += self.common + group[0].length
        first = list(accumulate(map(len, strands), initial=0))
        segments = [segment for strand in strands for segment in strand]
        return Strands(torch.tensor(segments), torch.tensor(first), torch.tensor(places), place)


def mask_for(spans: Spans, device: torch.device) -> torch.Tensor:
    """What to give a model as `attention_mask`, bool [1, 1, 0, 0]: it carries the spans down to the attention.

    `transformers` hands a 4-D mask on as it is. Attention that does not know of the spans fails at the shape.
    """
    mask = torch.empty(1, 1, 0, 0, dtype=torch.bool, device=device)
    mask.spans = spans  # type: ignore[attr-defined]
    return mask


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """`transformers`' sdpa attention, and this module's for a mask that carries spans.

    Takes [1, heads, tokens, head_dim] and as many key heads as divide the heads; gives [1, tokens, heads, head_dim] in
    the number format of the values or of autocast. Everything between is float32.
    """
    spans = getattr(attention_mask, "spans", None)
    if spans is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    device = query.device.type
    wanted = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
    window = kwargs.get("sliding_window")
    call = _Call(spans, query.shape[-1] ** -0.5 if scaling is None else scaling, window or _EVERYTHING)
    query, key, value = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
    if kernels.serve(query, key, value):
        functions = kernels.functions_for(query.shape[-1], query.shape[1] // key.shape[1], torch.float32)
        if functions is not None:
            return _CompiledAttention.apply(query, key, value, call, functions).to(wanted), None
    with torch.autocast(device, enabled=False):
        return _by_segments(query, key, value, call).to(wanted), None


AttentionInterface.register("sdpa", attention)


class _Call(NamedTuple):
    """What attention needs besides its tensors; `window` is how many keys are seen, the token's own among them."""

    spans: Spans
    scale: float
    window: int


def _by_segments(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: _Call) -> torch.Tensor:
    """Attention by torch's own, one call for each segment."""
    outputs = []
    for start, length, prefix_start, prefix, common in call.spans.segments:
        pieces = slice(0, common), slice(prefix_start, prefix_start + prefix), slice(start, start + length)
        k, v = (torch.cat([x[:, :, piece] for piece in pieces], dim=2) for x in (key, value))
        before = common + prefix
        at, seen = (torch.arange(n, device=query.device) for n in (length, before + length))
        distance = before + at[:, None] - seen
        mask = (distance >= 0) & (distance < call.window)
        q = query[:, :, start : start + length]
        outputs.append(
            functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=call.scale, enable_gqa=True)
        )
    return torch.cat(outputs, dim=2).transpose(1, 2)


class _CompiledAttention(torch.autograd.Function):
    """Attention by kernels/packed.c, all float32. What it keeps grows with the tokens alone."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: _Call, functions: Any
    ) -> torch.Tensor:
        query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
        _, heads, tokens, width = query.shape
        output = query.new_empty(1, tokens, heads, width)
        sizes = query.new_empty(tokens, heads)
        functions.attend_packed(ctypes.byref(_arguments(query, key, value, output, sizes, call)))
        ctx.save_for_backward(query, key, value, output, sizes)
        ctx.call, ctx.functions = call, functions
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, sizes = ctx.saved_tensors
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        strands = ctx.call.spans.strands(torch.get_num_threads())
        _, heads, tokens, width = query.shape
        dq = query.new_empty(tokens, heads, width)
        dk, dv = query.new_zeros(2, tokens, key.shape[1], width)
        prompt_dk, prompt_dv = query.new_zeros(2, strands.prompt_tokens, key.shape[1], width)
        arguments = _arguments(query, key, value, output, sizes, ctx.call)
        arguments.gradient = kernels.heads_of(gradient[0].transpose(0, 1))
        into = {"query": dq, "key": dk, "value": dv, "prompt_key": prompt_dk, "prompt_value": prompt_dv}
        for name, tensor in into.items():
            setattr(arguments, f"to_{name}", kernels.heads_of(tensor.transpose(0, 1)))
        arguments.strands, arguments.places = strands.first.data_ptr(), strands.places.data_ptr()
        arguments.strand_count = len(strands.places)
        ctx.functions.attend_packed_backward(ctypes.byref(arguments))
        return *(x.transpose(0, 1)[None] for x in (dq, dk, dv)), None, None


def _arguments(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, sizes: torch.Tensor, call: _Call
) -> kernels.Attention:
    """The arguments that both passes have. They point into the tensors, which must live as long."""
    threads = torch.get_num_threads()
    segments = call.spans.strands(threads).segments
    return kernels.Attention(
        segments.data_ptr(), len(segments), key.shape[1], call.window, threads, call.scale,
        *(kernels.heads_of(x[0]) for x in (query, key, value, output.transpose(1, 2))), sizes.data_ptr(),
    )  # fmt: skip
