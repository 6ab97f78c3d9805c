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
    """One layer's storage: `prompt_keys` [prompts, kv_heads, tokens, head_dim] and `keys` [slots, kv_heads, cap,
    head_dim], and the same of values. What is read before it is written is zero: a weight of zero times NaN is NaN."""

    is_sliding = False

    def __init__(self, cache: GroupCache) -> None:
        super().__init__()
        self.cache = cache
        self.prompt_keys: torch.Tensor | None = None
        self.prompt_values: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for as many rows as there are now, which never become more, each up to the cap."""
        cache = self.cache
        for name, like in (("keys", key_states), ("values", value_states)):
            # Pages that nothing is written to take no memory, and the first touch of one costs more than its zeros.
            make = like.new_empty if cache.even else like.new_zeros
            setattr(
                self, name, make(len(cache.lengths), like.shape[1], cache.cap, like.shape[3], dtype=stored_dtype(like))
            )
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object) -> Any:
        """Write the new token of every row. This layer itself goes where attention expects keys."""
        self.make_room(key_states[:, :, 0], value_states[:, :, 0])
        cache = self.cache
        for stored, new in ((self.keys, key_states), (self.values, value_states)):
            assert stored is not None
            stored[cache.row_index, :, cache.lengths] = new[:, :, 0].to(stored.dtype)
        return self, self

    def make_room(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Have storage for the new token of every row, both [rows, kv_heads, head_dim]."""
        if self.keys is None:
            self.lazy_initialization(key[:, :, None], value[:, :, None])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0  # positions are always given

    def get_max_length(self) -> int:
        return -1

    def move(self, source: torch.Tensor, target: torch.Tensor, filled: int) -> None:
        """Put rows' keys and values, the first `filled` tokens, into other slots."""
        assert self.keys is not None
        assert self.values is not None
        self.keys[target, :, :filled] = self.keys[source, :, :filled]
        self.values[target, :, :filled] = self.values[source, :, :filled]


class GroupCache(Cache):
    """Storage of all layers and where every row stands. Rows are the first `len(lengths)` slots.

    Args:
        layers: number of layers of the model.
        cap: most own tokens a row can come to.
        even: all rows enter at once, so that they are of the same length at every step.

    Attributes:
        prompt_of: int64 [rows], the prompt of each row.
        lengths: int64 [rows], own tokens stored before this step.
        prompt_lengths: int64 [prompts].

    Example: two prompts of 5 and 7 tokens, and three rows of the first behind which one of the second is waiting:
    `prompt_lengths` is [5, 7], `prompt_of` [0, 0, 0], and after two steps `lengths` is [2, 2, 2]. Row 1 ends, and the
    waiting one enters: row 2 moves into slot 1, and `prompt_of` is [0, 0, 1], `lengths` [2, 2, 0].
    """

    def __init__(self, layers: int, cap: int, device: torch.device, *, even: bool = False) -> None:
        super().__init__(layers=[GroupLayer(self) for _ in range(layers)])
        self.cap = cap
        self.even = even
        none = torch.zeros(0, dtype=torch.long, device=device)
        self.prompt_of = self.lengths = self.prompt_lengths = self.row_index = none
        self.longest = 0  # most own tokens of a row, the new one included
        self._grids: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._masks: dict[Any, torch.Tensor | None] = {}

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
                both = like.new_zeros(shape, dtype=stored_dtype(like))
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
        self._grids = {}

    def grid(self, kv_heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where (row, key head) pairs stand when a prompt's rows lie together, and back.

        Returns:
            int64 [prompts * kv_heads * most rows of a prompt], the pair in each place (0 where a prompt has fewer
            rows); int64 [rows * kv_heads], the place of each pair.
        """
        if kv_heads not in self._grids:
            counts = torch.bincount(self.prompt_of, minlength=len(self.prompt_lengths))
            width = int(counts.max())
            order = self.prompt_of.argsort(stable=True)
            place = torch.empty_like(order)
            place[order] = self.row_index - (counts.cumsum(0) - counts)[self.prompt_of[order]]
            head = torch.arange(kv_heads, device=order.device)
            back = ((self.prompt_of[:, None] * kv_heads + head) * width + place[:, None]).flatten()
            there = torch.zeros(len(counts) * kv_heads * width, dtype=torch.long, device=order.device)
            there[back] = torch.arange(len(back), device=order.device)
            self._grids[kv_heads] = there, back
        return self._grids[kv_heads]

    def begin_step(self) -> None:
        """One token more of every row comes."""
        self.longest = int(self.lengths.max()) + 1
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
        self.set_rows(self.prompt_of[index], self.lengths[index])
        return order

    def mask(self, window: int | None, kv_heads: int) -> torch.Tensor | None:
        """What a row may see of its prompt and of its own tokens, float32 [rows * kv_heads, 1, tokens], to be added.

        None: everything.
        """
        if window not in self._masks:
            keys = self.layers[0].prompt_keys
            width = 0 if keys is None else keys.shape[2]
            prompt_lengths = self.prompt_lengths[self.prompt_of][:, None]
            own = torch.arange(self.longest, device=self.lengths.device)
            prompt = torch.arange(width, device=own.device)
            seen = torch.cat([prompt < prompt_lengths, own <= self.lengths[:, None]], dim=1)
            if window is not None:
                at = torch.cat([prompt.expand(len(seen), -1), prompt_lengths + own], dim=1)
                seen &= at > prompt_lengths + self.lengths[:, None] - window
            added = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -math.inf)
            self._masks[window] = None if bool(seen.all()) else added
        mask = self._masks[window]
        if mask is None:
            return None
        if (window, kv_heads) not in self._masks:
            self._masks[window, kv_heads] = mask.repeat_interleave(kv_heads, 0)[:, None]
        return self._masks[window, kv_heads]


def stored_dtype(like: torch.Tensor) -> torch.dtype:
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
    rows, heads, _, size = query.shape
    output = attend(key, query.view(rows, heads, size), scaling, sliding_window, softcap)
    return output.view(rows, 1, heads, size), None


def attend(
    layer: GroupLayer,
    query: torch.Tensor,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attention of one new token a row over its prompt and its own tokens, [rows, heads, head_dim] -> the same."""
    cache = layer.cache
    assert layer.keys is not None
    assert layer.values is not None
    rows, heads, size = query.shape
    kv_heads = layer.keys.shape[1]
    groups = heads // kv_heads
    # A pair of a row and a key head is one product of a batch.
    mine = (query * scaling).to(layer.keys.dtype).view(rows * kv_heads, groups, size)
    own_keys, own_values = (x[:rows].flatten(0, 1)[:, : cache.longest] for x in (layer.keys, layer.values))
    scores = mine.bmm(own_keys.mT)
    width = 0
    if layer.prompt_keys is not None and layer.prompt_values is not None and layer.prompt_keys.shape[2]:
        prompts, _, width, _ = layer.prompt_keys.shape
        there, back = cache.grid(kv_heads)
        together = mine[there].view(prompts * kv_heads, -1, size).bmm(layer.prompt_keys.flatten(0, 1).mT)
        scores = torch.cat([together.view(-1, groups, width)[back], scores], dim=-1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    window = sliding_window if sliding_window is not None and sliding_window < width + cache.longest else None
    if (mask := cache.mask(window, kv_heads)) is not None:
        scores += mask
    weights = scores.softmax(-1, dtype=torch.float32).to(own_values.dtype)
    output = weights[..., width:].bmm(own_values)
    if layer.prompt_values is not None and width:
        together = weights[..., :width][there].view(prompts * kv_heads, -1, width)
        output += together.bmm(layer.prompt_values.flatten(0, 1)).view(-1, groups, size)[back]
    return output.view(rows, heads, size).to(query.dtype)


AttentionInterface.register(ATTENTION, group_attention)
