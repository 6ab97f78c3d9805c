"""A device that is not here: its tensors compute on the CPU, and refuse to meet tensors that say they lie there.

What fails with it would fail on a GPU, and no GPU is needed to see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")  # of all that torch knows, one that it does not try to start
_CPU = torch.device("cpu")
_aten = torch.ops.aten
_MOVES = {_aten._to_copy.default, _aten.copy_.default, _aten._local_scalar_dense.default}
# CUDA takes indices from the CPU here.
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}


class Elsewhere(torch.Tensor):
    """A tensor on `DEVICE`; `here` holds its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor, requires_grad: bool = False) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.here = here
        return made

    # Two that torch does not let subclasses see.
    def tolist(self) -> Any:
        return self.here.tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Elsewhere:
        return Elsewhere(self.here.new_tensor(data, **kwargs))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def device() -> Iterator[None]:
    """Within it, tensors can be made on `DEVICE`."""
    with _Made(), _Calls():
        yield


class _Made(TorchFunctionMode):
    """Lists become tensors before anything is called that `_Calls` sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == DEVICE.type:
            kwargs["device"] = _CPU
            return Elsewhere(func(*args, **kwargs))
        if func in (torch.Tensor.__setitem__, torch.Tensor.__getitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1], dtype=torch.long), *args[2:])
        return func(*args, **kwargs)


class _Calls(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def move(module: torch.nn.Module) -> torch.nn.Module:
    """Put a module's parameters and buffers on `DEVICE`."""
    moved: dict[int, torch.nn.Parameter] = {}  # tied weights stay tied
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                new = moved.setdefault(id(parameter), torch.nn.Parameter(Elsewhere(parameter.detach())))
                part._parameters[name] = new
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else Elsewhere(buffer)
    return module


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    kwargs = dict(kwargs)
    wanted = kwargs.get("device")
    if wanted is not None and torch.device(wanted).type == DEVICE.type:
        kwargs["device"] = _CPU
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    elsewhere = [value for value in tensors if isinstance(value, Elsewhere)]
    if func not in _MOVES:
        # A number without dimensions may come from the CPU; so may indices, if what they index is elsewhere.
        met = [args[0]] if func in _INDEXING else tensors
        met += [args[2]] if func in _INDEXING and len(args) > 2 else []
        strangers = [value for value in met if not isinstance(value, Elsewhere) and value.dim()]
        if strangers and elsewhere:
            raise RuntimeError(f"{func}: tensors of the CPU and of another device")
    found = func(*_here(args), **_here(kwargs))
    if func is _aten._local_scalar_dense.default:
        return found
    if func is _aten.copy_.default:
        return args[0]
    stays = bool(elsewhere) if wanted is None else torch.device(wanted).type == DEVICE.type
    if not stays:
        return found
    for before in elsewhere:  # what a call changes in place keeps being the same tensor
        if found is before.here:
            return before
    return tree_map_only(torch.Tensor, Elsewhere, found)


def _here(values: Any) -> Any:
    return tree_map_only(Elsewhere, lambda value: value.here, values)
