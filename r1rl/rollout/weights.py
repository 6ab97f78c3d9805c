"""The weights that sampling uses: the policy's own, or a copy that is quicker to sample from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from r1rl.ground.machine import has_bf16_kernels

_SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names under which `transformers` keeps linear layers that one module applies to the same tensor."""

PACKED_FROM = 8_000_000
"""Number of parameters. A smaller policy stays in the caches, where packing gains less than its calls cost."""


class PackedLinears:
    """Weights in the layout that oneDNN multiplies from, so that no call has to arrange them anew.

    For few rows this is what decides: a vocabulary's head is three to five times as fast. Several layers with the
    same input are one product.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.linears = linears
        self.sizes = [linear.out_features for linear in linears]
        self.weight: torch.Tensor | None = None
        self.bias: torch.Tensor | None = None
        self._last: tuple[torch.Tensor, Sequence[torch.Tensor]] | None = None

    def pack(self, dtype: torch.dtype) -> None:
        """Take over the layers' present weights."""
        weight = torch.cat([linear.weight.detach().to(dtype) for linear in self.linears])
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        if any(linear.bias is not None for linear in self.linears):
            none = [weight.new_zeros(size) for size in self.sizes]
            biases = [z if linear.bias is None else linear.bias for linear, z in zip(self.linears, none, strict=True)]
            self.bias = torch.cat([bias.detach().to(dtype) for bias in biases])

    def release(self) -> None:
        """Give the memory back."""
        self.weight = self.bias = self._last = None

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """What the layers make of x, one after another in the last dimension."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def outputs(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """What each layer makes of x; computed once for one tensor."""
        if self._last is None or self._last[0] is not x:
            y = self.product(x)
            self._last = x, y.split_with_sizes(self.sizes, dim=-1) if len(self.sizes) > 1 else (y,)
        return self._last[1]


class PackedLinear(nn.Module):
    """One layer of `PackedLinears`, in the place of its `nn.Linear`."""

    def __init__(self, together: PackedLinears, index: int) -> None:
        super().__init__()
        self.together, self.index = together, index
        self.in_features, self.out_features = together.linears[index].in_features, together.sizes[index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.together.outputs(x)[self.index]


def can_pack(model: nn.Module) -> bool:
    """Whether packing this model's linear weights gains anything, and this build of torch does it for its device."""
    if sum(parameter.numel() for parameter in model.parameters()) < PACKED_FROM or _is_quantised(model):
        return False
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return on_cpu and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def format_for(wanted: str, *, bf16: bool, device: torch.device) -> torch.dtype | None:
    """The number format of sampling weights; None: the training weights' own.

    Args:
        wanted: `auto`, `float32` or `bfloat16`; `auto` is bfloat16 where the update computes in it and `device` has
            instructions for it, else None.
        bf16: whether the update computes in bfloat16.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    fast = device.type != "cpu" or has_bf16_kernels()
    return torch.bfloat16 if bf16 and fast else None


class SamplingWeights:
    """A copy of a policy to sample from, refreshed before every use. Its memory is held only while it is in use.

    The copy has the policy's structure; on a CPU its linear layers are packed. Where it would be the policy over
    again (no packing, same dtype), or weights are quantised, whose numbers another format would not mean, the policy
    itself is used.
    """

    def __init__(self) -> None:
        self._copy: nn.Module | None = None
        self._packed: list[PackedLinears] = []
        self._dtype: torch.dtype | None = None

    @contextmanager
    def of(self, policy: nn.Module, dtype: torch.dtype) -> Iterator[nn.Module]:
        """A model with `policy`'s present weights in `dtype`, for inference alone."""
        sharded = any(isinstance(p, DTensor) for p in policy.parameters())
        formats = (torch.float32, torch.bfloat16) if has_bf16_kernels() else (torch.float32,)  # those oneDNN packs here
        packs = can_pack(policy) and dtype in formats and not sharded
        # Sharded weights are gathered once: the processes' samples do not take the same number of forward passes.
        as_is = all(p.dtype == dtype for p in policy.parameters()) or _is_quantised(policy)
        if not sharded and not packs and as_is:
            yield policy
            return
        if self._copy is None or self._dtype != dtype:
            (self._copy, self._packed), self._dtype = _twin(policy, packs), dtype
        try:
            with torch.no_grad():
                for linears in self._packed:
                    linears.pack(dtype)
                theirs = dict(policy.named_parameters(remove_duplicate=False))
                for name, mine in self._copy.named_parameters(remove_duplicate=False):
                    weight = theirs[name].detach()
                    mine.data = (weight.full_tensor() if isinstance(weight, DTensor) else weight).to(dtype)
            yield self._copy
        finally:
            for linears in self._packed:
                linears.release()
            for mine in self._copy.parameters():
                mine.data = mine.data.new_empty(0)


def _is_quantised(model: nn.Module) -> bool:
    return not all(parameter.is_floating_point() for parameter in model.parameters())


def _twin(policy: nn.Module, packs: bool) -> tuple[nn.Module, list[PackedLinears]]:
    """A copy of the modules without weights of its own, and those that are to be packed for it."""
    if any(isinstance(p, DTensor) for p in policy.parameters()):
        # FSDP2 refuses copies; each module's class is one of its own over the model's.
        policy = type(policy).__bases__[1](policy.config)
    memo: dict[int, object] = {id(p): nn.Parameter(p.detach()[:0], requires_grad=False) for p in policy.parameters()}
    packed: list[PackedLinears] = []
    for module in policy.modules() if packs else ():
        plain = {name: child for name, child in module.named_children() if type(child) is nn.Linear}
        groups: list[tuple[str, ...]] = [names for names in _SAME_INPUT if set(names) <= set(plain)]
        groups += [(name,) for name in plain if not any(name in names for names in groups)]
        for names in groups:
            together = PackedLinears([plain[name] for name in names])
            packed.append(together)
            memo |= {id(plain[name]): PackedLinear(together, i) for i, name in enumerate(names)}
    # Trainers and r1rl.update.scoring replace `forward` on the instance, by functions bound to the policy itself.
    replaced = [(m, m.__dict__.pop("forward")) for m in policy.modules() if "forward" in m.__dict__]
    try:
        twin = copy.deepcopy(policy, memo)
    finally:
        for module, forward in replaced:
            module.__dict__["forward"] = forward
    return twin.eval(), packed
