"""Key-value storage for groups: a prompt's keys and values are held once, a row's own behind them.

Decoding multiplies a prompt's keys with the queries of all rows of its group at once, and a row's own keys with its
own query; one softmax runs over both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

ATTENTION = "r1rl_groups"
"""Name under which `group_attention` is registered with transformers; without a mask function, so it gets no mask."""

_GROWTH = 1.5


class PrefillLayer(CacheLayerMixin):
    """One layer's keys and values of whole prompts, [prompts, kv_heads, tokens, head_dim].

    Sliding-window layers keep everything and rely on the model's own sliding mask, which is built from the 2-D mask.
    """

    is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        self.keys = torch.cat([self.keys.expand(len(key_states), -1, -1, -1), key_states], dim=2)
        self.values = torch.cat([self.values.expand(len(value_states), -1, -1, -1), value_states], dim=2)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def get_max_length(self) -> int:
        return -1


class PrefillCache(Cache):
    """A `transformers` cache of prompts. One of a single row is a prefix to whatever batch comes next."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[PrefillLayer() for _ in range(layers)])


class GroupLayer(CacheLayerMixin):
    """One layer's storage: `prompt_keys` [prompts, kv_heads, tokens, head_dim] and `keys` [slots, kv_heads, capacity,
    head_dim], and the same of values. What is not written yet is zero, because a weight of zero times NaN is NaN."""

    is_sliding = False

    def __init__(self, cache: GroupCache) -> None:
        super().__init__()
        self.cache = cache
        self.prompt_keys: torch.Tensor | None = None
        self.prompt_values: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for all rows; what is there stays."""
        rows, capacity = len(self.cache.lengths), self.cache.capacity
        for name, like in (("keys", key_states), ("values", value_states)):
            old = getattr(self, name)
            new = like.new_zeros(rows, like.shape[1], capacity, like.shape[3], dtype=_stored(like))
            if old is not None:
                kept, filled = min(rows, len(old)), min(capacity, old.shape[2])
                new[:kept, :, :filled] = old[:kept, :, :filled]
            setattr(self, name, new)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object) -> Any:
        """Write the new token of every row. This layer itself goes where attention expects keys."""
        cache = self.cache
        if self.keys is None or len(self.keys) < len(cache.lengths) or self.keys.shape[2] < cache.capacity:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        for stored, new in ((self.keys, key_states), (self.values, value_states)):
            if cache.level:
                stored[: len(new), :, cache.longest - 1] = new[:, :, 0]
            else:
                stored[cache.row_index, :, cache.lengths] = new[:, :, 0].to(stored.dtype)
        return self, self

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0  # positions are always given

    def get_max_length(self) -> int:
        return -1

    def unshare(self, prompt_of: torch.Tensor, shift: torch.Tensor, own: int) -> None:
        """Put each row's prompt in front of its own `own` tokens, moved right by `shift` (int64 [rows])."""
        rows, room = len(prompt_of), self.cache.capacity
        for name in ("keys", "values"):
            stored, prompts = getattr(self, name), getattr(self, f"prompt_{name}")
            new = prompts.new_zeros(rows, prompts.shape[1], room, prompts.shape[3])
            width = prompts.shape[2]
            for row, (prompt, by) in enumerate(zip(prompt_of.tolist(), shift.tolist(), strict=True)):
                new[row, :, by:width] = prompts[prompt, :, : width - by]
            if own:
                new[:, :, width : width + own] = stored[:rows, :, :own]
            setattr(self, name, new)
            setattr(self, f"prompt_{name}", None)
        self.is_initialized = True

    def move(self, source: torch.Tensor, target: torch.Tensor, filled: int) -> None:
        assert self.keys is not None
        assert self.values is not None
        self.keys[target, :, :filled] = self.keys[source, :, :filled]
        self.values[target, :, :filled] = self.values[source, :, :filled]


class GroupCache(Cache):
    """Storage of all layers and where every row stands. Rows are the first `len(lengths)` slots.

    Args:
        layers: number of layers of the model.
        cap: most own tokens a row can come to.

    Attributes:
        prompt_of: int64 [rows], the prompt of each row.
        lengths: int64 [rows], own tokens stored before this step, and `width` more once prompts are unshared.
        width: tokens that unshared prompts take up in front of a row's own; 0 while they are shared.
        prompt_lengths: int64 [prompts].
    """

    def __init__(self, layers: int, cap: int, device: torch.device) -> None:
        super().__init__(layers=[GroupLayer(self) for _ in range(layers)])
        self.cap = cap
        none = torch.zeros(0, dtype=torch.long, device=device)
        self.prompt_of = self.lengths = self.prompt_lengths = self.row_index = none
        self.width = 0
        self._first = none  # of a row's tokens, its unshared prompt included
        self.longest = 0  # most own tokens of a row, the new one included
        self.level = False  # all rows have as many
        self.capacity = 0  # own tokens there is room for
        self._place = none
        self._width = 0  # most rows of one prompt
        self._aligned = False  # rows stand prompt by prompt, as many of each
        self._masks: dict[int | None, torch.Tensor | None] = {}

    def add_prompts(self, kept: torch.Tensor, prefilled: PrefillCache | None, lengths: Sequence[int]) -> None:
        """Keep the prompts `kept` (int64 indices), in that order, and put the prefilled ones behind them.

        `lengths` are the prefilled prompts' tokens; their keys are padded on the right.
        """
        self.prompt_lengths = torch.cat([self.prompt_lengths[kept], self.prompt_lengths.new_tensor(lengths)])
        width = int(self.prompt_lengths.max()) if len(self.prompt_lengths) else 0
        for i, layer in enumerate(self.layers):
            for name in ("keys", "values"):
                old = getattr(layer, f"prompt_{name}")
                new = None if prefilled is None else getattr(prefilled.layers[i], name)
                parts = [part for part in (None if old is None else old[kept], new) if part is not None]
                like = parts[-1]
                shape = len(self.prompt_lengths), like.shape[1], width, like.shape[3]
                both = like.new_zeros(shape, dtype=_stored(like))
                start = 0
                for part in parts:
                    filled = min(width, part.shape[2])
                    both[start : start + len(part), :, :filled] = part[:, :, :filled]
                    start += len(part)
                setattr(layer, f"prompt_{name}", both)

    def set_rows(self, prompt_of: torch.Tensor, lengths: torch.Tensor) -> None:
        """Say which rows there are; new ones come behind those whose storage is kept."""
        self.prompt_of, self.lengths = prompt_of, lengths
        self.row_index = torch.arange(len(lengths), device=lengths.device)
        counts = torch.bincount(prompt_of, minlength=len(self.prompt_lengths))
        order = prompt_of.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        self._place = torch.empty_like(prompt_of)
        self._place[order] = self.row_index - starts[prompt_of[order]]
        self._width = int(counts.max()) if len(counts) else 0
        in_order = torch.arange(len(counts), device=counts.device).repeat_interleave(self._width)
        self._aligned = prompt_of.shape == in_order.shape and bool((prompt_of == in_order).all())

    def unshare(self) -> None:
        """Give every row its prompt for itself, for good: quicker where hardly any siblings are left."""
        keys = self.layers[0].prompt_keys
        width = 0 if keys is None else keys.shape[2]
        own = int(self.lengths.max())
        self.width, self.cap = width, self.cap + width
        self.capacity += width
        self._first = width - self.prompt_lengths[self.prompt_of]
        for layer in self.layers if width else ():
            layer.unshare(self.prompt_of, self._first, own)
        self.prompt_lengths = self.prompt_lengths.new_zeros(1)
        self.set_rows(torch.zeros_like(self.prompt_of), self.lengths + width)

    def begin_step(self) -> None:
        """Make room for one token more of every row."""
        shortest, longest = (int(end) for end in self.lengths.aminmax())
        self.longest, self.level = longest + 1, shortest == longest
        if self.longest > self.capacity:
            self.capacity = min(self.cap, max(self.longest, int(self.capacity * _GROWTH), 32))
        self._masks = {}

    def end_step(self) -> None:
        """Count the token that every row has stored."""
        self.lengths = self.lengths + 1

    def drop(self, finished: Sequence[int]) -> list[int]:
        """Remove rows by moving the last ones into their slots; returns the rows' old indices in their new order."""
        gone = set(finished)
        count = len(self.lengths) - len(gone)
        holes = [i for i in sorted(gone) if i < count]
        movers = [i for i in range(count, len(self.lengths)) if i not in gone]
        order = list(range(count))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        index = self.lengths.new_tensor(order)
        if movers:
            source, target = self.lengths.new_tensor(movers), self.lengths.new_tensor(holes)
            filled = int(self.lengths[source].max())
            for layer in self.layers:
                layer.move(source, target, filled)
        self._first = self._first[index] if self.width else self._first
        self.set_rows(self.prompt_of[index], self.lengths[index])
        return order

    def mask(self, window: int | None) -> torch.Tensor | None:
        """What a row may see of its prompt and of its own tokens, float32 [rows, 1, 1, tokens], added to scores.

        None: everything.
        """
        if window not in self._masks:
            keys = self.layers[0].prompt_keys
            width = 0 if keys is None else keys.shape[2]
            prompt_lengths = self.prompt_lengths[self.prompt_of][:, None]
            own = torch.arange(self.longest, device=self.lengths.device)
            prompt = torch.arange(width, device=own.device)
            mine = own <= self.lengths[:, None]
            if self.width:
                mine &= own >= self._first[:, None]
            seen = torch.cat([prompt < prompt_lengths, mine], dim=1)
            if window is not None:
                at = torch.cat([prompt.expand(len(seen), -1), prompt_lengths + own], dim=1)
                seen &= at > prompt_lengths + self.lengths[:, None] - window
            added = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -math.inf)
            self._masks[window] = None if bool(seen.all()) else added[:, None, None]
        return self._masks[window]

    def gather_groups(self, rows: torch.Tensor) -> torch.Tensor:
        """[rows, kv_heads, query_groups, size] -> [prompts, kv_heads, places * query_groups, size]."""
        count, (heads, groups, size) = len(self.prompt_lengths), rows.shape[1:]
        if self._aligned:
            together = rows.view(count, self._width, heads, groups, size)
        else:
            together = rows.new_zeros(count, self._width, heads, groups, size)
            together[self.prompt_of, self._place] = rows
        return together.transpose(1, 2).reshape(count, heads, self._width * groups, size)

    def scatter_groups(self, together: torch.Tensor) -> torch.Tensor:
        """The way back of `gather_groups`, for any last dimension."""
        count, heads, _, size = together.shape
        apart = together.view(count, heads, self._width, -1, size).transpose(1, 2)
        return apart.flatten(0, 1) if self._aligned else apart[self.prompt_of, self._place]


def _stored(like: torch.Tensor) -> torch.dtype:
    """Keys and values are float32 on a CPU: its products of a few rows are slower in half precision, and less exact."""
    return torch.float32 if like.device.type == "cpu" else like.dtype


def group_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token a row, [rows, heads, 1, head_dim] -> [rows, 1, heads, head_dim].

    Raises:
        ValueError: the model needs what is not computed here (attention sinks).
    """
    if s_aux is not None:
        raise ValueError(f"engine=embedded: {type(module).__name__} has attention sinks; try engine: generate")
    layer: GroupLayer = key
    cache = layer.cache
    assert layer.keys is not None
    assert layer.values is not None
    rows, heads, _, size = query.shape
    kv_heads = layer.keys.shape[1]
    mine = (query * scaling).to(layer.keys.dtype).reshape(rows, kv_heads, heads // kv_heads, size)
    own_keys, own_values = layer.keys[:rows, :, : cache.longest], layer.values[:rows, :, : cache.longest]
    scores = torch.matmul(mine, own_keys.transpose(-1, -2))
    width = 0 if layer.prompt_keys is None else layer.prompt_keys.shape[2]
    if layer.prompt_keys is not None and width:
        theirs = torch.matmul(cache.gather_groups(mine), layer.prompt_keys.transpose(-1, -2))
        scores = torch.cat([cache.scatter_groups(theirs), scores], dim=-1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    window = sliding_window if sliding_window is not None and sliding_window < width + cache.longest else None
    if (mask := cache.mask(window)) is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(own_values.dtype)
    output = torch.matmul(weights[..., width:], own_values)
    if layer.prompt_values is not None and width:
        output += cache.scatter_groups(torch.matmul(cache.gather_groups(weights[..., :width]), layer.prompt_values))
    return output.reshape(rows, 1, heads, size).to(query.dtype), None


AttentionInterface.register(ATTENTION, group_attention)
