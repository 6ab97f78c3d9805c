"""Tokens, floating-point operations, hours and cost of a whole run. Held-out evaluation is left out."""

from __future__ import annotations

from dataclasses import dataclass

from r1rl.plan.sizes import Size

H100_TFLOPS = 989.0  # bfloat16 without sparsity, as NVIDIA states it


@dataclass(frozen=True)
class Rates:
    """What is assumed of the machines and of the completions.

    Args:
        tflops: peak of one GPU in the update's number format, 10^12 operations a second; None: that of an H100, and
            for a CPU nobody's, so that its hours are not known.
        update_share, sampling_share: of the peak that the update and sampling reach.
        mean_share: mean completion length as a share of `max_completion_length`.
        price: of one GPU-hour; None: no cost is shown.
    """

    tflops: float | None = None
    update_share: float = 0.35
    sampling_share: float = 0.05
    mean_share: float = 0.5
    price: float | None = None


@dataclass(frozen=True)
class Batch:
    """The work of one step over all processes.

    Args:
        prompts, rollouts: numbers of distinct prompts and of rollouts.
        prompt_tokens: tokens of one prompt.
        longest: `max_completion_length`.
        updates: how often the same rollouts are used (`num_iterations`).
        scorings: passes without a gradient over every rollout: of the reference model, and of the policy itself where
            vLLM's log-probabilities are corrected.
        checkpointing: whether the update computes its forward pass twice.
    """

    prompts: int
    rollouts: int
    prompt_tokens: int
    longest: int
    updates: int
    scorings: int
    checkpointing: bool


@dataclass(frozen=True)
class Work:
    """Tokens, operations, hours and cost of the whole run; hours and cost are None where no peak is known."""

    tokens: float
    sampling_flops: float
    update_flops: float
    gpu_hours: float | None
    hours: float | None
    cost: float | None


def work(size: Size, batch: Batch, rates: Rates, steps: int, processes: int) -> Work:
    """2 FLOPs a parameter and token forward, twice that backward (arXiv 2001.08361, 2.1), once more if recomputed."""
    mean = rates.mean_share * batch.longest
    sampled, prompts = batch.rollouts * mean, batch.prompts * batch.prompt_tokens
    pair = 4.0 * size.attention  # a query-key pair, forward
    context = batch.prompt_tokens + mean
    sampling = 2.0 * size.active * (sampled + prompts) + pair * batch.rollouts * (
        mean * (batch.prompt_tokens + mean / 2)
    )
    # Upstream's layout; the update shares a group's prompt on a CPU only.
    forward = 2.0 * size.active * batch.rollouts * context + pair * batch.rollouts * context * context / 2
    update = forward * (batch.updates * (4 if batch.checkpointing else 3) + batch.scorings)
    gpu_hours = None
    if rates.tflops is not None:
        seconds = steps * (sampling / rates.sampling_share + update / rates.update_share) / (rates.tflops * 1e12)
        gpu_hours = seconds / 3600
    return Work(
        tokens=steps * (sampled + prompts),
        sampling_flops=steps * sampling,
        update_flops=steps * update,
        gpu_hours=gpu_hours,
        hours=None if gpu_hours is None else gpu_hours / processes,
        cost=None if gpu_hours is None or rates.price is None else gpu_hours * rates.price,
    )
