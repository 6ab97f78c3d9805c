"""Exact attention over many rollouts in one row without padding, each group's prompt shared.

`transformers` layers see one row of tokens: what all prompts begin with, if they do, then the rest of a prompt, its
completions, the rest of the next prompt, and so on. A completion's token attends to its prompt and to the earlier
tokens of its own completion. A 4-D mask says the same, but then every token is multiplied with every other one, and
nearly all of that is masked away: with 8 completions behind a prompt of the same length, seven eighths. Here each part
is a plain matrix product of the pairs that count.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from r1rl import kernels as native

# Completions that are at least this long, compared to the longest of their part, are padded to it.
_SIMILAR = 0.6
_EVERYTHING = sys.maxsize // 2  # a window; distances to its end are in 64 bits, too
# Probabilities of more elements than this are computed again in the backward pass, by blocks of heads.
_KEPT = 2**25


@dataclass(frozen=True)
class Part:
    """Equally padded segments behind one prefix: the prompts' beginning, a prompt's rest, or completions.

    Args:
        start: its first slot; slots are numbered through all parts, [segments, length] in each.
        segments, length: the number of segments and the slots of each.
        before: first slot and length of each stretch of tokens before them: the beginning, the prompt's rest.
    """

    start: int
    segments: int
    length: int
    before: tuple[tuple[int, int], ...] = ()

    @property
    def prefix(self) -> int:
        """The tokens before them."""
        return sum(length for _, length in self.before)


@dataclass(eq=False)
class Spans:
    """Where prompts and completions lie in a flat row of `tokens` tokens.

    Args:
        parts: prompts before their completions.
        slot_tokens: int64 [slots], the token in each slot; -1 for padding.
        groups: the tokens of the rest of each group's prompt and of its completions, which lie one behind the other.
        common: the tokens that all prompts begin with, which lie before the groups.
    """

    parts: list[Part]
    slot_tokens: torch.Tensor
    tokens: int
    groups: Sequence[tuple[int, Sequence[int]]]
    common: int = 0
    _rows: dict[Any, Any] = field(default_factory=dict, repr=False)

    def rows(self, groups: int, repeats: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gather indices for `groups` key heads with `repeats` query heads each.

        Returns:
            for every grid row (part, key head, segment, query head, slot) its row in [tokens x heads] (0 for padding);
            for every row of [tokens x heads] its grid row; the grid rows that are padding.
        """
        key = groups, repeats
        if key not in self._rows:
            device = self.slot_tokens.device
            head = torch.arange(groups * repeats, device=device).view(groups, 1, repeats, 1)
            pieces = []
            for part in self.parts:
                slots = self.slot_tokens[part.start : part.start + part.segments * part.length]
                token = slots.view(1, part.segments, 1, part.length)
                pieces.append(torch.where(token >= 0, token * (groups * repeats) + head, -1).flatten())
            rows = torch.cat(pieces)
            real = rows >= 0
            back = torch.empty(self.tokens * groups * repeats, dtype=torch.long, device=device)
            back[rows[real]] = real.nonzero().squeeze(1)
            self._rows[key] = rows.clamp(min=0), back, (~real).nonzero().squeeze(1)
        return self._rows[key]

    def strands(self, threads: int) -> Strands:
        """The groups' prompts and completions, each group's divided among so many threads."""
        if threads not in self._rows:
            self._rows[threads] = _strands(self.groups, self.common, threads)
        return self._rows[threads]

    def hidden(self, part: Part, window: int | None) -> torch.Tensor:
        """Which keys (prefix, then own) a slot does not see, bool [length, prefix + length]."""
        if window is None or window >= part.prefix + part.length:
            window = part.prefix + part.length
        key = part.length, part.prefix, window
        if key not in self._rows:
            device = self.slot_tokens.device
            query_at = part.prefix + torch.arange(part.length, device=device)[:, None]
            distance = query_at - torch.arange(part.prefix + part.length, device=device)
            self._rows[key] = (distance < 0) | (distance >= window)
        return self._rows[key]


def spans(groups: Sequence[tuple[int, Sequence[int]]], device: torch.device, common: int = 0) -> Spans:
    """The spans of a row that holds, for each group, a prompt of n tokens and completions of the given lengths.

    `common`: tokens at the row's start that belong to every prompt, besides its own n, of which there must be one.
    """
    parts: list[Part] = []
    slots: list[torch.Tensor] = []
    slot = token = common
    beginning: tuple[tuple[int, int], ...] = ()
    if common:
        beginning = ((0, common),)
        parts.append(Part(0, 1, common))
        slots.append(torch.arange(common))
    for prompt, lengths in groups:
        assert prompt > 0, "what has no token before it is a prompt"
        before = (*beginning, (slot, prompt))
        parts.append(Part(slot, 1, prompt, beginning))
        slots.append(torch.arange(token, token + prompt))
        slot, token = slot + prompt, token + prompt
        starts = []
        for length in lengths:
            starts.append(token)
            token += length
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while order:
            longest = lengths[order[0]]
            count = sum(lengths[i] >= _SIMILAR * longest for i in order)
            similar, order = order[:count], order[count:]
            parts.append(Part(slot, count, longest, before))
            slot += count * longest
            within = torch.arange(longest)
            for i in similar:
                slots.append(torch.where(within < lengths[i], starts[i] + within, -1))
    return Spans(parts, torch.cat(slots).to(device), token, groups, common)


@dataclass(frozen=True)
class Strands:
    """What one thread does after another in the backward pass: some segments of one group, or the prompts' beginning.

    Args:
        segments: int64 [segments, 5], first token and tokens of each, the same of the prompt's rest before it (none of
            a prompt), and how many tokens of the beginning are before that.
        first: int64 [strands + 1], each strand's first segment.
        places: int64 [strands], where each has its prompt among all strands' prompts, one behind the other.
        prompt_tokens: of these.
    """

    segments: torch.Tensor
    first: torch.Tensor
    places: torch.Tensor
    prompt_tokens: int


_Segment: TypeAlias = "tuple[int, int, int, int, int]"


def _strands(groups: Sequence[tuple[int, Sequence[int]]], common: int, threads: int) -> Strands:
    strands: list[list[_Segment]] = [[(0, common, 0, 0, 0)]] if common else []
    places, place = ([0] if common else []), common
    start = common
    for prompt, lengths in groups:
        mine = [(start, prompt, start, 0, common)]
        token = start + prompt
        for length in lengths:
            mine.append((token, length, start, prompt, common))
            token += length
        bins: list[list[_Segment]] = [[] for _ in range(max(1, min(threads, len(lengths))))]
        work = [0.0] * len(bins)
        for segment in sorted(mine, key=_pairs_of, reverse=True):
            least = work.index(min(work))
            bins[least].append(segment)
            work[least] += _pairs_of(segment)
        strands += bins
        for _ in bins:
            places.append(place)
            place += common + prompt
        start = token
    first = list(accumulate(map(len, strands), initial=0))
    segments = [segment for strand in strands for segment in strand]
    return Strands(torch.tensor(segments), torch.tensor(first), torch.tensor(places), place)


def _pairs_of(segment: _Segment) -> float:
    """Pairs of a query and a key that it sees."""
    _, length, _, prefix, common = segment
    return length * (common + prefix + length / 2)


def mask_for(layout: Spans) -> torch.Tensor:
    """What to give a model as `attention_mask`, bool [1, 1, 0, 0]: it carries the spans down to the attention.

    `transformers` hands a 4-D mask on as it is. Attention that does not know of the spans fails at the shape.
    """
    mask = torch.empty(1, 1, 0, 0, dtype=torch.bool, device=layout.slot_tokens.device)
    mask.spans = layout  # type: ignore[attr-defined]
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
    """`transformers`' sdpa attention, and this module's for a mask that carries spans."""
    layout = getattr(attention_mask, "spans", None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    wanted = value.dtype
    if torch.is_autocast_enabled(query.device.type):
        wanted = torch.get_autocast_dtype(query.device.type)
    functions = None
    if native.serve(query, key, value):
        functions = native.functions_for(query.shape[-1], query.shape[1] // key.shape[1], torch.float32)
    setting = _Setting(layout, scale, kwargs.get("sliding_window"), functions)
    if functions is None:
        return _PackedAttention.apply(query, key, value.to(wanted), setting), None
    return _CompiledAttention.apply(query.float(), key.float(), value.float(), setting).to(wanted), None


AttentionInterface.register("sdpa", attention)


class _Setting(NamedTuple):
    """What attention needs besides its tensors. `compiled`: None for torch's calls."""

    layout: Spans
    scale: float
    window: int | None
    compiled: Any


class _CompiledAttention(torch.autograd.Function):
    """As `_PackedAttention`, all float32, by compiled functions. What it keeps grows with the tokens alone."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, setting: _Setting
    ) -> torch.Tensor:
        query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
        _, heads, tokens, width = query.shape
        output = query.new_empty(1, tokens, heads, width)
        sizes = query.new_empty(tokens, heads)
        setting.compiled.attend_packed(ctypes.byref(_call(query, key, value, output, sizes, setting)))
        ctx.save_for_backward(query, key, value, output, sizes)
        ctx.setting = setting
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, sizes = ctx.saved_tensors
        setting = ctx.setting
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        strands = setting.layout.strands(torch.get_num_threads())
        _, heads, tokens, width = query.shape
        key_heads = key.shape[1]
        dq = query.new_empty(tokens, heads, width)
        dk, dv = query.new_zeros(2, tokens, key_heads, width)
        prompt_dk, prompt_dv = query.new_zeros(2, strands.prompt_tokens, key_heads, width)
        call = _call(query, key, value, output, sizes, setting)
        call.gradient = native.heads_of(gradient[0].transpose(0, 1))
        for name, into in (
            ("query", dq),
            ("key", dk),
            ("value", dv),
            ("prompt_key", prompt_dk),
            ("prompt_value", prompt_dv),
        ):
            setattr(call, f"to_{name}", native.heads_of(into.transpose(0, 1)))
        call.strands, call.places = strands.first.data_ptr(), strands.places.data_ptr()
        call.strand_count = len(strands.places)
        setting.compiled.attend_packed_backward(ctypes.byref(call))
        return *(x.transpose(0, 1)[None] for x in (dq, dk, dv)), None


def _call(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    output: torch.Tensor,
    sizes: torch.Tensor,
    setting: _Setting,
) -> native.Attention:
    """The arguments that both passes have. They point into the tensors, which must live as long."""
    threads = torch.get_num_threads()
    segments = setting.layout.strands(threads).segments
    window = _EVERYTHING if setting.window is None else setting.window
    return native.Attention(
        segments.data_ptr(), len(segments), key.shape[1], window, threads, setting.scale,
        *(native.heads_of(x[0]) for x in (query, key, value, output.transpose(1, 2))), sizes.data_ptr(),
    )  # fmt: skip


class _PackedAttention(torch.autograd.Function):
    """q [1, heads, tokens, d], k and v [1, key heads, tokens, d] -> [1, tokens, heads, d], of v's type.

    Scores, softmax and their gradients are float32; products with low-precision values are of their precision, as in
    a fused kernel.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, setting: _Setting
    ) -> torch.Tensor:
        layout, scale, window, _ = setting
        _, heads, tokens, width = query.shape
        groups = key.shape[1]
        q, k, v = _grids(query, key, value, layout)
        outputs: list[torch.Tensor] = []
        kept: list[torch.Tensor | None] = []
        for part in layout.parts:
            size = part.segments * part.length * (part.prefix + part.length) * heads
            keep = size <= _KEPT
            output = torch.empty_like(_of(q, part, groups, heads // groups), dtype=v.dtype)
            kept.append(None)
            for some in _blocks(groups, 1 if keep else -(-size // _KEPT)):
                weights = _weights(q, k, layout, part, groups, some, scale, window).to(v.dtype)
                output[some] = _weighted(weights, v, part, groups, some)
                if keep:
                    kept[-1] = weights
            outputs.append(output.view(-1, width))
        _, back, _ = layout.rows(groups, heads // groups)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.settings = layout, scale, window
        return torch.cat(outputs).index_select(0, back).view(1, tokens, heads, width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        layout, scale, window = ctx.settings
        _, heads, tokens, width = query.shape
        groups = key.shape[1]
        repeats = heads // groups
        q, k, v = _grids(query, key, value, layout)
        rows, back, padding = layout.rows(groups, repeats)
        outer = gradient.reshape(-1, width).index_select(0, rows).index_fill_(0, padding, 0)
        low = v.dtype
        dq = torch.empty_like(q, dtype=torch.float32)
        dk, dv = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
        for part, probabilities in zip(layout.parts, kept, strict=True):
            size = part.segments * part.length * (part.prefix + part.length) * heads
            for some in _blocks(groups, 1 if probabilities is not None else -(-size // _KEPT)):
                weights = probabilities
                if weights is None:
                    weights = _weights(q, k, layout, part, groups, some, scale, window).to(low)
                out = _of(outer, part, groups, repeats)[some]
                full = out.float()
                down = _pairs(full, v.float(), part, groups, some)
                wide = weights.float()
                down = (down - (down * wide).sum(-1, keepdim=True)).mul_(wide).mul_(scale).to(low)
                _of(dq, part, groups, repeats)[some] = _weighted(down, k.to(low), part, groups, some).float()
                queries = _of(q, part, groups, repeats)[some].to(low)
                for gradients, left, right in ((dk, down, queries), (dv, weights, out.to(low))):
                    _add_to_keys(gradients, left, right, part, groups, some)
        _, key_back, _ = layout.rows(groups, 1)
        dq = dq.index_select(0, back).view(1, tokens, heads, width).transpose(1, 2).to(query.dtype)
        dk, dv = (
            g.index_select(0, key_back).view(1, tokens, groups, width).transpose(1, 2).to(like.dtype)
            for g, like in ((dk, key), (dv, value))
        )
        return dq, dk, dv, None


def _grids(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Spans
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values as padded grid rows, [rows, d]."""
    groups = key.shape[1]
    query_rows, _, _ = layout.rows(groups, query.shape[1] // groups)
    key_rows, _, _ = layout.rows(groups, 1)
    pairs = (query, query_rows), (key, key_rows), (value, key_rows)
    q, k, v = (x.transpose(1, 2).reshape(-1, x.shape[-1]).index_select(0, rows) for x, rows in pairs)
    return q, k, v


def _of(grid: torch.Tensor, part: Part, groups: int, repeats: int) -> torch.Tensor:
    """A part of a grid: [key heads, segments x query heads of each x length, d]."""
    start, count = part.start * groups * repeats, part.segments * part.length * groups * repeats
    return grid[start : start + count].view(groups, -1, grid.shape[-1])


def _prefix(grid: torch.Tensor, part: Part, groups: int) -> torch.Tensor:
    """The keys or values before a part: [key heads, prefix, d]."""
    pieces = _before(grid, part, groups)
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _before(grid: torch.Tensor, part: Part, groups: int) -> list[torch.Tensor]:
    """Views of the stretches before a part: [key heads, length, d] each."""
    return [
        grid[start * groups : (start + length) * groups].view(groups, length, grid.shape[-1])
        for start, length in part.before
    ]


def _blocks(groups: int, wanted: int) -> list[slice]:
    """Slices of key heads, `wanted` of them where there are so many heads."""
    size = max(1, groups // wanted)
    return [slice(start, min(start + size, groups)) for start in range(0, groups, size)]


def _pairs(queries: torch.Tensor, keys: torch.Tensor, part: Part, groups: int, some: slice) -> torch.Tensor:
    """Products of each query with the prefix and its own segment: [key heads, queries, prefix + length]."""
    width = queries.shape[-1]
    own = _of(keys, part, groups, 1)[some].reshape(-1, part.length, width)
    inner = queries.reshape(len(own), -1, width).bmm(own.mT).view(len(queries), -1, part.length)
    if not part.prefix:
        return inner
    return torch.cat([queries.bmm(_prefix(keys, part, groups)[some].mT), inner], -1)


def _weights(
    q: torch.Tensor, k: torch.Tensor, layout: Spans, part: Part, groups: int, some: slice, scale: float, window: Any
) -> torch.Tensor:
    """Attention weights, float32 [key heads, queries, prefix + length]."""
    repeats = len(q) // len(k)
    scores = _pairs(_of(q, part, groups, repeats)[some].float() * scale, k.float(), part, groups, some)
    by_slot = scores.view(-1, part.length, part.prefix + part.length)
    return by_slot.masked_fill_(layout.hidden(part, window), float("-inf")).softmax(-1).view(scores.shape)


def _weighted(weights: torch.Tensor, values: torch.Tensor, part: Part, groups: int, some: slice) -> torch.Tensor:
    """Sums of values (or keys) by weight: [key heads, queries, d]."""
    own = _of(values, part, groups, 1)[some].reshape(-1, part.length, values.shape[-1])
    inner = weights[..., part.prefix :].reshape(len(own), -1, part.length).bmm(own).view(*weights.shape[:2], -1)
    return inner + weights[..., : part.prefix].bmm(_prefix(values, part, groups)[some]) if part.prefix else inner


def _add_to_keys(
    into: torch.Tensor, weights: torch.Tensor, queries: torch.Tensor, part: Part, groups: int, some: slice
) -> None:
    """Add the sum over queries, by weight, to the gradient of the keys (or values) of a part and of its prefix."""
    width = queries.shape[-1]
    own = _of(into, part, groups, 1)[some]
    count = len(own) * part.segments
    inner = weights[..., part.prefix :].reshape(count, -1, part.length).mT.bmm(queries.reshape(count, -1, width))
    own += inner.view(own.shape)
    at = 0
    for piece in _before(into, part, groups):
        length = piece.shape[1]
        piece[some] += weights[..., at : at + length].mT.bmm(queries)
        at += length
