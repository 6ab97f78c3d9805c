"""What a checkpoint needs besides upstream's files, so that a resumed run is the uninterrupted one.

Every process keeps its own: the rollouts that are sampled and not yet used up, and its part of a reference model that
has moved away from the start model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import is_peft_model
from torch import nn
from torch.distributed.tensor import DTensor

from r1rl.ground.errors import RunFailedError
from r1rl.run import disk, manifest

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer

_BUFFER, _REFERENCE = "rollout_buffer_{}.pt", "reference_{}.pt"


@contextmanager
def written(trainer: ZeroTrainer) -> Iterator[None]:
    """While all processes write a checkpoint: what lies in its place goes first, its manifest comes last.

    Older ones are deleted as soon as this one is whole.
    """
    folder, limit = trainer.folder, trainer.args.save_total_limit
    checkpoint = folder.checkpoints / f"checkpoint-{trainer.state.global_step}"
    first, wait = trainer.accelerator.is_main_process, trainer.accelerator.wait_for_everyone
    if first and checkpoint.exists():  # a damaged one, or half of one
        manifest.remove(checkpoint)
    if first:
        disk.need(folder.path, size(trainer), "a checkpoint")
    wait()
    trainer.args.save_total_limit = None  # upstream goes by the files' times, and does not ask whether they are whole
    try:
        yield
        wait()
        if first:
            manifest.write(checkpoint, heldout=folder.last_heldout(trainer.state.global_step))
            manifest.rotate(folder.checkpoints, limit)
    except Exception:
        if first:  # half of it would take the space that is missing
            manifest.remove(checkpoint)
        raise
    finally:
        trainer.args.save_total_limit = limit
    wait()


def size(trainer: ZeroTrainer) -> float:
    """Bytes of the run's last checkpoint; before there is one, of weights and of Adam's state for those that train."""
    for checkpoint in reversed(manifest.all_in(trainer.folder.checkpoints)):
        if (checkpoint / manifest.FILE_NAME).is_file():
            return disk.size_of(checkpoint)
    parameters = [(part(p).numel() * part(p).element_size(), p.requires_grad) for p in trainer.model.parameters()]
    own = sum(
        bytes_ * (3 if trains else 1) for bytes_, trains in parameters if trains or not is_peft_model(trainer.model)
    )
    return own * (trainer.accelerator.num_processes if _is_sharded(trainer.model) else 1)


def save_buffer(folder: Path, process: int, micro_batches: list[dict[str, Any]]) -> None:
    """Keep the micro-batches that a process has sampled and will train on again."""
    torch.save(_moved(micro_batches, torch.device("cpu")), folder / _BUFFER.format(process))


def load_buffer(folder: Path, process: int, device: torch.device) -> list[dict[str, Any]]:
    """What `save_buffer` kept.

    Raises:
        RunFailedError: it is not there: another version, or other processes, made the checkpoint.
    """
    kept = _load(folder / _BUFFER.format(process), "the rollouts that were sampled and not used up")
    return _moved(kept, device)


def save_reference(folder: Path, process: int, model: nn.Module) -> None:
    """Keep this process's part of a reference model; where every process holds all of it, the first one keeps it."""
    if process == 0 or _is_sharded(model):
        # Copies, since DeepSpeed's tensors carry objects of its own.
        parts = {name: part(parameter).detach().cpu().clone() for name, parameter in model.named_parameters()}
        torch.save(parts, folder / _REFERENCE.format(process))


def load_reference(folder: Path, process: int, model: nn.Module) -> None:
    """Give a reference model the weights that `save_reference` kept.

    Raises:
        RunFailedError: they are not there, or of another shape.
    """
    path = folder / _REFERENCE.format(process if _is_sharded(model) else 0)
    kept = _load(path, "the reference model")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mine = part(parameter)
            if name not in kept or kept[name].shape != mine.shape:
                raise RunFailedError(
                    f"{path}: holds no {name} of shape {tuple(mine.shape)}; resume on as many processes"
                )
            mine.copy_(kept[name])


def part(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter."""
    if hasattr(parameter, "ds_tensor"):  # ZeRO-3
        return parameter.ds_tensor
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter.data


def _is_sharded(model: nn.Module) -> bool:
    return any(hasattr(p, "ds_tensor") or isinstance(p, DTensor) for p in model.parameters())


def _moved(micro_batches: list[dict[str, Any]], device: torch.device) -> list[dict[str, Any]]:
    return [
        {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in part.items()}
        for part in micro_batches
    ]


def _load(path: Path, what: str) -> Any:
    """What a file holds, on the CPU: torch knows no place `cpu:0`, which is DeepSpeed's device there."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunFailedError(
            f"{path}: missing, so {what} cannot be taken up again; resume on as many processes as made the checkpoint, "
            "or remove this checkpoint to go on from the one before"
        ) from None
