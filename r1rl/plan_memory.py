"""Memory of one process by kind of data parallelism: formulas, each with its assumption. Bytes throughout."""

from __future__ import annotations

from dataclasses import dataclass

from r1rl.plan_models import Size

STRATEGIES = ("ddp", "zero2", "zero3", "zero3_offload", "fsdp")
LIBRARIES = 1.5e9  # CUDA context, NCCL and library workspaces a process; a guess from above for one node
_BUCKET = 5e8  # DeepSpeed's default reduce_bucket_size, in numbers
_LIVE = 1e9  # DeepSpeed's default stage3_max_live_parameters, in numbers


@dataclass(frozen=True)
class Workload:
    """What one process has to hold at once.

    Args:
        processes: over all machines.
        bf16: whether the update computes in bfloat16.
        weights_bytes: 4 or 2, of the weights that the optimizer changes.
        pass_tokens: tokens of one forward and backward pass of the update.
        cached_tokens: prompts and completions of all rows that sample at once.
        checkpointing: activations are computed a second time in the backward pass.
        vllm: bytes reserved by colocated vLLM; None: r1rl's own engine or another machine samples.
        embedded: r1rl's own engine samples here.
        kv_limit: bytes for keys and values; None: a quarter of what is free.
    """

    processes: int
    bf16: bool
    weights_bytes: int
    pass_tokens: int
    cached_tokens: int
    checkpointing: bool
    vllm: float | None
    embedded: bool
    kv_limit: float | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU; `host`: in the machine's memory instead. The update and sampling do not overlap."""

    weights: float
    gradients: float
    optimizer: float
    exchange: float
    activations: float
    sampling: float
    kv_cache: float
    vllm: float
    libraries: float
    host: float

    @property
    def always(self) -> float:
        """What is held in the update and in sampling alike."""
        return self.weights + self.gradients + self.optimizer + self.vllm + self.libraries

    @property
    def peak(self) -> float:
        """The larger one of the update and of sampling."""
        return self.always + max(self.activations + self.exchange, self.sampling + self.kv_cache)


def activations(size: Size, work: Workload) -> float:
    """Of one pass. Without checkpointing: 13 hidden and 4 intermediate vectors a layer and token (`scoring`).

    With it: each layer's input, one layer's insides, and twice the logits of every token of the pass.
    """
    width = 2 if work.bf16 else 4
    layer = width * (13 * size.hidden + 4 * size.intermediate)
    logits = (2 * width) * size.vocabulary
    if work.checkpointing:
        return work.pass_tokens * (width * size.hidden * size.layers + layer + logits)
    return work.pass_tokens * (layer * size.layers + logits)


def kv_cache(size: Size, work: Workload) -> float:
    """Keys and values of every row that samples at once, in the sampling weights' format."""
    return work.cached_tokens * size.kv_values * (2 if work.bf16 else 4)


def memory(strategy: str, size: Size, work: Workload) -> Memory:
    """The memory of one process under a strategy of `STRATEGIES`, AdamW with two float32 moments.

    DDP and FSDP2: weights in their own format, computing in bfloat16 by autocast. DeepSpeed with bf16: weights and
    gradients in bfloat16, a float32 copy with the optimizer (ZeRO, arXiv 1910.02054, section 3.1).
    """
    count, shards = float(size.parameters), work.processes
    low = 2 if work.bf16 else 4
    own, gathered = work.weights_bytes, float(size.parameters * low)
    gradients: float
    host = 0.0
    if strategy == "ddp":
        weights, gradients, optimizer = own * count, own * count, 2 * own * count
        exchange = own * count if shards > 1 else 0.0  # the buckets of the all-reduce
        sampling = gathered if own != low else 0.0
    elif strategy == "fsdp":
        weights, gradients, optimizer = (factor * own * count / shards for factor in (1, 1, 2))
        exchange = 2 * low * (count / size.layers)  # two layers gathered
        sampling = gathered
    elif strategy == "zero2":
        weights, gradients, optimizer = low * count, low * count / shards, 12 * count / shards
        exchange = 2 * low * min(_BUCKET, count)
        sampling = 0.0
    else:
        weights, gradients, optimizer = (factor * count / shards for factor in (low, low, 12))
        exchange = low * min(_LIVE, count) + low * min(_BUCKET, count)
        sampling = gathered  # ds3_gather_for_generation
        if strategy == "zero3_offload":
            host, weights, optimizer = weights + optimizer, 0.0, 0.0
    kv = kv_cache(size, work)
    if work.kv_limit is not None:
        kv = min(kv, work.kv_limit)
    return Memory(
        weights, gradients, optimizer, exchange, activations(size, work),
        sampling if work.embedded or work.vllm is not None else 0.0,
        kv if work.embedded else 0.0,
        work.vllm or 0.0, LIBRARIES, host,
    )  # fmt: skip
