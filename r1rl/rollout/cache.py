"""A preallocated key-value cache whose rows can be repeated and dropped."""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class PreallocatedLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, kv_heads, capacity, head_dim], filled from the left up to `length`.

    `DynamicLayer` copies the whole cache for every new token (torch.cat); this one writes in place. Sliding-window
    layers keep everything and rely on the model's own sliding mask, which is built from the 2-D attention mask.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, head_dim = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.capacity, head_dim)
        self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity

    def select(self, rows: torch.Tensor, capacity: int | None = None) -> None:
        """Keep `rows` (int64 indices, repeats allowed), in that order; `capacity` may grow the layer."""
        assert self.keys is not None
        assert self.values is not None
        fits = capacity is None and len(rows) <= len(self.keys)
        self.capacity = capacity or self.capacity
        for name in ("keys", "values"):
            old = getattr(self, name)
            filled = old[rows, :, : self.length]
            new = old[: len(rows)] if fits else old.new_empty(len(rows), old.shape[1], self.capacity, old.shape[3])
            new[:, :, : self.length] = filled
            setattr(self, name, new)


class PreallocatedCache(Cache):
    """A `transformers` cache of `PreallocatedLayer`s for `layers` layers and `capacity` tokens."""

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[PreallocatedLayer(capacity) for _ in range(layers)])

    def select(self, rows: torch.Tensor, capacity: int | None = None) -> None:
        """Apply `PreallocatedLayer.select` to every layer."""
        for layer in self.layers:
            layer.select(rows, capacity)
