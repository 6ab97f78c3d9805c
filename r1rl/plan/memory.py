"""Memory of one process by kind of data parallelism: formulas, each with its assumption. Bytes throughout."""

from __future__ import annotations

import math
from dataclasses import dataclass

from r1rl.plan.sizes import Size
from r1rl.rollout.weights import PACKED_FROM

LIBRARIES = 1.5e9  # CUDA context, NCCL and library workspaces a process; a guess from above for one node
# Resident before the first step of a model of next to no size, what DeepSpeed and its gloo group add, and what the heap
# holds beyond what lives, as a share of it (`allocation` lets nothing go back). Measured on Linux with Python 3.11,
# torch 2.13 for CPUs, transformers 5.23, TRL 1.16, DeepSpeed 0.19.
HOST_LIBRARIES = 0.56e9
HOST_DEEPSPEED = 0.09e9
HOST_HEAP = 0.1
_BUCKET = 5e8  # DeepSpeed's default reduce_bucket_size, in numbers
_LIVE = 1e9  # DeepSpeed's default stage3_max_live_parameters, in numbers


@dataclass(frozen=True)
class Workload:
    """What one process has to hold at once."""

    processes: int  # over all machines
    bf16: bool  # whether the update computes in bfloat16
    weights_bytes: int  # 4 or 2, of one number of the weights that the optimizer changes
    pass_tokens: int  # of the largest forward and backward pass of the update
    context: int  # tokens that one of them attends to, at most
    cached_tokens: int  # whose keys and values are held at once: prompts once a group, completions of all rows
    checkpointing: bool  # activations are computed a second time in the backward pass
    vllm: float | None  # bytes reserved by colocated vLLM; None: r1rl's own engine or another machine samples
    embedded: bool  # r1rl's own engine samples here
    kv_limit: float | None = None  # bytes for keys and values; None: a quarter of what is free
    vllm_sleeps: bool = False  # vLLM gives its memory back during the update
    reference: bool = False  # a copy of the weights is kept for the KL term
    on_cpu: bool = False  # the memory is the process's resident memory
    adapters: int | None = None  # parameters of LoRA's adapters, the only ones trained; None: all are

    @property
    def low_bytes(self) -> int:
        """Bytes of a number in which the update computes."""
        return 2 if self.bf16 else 4


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, or resident in one CPU process; `host`: in the machine's memory besides.

    The update and sampling do not overlap.
    """

    weights: float
    reference: float
    gradients: float
    optimizer: float
    exchange: float
    activations: float
    sampling: float
    kv_cache: float
    vllm: float
    libraries: float
    host: float = 0.0
    vllm_sleeps: bool = False
    heap_share: float = 0.0

    @property
    def always(self) -> float:
        """What is held in the update and in sampling alike."""
        held = self.weights + self.reference + self.gradients + self.optimizer + self.libraries
        return held + (0.0 if self.vllm_sleeps else self.vllm)

    @property
    def peak(self) -> float:
        """The larger one of the update and of sampling."""
        return self._living + self.heap

    @property
    def heap(self) -> float:
        """What a CPU process's heap holds besides what lives."""
        return self.heap_share * (self._living - self.libraries)

    @property
    def _living(self) -> float:
        sampling = self.sampling + self.kv_cache + (self.vllm if self.vllm_sleeps else 0.0)
        return self.always + max(self.activations + self.exchange, sampling)


def activations(size: Size, work: Workload) -> float:
    """Bytes of the activations of one pass.

    Without checkpointing: 13 hidden and 4 intermediate vectors a layer and token (`r1rl.update.scoring`).
    Autocast keeps more hidden vectors: float32 before each norm, and bfloat16 for each layer that reads it. With
    checkpointing: each layer's input and one layer's insides. Besides, the logits of every token of the pass, which
    become their own gradient, and on a CPU the attention weights, which `packed_attention` keeps.
    """
    width = work.low_bytes
    vectors = 17 if work.bf16 and work.weights_bytes == 4 else 13
    layer = width * (vectors * size.hidden + 4 * size.intermediate)
    if work.on_cpu:
        layer += width * size.heads * work.context
    logits = width * size.vocabulary
    if work.checkpointing:
        return work.pass_tokens * (width * size.hidden * size.layers + layer + logits)
    return work.pass_tokens * (layer * size.layers + logits)


def kv_cache(size: Size, work: Workload) -> float:
    """Keys and values of every row that samples at once, in the sampling weights' format; float32 on a CPU."""
    return work.cached_tokens * size.kv_values * (2 if work.bf16 and not work.on_cpu else 4)


def memory(strategy: str, size: Size, work: Workload) -> Memory:
    """The memory of one process under a strategy of `STRATEGIES`, AdamW with two float32 moments."""
    held = _HELD[strategy](float(size.parameters), size, work)
    # With adapters the reference is the model without them.
    held["reference"] = held["weights"] if work.reference and work.adapters is None else 0.0
    host = 0.0
    if strategy == "zero3_offload":
        moved = ("weights", "optimizer", "reference")
        host = sum(held[part] for part in moved)
        held |= dict.fromkeys(moved, 0.0)
    libraries = LIBRARIES
    if work.on_cpu:
        libraries = HOST_LIBRARIES + (HOST_DEEPSPEED if strategy.startswith("zero") else 0.0)
        held["sampling"] = _sampling_on_cpu(strategy, held["sampling"], size, work)
        held["weights"], host = held["weights"] + host, 0.0  # the machine's memory is the process's own
    elif work.vllm is not None and strategy not in ("ddp", "zero2"):
        held["sampling"] = work.low_bytes * float(size.largest)  # handed over one by one
    elif work.vllm is not None or not work.embedded:
        held["sampling"] = 0.0
    return Memory(
        **held,
        activations=activations(size, work),
        kv_cache=min(kv_cache(size, work), work.kv_limit or math.inf) if work.embedded else 0.0,
        vllm=work.vllm or 0.0,
        libraries=libraries,
        host=host,
        vllm_sleeps=work.vllm_sleeps,
        heap_share=HOST_HEAP if work.on_cpu else 0.0,
    )


# What a strategy holds of the policy. DDP and FSDP2: weights in their own format, computing in bfloat16 by autocast,
# which keeps a copy of them for a pass. DeepSpeed with bf16: weights and gradients in bfloat16, a float32 copy with the
# optimizer (ZeRO, arXiv 1910.02054, section 3.1); without: a float32 copy of its own all the same.


def _trained(count: float, work: Workload) -> tuple[float, float]:
    """Numbers that the optimizer changes, and their bytes: adapters are in float32 beside weights of any format."""
    return (count, work.weights_bytes) if work.adapters is None else (float(work.adapters), 4)


def _ddp(count: float, size: Size, work: Workload) -> dict[str, float]:
    trained, width = _trained(count, work)
    own = width * trained
    copy = work.low_bytes * count if work.weights_bytes != work.low_bytes else 0.0  # autocast's
    buckets = own if work.processes > 1 else 0.0  # of the all-reduce
    held = {"weights": work.weights_bytes * count + _added(work, 4), "gradients": own, "optimizer": 2 * own}
    return held | {"exchange": buckets + copy, "sampling": copy}


def _fsdp(count: float, size: Size, work: Workload) -> dict[str, float]:
    trained, width = _trained(count, work)
    own = width * trained / work.processes
    two_layers = 2 * work.low_bytes * (count / size.layers)  # gathered
    weights = (work.weights_bytes * count + _added(work, 4)) / work.processes
    held = {"weights": weights, "gradients": own, "optimizer": 2 * own}
    return held | {"exchange": two_layers, "sampling": work.low_bytes * count}


def _zero2(count: float, size: Size, work: Workload) -> dict[str, float]:
    low, trained = work.low_bytes, _trained(count, work)[0]
    shard = trained / work.processes
    held = {"weights": low * count + _added(work, low), "gradients": low * shard, "optimizer": 12 * shard}
    return held | {"exchange": 2 * low * min(_BUCKET, trained), "sampling": 0.0}


def _zero3(count: float, size: Size, work: Workload) -> dict[str, float]:
    low, trained = work.low_bytes, _trained(count, work)[0]
    shard = trained / work.processes
    weights = (low * count + _added(work, low)) / work.processes
    held = {"weights": weights, "gradients": low * shard, "optimizer": 12 * shard}
    gathered = low * count  # ds3_gather_for_generation
    return held | {"exchange": low * (min(_LIVE, count) + min(_BUCKET, trained)), "sampling": gathered}


def _added(work: Workload, width: int) -> float:
    """Bytes of the adapters beside the weights."""
    return float(width * (work.adapters or 0))


_HELD = {"ddp": _ddp, "zero2": _zero2, "zero3": _zero3, "zero3_offload": _zero3, "fsdp": _fsdp}
STRATEGIES = tuple(_HELD)


def _sampling_on_cpu(strategy: str, gathered: float, size: Size, work: Workload) -> float:
    """The gathered or converted copy of the weights, and from `PACKED_FROM` parameters on one packed for oneDNN."""
    packed = float(size.parameters * work.low_bytes) if size.parameters >= PACKED_FROM else 0.0
    if strategy.startswith("zero"):
        return gathered + packed
    return (gathered or packed) if strategy == "ddp" else gathered
