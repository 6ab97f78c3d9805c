"""Memory of one process by kind of data parallelism: formulas, each with its assumption. Bytes throughout."""

from __future__ import annotations

from dataclasses import dataclass

from r1rl.plan.sizes import Size
from r1rl.rollout.weights import PACKED_FROM

STRATEGIES = ("ddp", "zero2", "zero3", "zero3_offload", "fsdp")
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
    """What one process has to hold at once.

    Args:
        processes: over all machines.
        bf16: whether the update computes in bfloat16.
        weights_bytes: 4 or 2, of the weights that the optimizer changes.
        pass_tokens: tokens of the largest forward and backward pass of the update.
        context: tokens that one of them attends to, at most.
        cached_tokens: tokens whose keys and values are held at once: prompts once a group, completions of all rows.
        checkpointing: activations are computed a second time in the backward pass.
        vllm: bytes reserved by colocated vLLM; None: r1rl's own engine or another machine samples.
        embedded: r1rl's own engine samples here.
        kv_limit: bytes for keys and values; None: a quarter of what is free.
        vllm_sleeps: vLLM gives its memory back during the update.
        reference: a copy of the weights is kept for the KL term.
        on_cpu: the memory is the process's resident memory.
    """

    processes: int
    bf16: bool
    weights_bytes: int
    pass_tokens: int
    context: int
    cached_tokens: int
    checkpointing: bool
    vllm: float | None
    embedded: bool
    kv_limit: float | None = None
    vllm_sleeps: bool = False
    reference: bool = False
    on_cpu: bool = False


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
    """Of one pass. Without checkpointing: 13 hidden and 4 intermediate vectors a layer and token (`scoring`).

    Autocast keeps more hidden vectors: float32 before each norm, and bfloat16 for each layer that reads it. With
    checkpointing: each layer's input and one layer's insides. Besides, the logits of every token of the pass, which
    become their own gradient, and on a CPU the attention weights, which `packed_attention` keeps.
    """
    width = 2 if work.bf16 else 4
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
    """The memory of one process under a strategy of `STRATEGIES`, AdamW with two float32 moments.

    DDP and FSDP2: weights in their own format, computing in bfloat16 by autocast, which keeps a copy of them for a
    pass. DeepSpeed with bf16: weights and gradients in bfloat16, a float32 copy with the optimizer (ZeRO, arXiv
    1910.02054, section 3.1); without: a float32 copy of its own all the same.
    """
    count, shards = float(size.parameters), work.processes
    low = 2 if work.bf16 else 4
    own, gathered = work.weights_bytes, float(size.parameters * low)
    gradients: float
    host, libraries = 0.0, HOST_LIBRARIES if work.on_cpu else LIBRARIES
    reference = own * count
    if strategy == "ddp":
        weights, gradients, optimizer = own * count, own * count, 2 * own * count
        exchange = own * count if shards > 1 else 0.0  # the buckets of the all-reduce
        exchange += gathered if own != low else 0.0  # autocast's copy
        sampling = gathered if own != low else 0.0
    elif strategy == "fsdp":
        weights, gradients, optimizer = (factor * own * count / shards for factor in (1, 1, 2))
        reference /= shards
        exchange = 2 * low * (count / size.layers)  # two layers gathered
        sampling = gathered
    elif strategy == "zero2":
        weights, gradients, optimizer = low * count, low * count / shards, 12 * count / shards
        reference = low * count
        exchange = 2 * low * min(_BUCKET, count)
        sampling = 0.0
    else:
        weights, gradients, optimizer = (factor * count / shards for factor in (low, low, 12))
        reference = low * count / shards
        exchange = low * min(_LIVE, count) + low * min(_BUCKET, count)
        sampling = gathered  # ds3_gather_for_generation
        if strategy == "zero3_offload":
            host, weights, optimizer, reference = weights + optimizer + work.reference * reference, 0.0, 0.0, 0.0
    if work.on_cpu:
        libraries += HOST_DEEPSPEED if strategy.startswith("zero") else 0.0
        if strategy == "ddp" and sampling == 0.0 and count >= PACKED_FROM:
            sampling = gathered  # linear layers packed for oneDNN
        elif strategy.startswith("zero") and count >= PACKED_FROM:
            sampling += gathered
        weights, host = weights + host, 0.0
    elif work.vllm is not None:
        sampling = 0.0 if strategy in ("ddp", "zero2") else low * float(size.largest)  # handed over one by one
    elif not work.embedded:
        sampling = 0.0
    kv = kv_cache(size, work)
    if work.kv_limit is not None:
        kv = min(kv, work.kv_limit)
    return Memory(
        weights, reference if work.reference else 0.0, gradients, optimizer, exchange, activations(size, work),
        sampling, kv if work.embedded else 0.0, work.vllm or 0.0, libraries, host, work.vllm_sleeps,
        HOST_HEAP if work.on_cpu else 0.0,
    )  # fmt: skip
