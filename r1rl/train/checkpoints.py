"""What a checkpoint needs besides upstream's files, so that a resumed run is the uninterrupted one.

Every process keeps its own: the rollouts that are sampled and not yet used up, and its part of a reference model that
has moved away from the start model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from r1rl.ground.errors import RunFailedError

_BUFFER, _REFERENCE = "rollout_buffer_{}.pt", "reference_{}.pt"


def save_buffer(folder: Path, process: int, micro_batches: list[dict[str, Any]]) -> None:
    """Keep the micro-batches that a process has sampled and will train on again."""
    on_cpu = [
        {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in part.items()}
        for part in micro_batches
    ]
    torch.save(on_cpu, folder / _BUFFER.format(process))


def load_buffer(folder: Path, process: int, device: torch.device) -> list[dict[str, Any]]:
    """What `save_buffer` kept.

    Raises:
        RunFailedError: it is not there: another version, or other processes, made the checkpoint.
    """
    return list(_load(folder / _BUFFER.format(process), device, "the rollouts that were sampled and not used up"))


def save_reference(folder: Path, process: int, model: nn.Module) -> None:
    """Keep this process's part of a reference model; where every process holds all of it, the first one keeps it."""
    if process == 0 or _is_sharded(model):
        parts = {name: _part(parameter).cpu() for name, parameter in model.named_parameters()}
        torch.save(parts, folder / _REFERENCE.format(process))


def load_reference(folder: Path, process: int, model: nn.Module) -> None:
    """Give a reference model the weights that `save_reference` kept.

    Raises:
        RunFailedError: they are not there, or of another shape.
    """
    path = folder / _REFERENCE.format(process if _is_sharded(model) else 0)
    kept = _load(path, torch.device("cpu"), "the reference model")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            part = _part(parameter)
            if name not in kept or kept[name].shape != part.shape:
                raise RunFailedError(
                    f"{path}: holds no {name} of shape {tuple(part.shape)}; resume on as many processes"
                )
            part.copy_(kept[name])


def _part(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter."""
    if hasattr(parameter, "ds_tensor"):  # ZeRO-3
        return parameter.ds_tensor
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter.data


def _is_sharded(model: nn.Module) -> bool:
    return any(hasattr(p, "ds_tensor") or isinstance(p, DTensor) for p in model.parameters())


def _load(path: Path, device: torch.device, what: str) -> Any:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunFailedError(
            f"{path}: missing, so {what} cannot be taken up again; resume on as many processes as made the checkpoint, "
            "or remove this checkpoint to go on from the one before"
        ) from None
