"""Tokens, floating-point operations, hours and cost of a whole run. Held-out evaluation is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from r1rl.ground import machine
from r1rl.ground.errors import RecipeError
from r1rl.plan.sizes import Size

H100_TFLOPS = 989.0  # bfloat16 without sparsity, as NVIDIA states it


@dataclass(frozen=True)
class Machines:
    """What the recipe would run on, and what is assumed of it and of the completions.

    Raises:
        RecipeError: a number that must be positive is not.
    """

    nodes: int = 1
    gpus: int = 1  # of one machine; 0: processes on its CPU
    cpu_processes: int = 1  # of one machine without GPUs
    memory: float | None = None  # bytes of one GPU, or of a machine without any; None: 80 GB, or this machine's
    tflops: float | None = None  # peak of one GPU in the update's number format; see `peak_tflops`
    update_share: float = 0.35  # of the peak that the update reaches
    sampling_share: float = 0.05  # of the peak that sampling reaches
    mean_share: float = 0.5  # mean completion length as a share of `max_completion_length`
    price: float | None = None  # of one GPU-hour; None: no cost is shown

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and (value < 0 or (value == 0 and name not in ("gpus", "price"))):
                raise RecipeError(f"{name}={value}: need a positive number")

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return self.nodes * (self.gpus or self.cpu_processes)

    @property
    def share(self) -> float:
        """Bytes that one process may use: its GPU's, or its part of the machine's memory."""
        if self.gpus:
            return self.memory or 80e9
        return (self.memory or machine.memory_gib() * 2**30) / self.cpu_processes

    @property
    def peak_tflops(self) -> float | None:
        """10^12 operations a second: as given, else an H100's; a CPU's nobody knows, nor its hours."""
        return self.tflops or (H100_TFLOPS if self.gpus else None)


@dataclass(frozen=True)
class Work:
    """Tokens, operations, hours and cost of the whole run; hours and cost are None where no peak is known."""

    tokens: float
    sampling_flops: float
    update_flops: float
    gpu_hours: float | None
    hours: float | None
    cost: float | None


def work(
    size: Size,
    machines: Machines,
    *,
    lengths: Sequence[tuple[float, int]],
    prompts: int,
    rollouts: int,
    prompt_tokens: int,
    iterations: int,
    scorings: int,
    checkpointing: bool,
    frozen: bool = False,
) -> Work:
    """2 FLOPs a parameter and token forward, twice that backward (arXiv 2001.08361, 2.1), once more if recomputed.

    Args:
        lengths: how often rollouts are sampled with which `max_completion_length`.
        prompts, rollouts: numbers of distinct prompts and of rollouts that are sampled at once over all processes.
        prompt_tokens: tokens of one prompt.
        iterations: how often the update goes through the same rollouts (`num_iterations`).
        scorings: passes without a gradient over every rollout: of the reference model, and of the policy itself where
            vLLM's log-probabilities are corrected.
        checkpointing: whether the update computes its forward pass twice.
        frozen: whether only adapters are trained, so that the backward pass leaves the weights' own gradients out.
    """
    tokens = sampling = update = 0.0
    pair = 4.0 * size.attention  # a query-key pair, forward
    for batches, longest in lengths:
        mean = machines.mean_share * longest
        drawn = rollouts * mean + prompts * prompt_tokens  # sampled and prefilled
        context = prompt_tokens + mean
        tokens += batches * drawn
        sampling += batches * (2.0 * size.active * drawn + pair * rollouts * mean * (prompt_tokens + mean / 2))
        # Upstream's layout; the update shares a group's prompt on a CPU only.
        forward = 2.0 * size.active * rollouts * context + pair * rollouts * context * context / 2
        update += batches * forward * (iterations * (3 + checkpointing - frozen) + scorings)
    gpu_hours = None
    if peak := machines.peak_tflops:
        seconds = (sampling / machines.sampling_share + update / machines.update_share) / (peak * 1e12)
        gpu_hours = seconds / 3600
    return Work(
        tokens=tokens,
        sampling_flops=sampling,
        update_flops=update,
        gpu_hours=gpu_hours,
        hours=None if gpu_hours is None else gpu_hours / machines.processes,
        cost=None if gpu_hours is None or machines.price is None else gpu_hours * machines.price,
    )
