"""Several processes without an accelerator: what DeepSpeed and FSDP need to run there, so that tests can run them.

Seen with Accelerate 1.15 and DeepSpeed 0.19; on a machine with an accelerator everything here does nothing.
"""

from __future__ import annotations

import os
from typing import Any

from r1rl.ground import machine


def environment(kind: str) -> dict[str, str]:
    """Environment variables for processes of an Accelerate `distributed_type` on this machine."""
    return {} if machine.visible_gpus() else environment_for(kind)


def environment_for(kind: str) -> dict[str, str]:
    """Environment variables for processes on a machine that is known to have no accelerator."""
    # DeepSpeed would look for the device itself; Accelerate would put FSDP on "cuda".
    known = {"DEEPSPEED": {"DS_ACCELERATOR": "cpu"}, "FSDP": {"ACCELERATE_TORCH_DEVICE": "cpu"}}
    return known.get(kind, {})


def prepare() -> None:
    """Let this process of a launch join the others over gloo. To be called before anything of Accelerate is made."""
    if machine.visible_gpus():
        return
    # Where DeepSpeed is installed, saving a model makes it look for a GPU and warn that there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if os.environ.get("LOCAL_RANK") is None:
        return
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true":
        import deepspeed.ops

        # It would build shared-memory collectives for CPUs (a minute, a C++ compiler); gloo does without.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    elif os.environ.get("ACCELERATE_USE_FSDP", "false") == "true":
        _let_accelerate_shard_on_cpu()


def _let_accelerate_shard_on_cpu() -> None:
    """Accelerate takes FSDP for DDP on a CPU unless its state says MULTI_GPU."""
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    def backend(*_: Any, **__: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = backend
    # Told to use the CPU, it leaves the process group to a branch that this one is not.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
