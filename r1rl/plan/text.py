"""A plan for a terminal: its figures, what they take for granted, and what to change where nothing fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from r1rl.ground.errors import RecipeError
from r1rl.plan.plan import Plan
from r1rl.recipe import checks
from r1rl.tasks import curriculum

_SHOWN_CHARACTERS = 2000
_PARTS = (
    "weights", "reference", "gradients", "optimizer", "exchange", "activations", "sampling", "kv_cache", "vllm",
    "libraries", "heap", "peak",
)  # fmt: skip


def lines(plan: Plan) -> Iterator[str]:
    """The whole plan."""
    loaded, machines, batch = plan.loaded, plan.machines, plan.loaded.batch
    own, grpo, size = loaded.recipe, loaded.grpo, plan.size
    yield (
        f"model     {loaded.model.model_name_or_path}: {_count(size.parameters)} parameters"
        + (f", {_count(size.active)} active a token" if size.active != size.parameters else "")
        + f" ({size.source})"
        + (f"; {_count(adapters)} in adapters are trained" if (adapters := plan.workload.adapters) is not None else "")
    )
    kind = f"{machines.gpus} GPUs of {_gb(machines.share)}" if machines.gpus else "CPU"
    each = "" if machines.gpus else f", {_gb(machines.share)} of memory each"
    yield f"machines  {machines.nodes} x {kind}: {machines.processes} process(es){each}"
    rollouts = own.prompts_per_step * grpo.num_generations
    yield (
        f"batch     {own.prompts_per_step} prompts x {grpo.num_generations} = {rollouts} rollouts sampled at once; "
        f"each process {batch.rollouts}"
    )
    again = f", {grpo.num_iterations} times over" if grpo.num_iterations > 1 else ""
    yield (
        f"update    {batch.steps} optimizer step(s) of {rollouts // batch.steps} rollouts{again}; each process "
        f"{batch.accumulation_steps} micro-batch(es) of {batch.micro_batch} a step"
    )
    yield from (f"changes   {key}: {schedule}" for key, schedule in loaded.schedules.items())
    yield from (f"levels    {part}{': ' if part else ''}{its}" for part, its in curriculum.of(loaded.task).items())
    yield ""
    yield from memory_table(plan)
    yield from ("  " + text for text in assumptions(plan))
    yield from advice(plan)
    yield ""
    yield from work(plan)
    yield f"gold      {plan.gold}"
    guessed = "" if plan.prompt_counted else " (a third of its characters: no tokenizer is here)"
    yield f"prompt    the first of the run, {plan.prompt_tokens} tokens{guessed}:"
    yield from (f"  | {line}" for line in plan.prompt[:_SHOWN_CHARACTERS].splitlines())
    yield "command"
    yield f"  {plan.command}"


def memory_table(plan: Plan) -> Iterator[str]:
    """Memory by strategy, in 10^9 bytes; parts that are nowhere needed are left out."""
    of = "one GPU" if plan.machines.gpus else "one process, resident,"
    own = f"{plan.chosen} is what the recipe names" if plan.loaded.recipe.launcher else "the recipe names no launcher"
    yield f"memory of {of} in GB (10^9 bytes); {own}"
    used = [part for part in _PARTS if any(getattr(each, part) for each in plan.memory.values())]
    yield f"  {'':14}" + "".join(f"{name:>12}" for name in used)
    for name, held in plan.memory.items():
        host = f"; {_gb(held.host)} of host memory" if held.host else ""
        verdict = "fits" if plan.fits(name) else "does not fit"
        yield f"  {name:14}" + "".join(f"{getattr(held, part) / 1e9:12.2f}" for part in used) + f"  {verdict}{host}"


def work(plan: Plan) -> Iterator[str]:
    """Tokens, operations, hours, cost."""
    done, machines, grpo = plan.work, plan.machines, plan.loaded.grpo
    changes = "max_completion_length" in plan.loaded.schedules
    longest = "the tokens that it may have" if changes else f"{grpo.max_completion_length} tokens"
    yield (
        f"work      {grpo.max_steps} steps, {done.tokens:.3g} tokens, {done.sampling_flops:.3g} FLOPs of sampling, "
        f"{done.update_flops:.3g} of the update; a completion has {machines.mean_share:.0%} of {longest}"
    )
    if done.hours is None:
        yield "time      not estimated for a CPU; --tflops with the peak of one process's cores gives a figure"
    else:
        unit = "GPU-hours" if machines.gpus else "process-hours"
        yield (
            f"time      {done.hours:.3g} hours, {done.gpu_hours:.3g} {unit}, if sampling reaches "
            f"{machines.sampling_share:.0%} and the update {machines.update_share:.0%} of "
            f"{machines.peak_tflops:g} TFLOP/s; held-out evaluation left out"
        )
    if done.cost is not None:
        yield f"cost      {done.cost:.2f} at {machines.price:g} a GPU-hour"
    limits = checks.limits(plan.loaded.recipe)
    if limits.stated:
        told = list(limits.reached(done.hours, done.tokens, done.cost))
        yield f"budget    ends the run before its last step: {', '.join(told)}" if told else "budget    not reached"


def assumptions(plan: Plan) -> Iterator[str]:
    """What the memory figures take for granted."""
    needs = plan.workload
    yield (
        f"assumed: AdamW; update in {'bfloat16' if needs.bf16 else 'float32'}; passes of {needs.pass_tokens} tokens "
        f"{'with' if needs.checkpointing else 'without'} gradient checkpointing"
        + (f"; keys and values of {needs.cached_tokens} tokens, at most a quarter of what is free"
           if needs.embedded else "")
    )  # fmt: skip
    if (tokens := plan.vllm_cache_tokens) is not None:
        shards = plan.loaded.grpo.vllm_tensor_parallel_size
        over = f", cut over {shards} GPUs," if shards > 1 else ""
        yield (
            f"vLLM reserves {_gb(plan.workload.vllm or 0.0)}: the weights{over} and keys and values of "
            f"{max(0.0, tokens):.3g} tokens; "
            + ("it gives them back during the update" if needs.vllm_sleeps else "it keeps them during the update")
        )


def advice(plan: Plan) -> Iterator[str]:
    """Whether the recipe's own choice fits and, if not, what would."""
    need, have = plan.memory[plan.chosen].peak, plan.machines.share
    longest = plan.prompt_tokens + plan.loaded.grpo.max_completion_length
    tokens = plan.vllm_cache_tokens
    if tokens is not None and tokens < longest:
        yield (f"does not fit: vLLM's share has no room for one sequence of {longest} tokens beside the weights")
        yield "  what to change: a higher vllm_gpu_memory_utilization, or a larger vllm_tensor_parallel_size"
    if plan.fits(plan.chosen):
        yield f"fits: {plan.chosen} needs {_gb(need)} of {_gb(have)}"
        return
    yield f"does not fit: {plan.chosen} needs {_gb(need)} of {_gb(have)}, of which a tenth should stay free"
    fitting = [name for name in plan.memory if plan.fits(name)]
    held, vllm = plan.memory["zero3"], bool(plan.workload.vllm)
    shared = held.weights + held.reference + held.gradients + held.optimizer
    left = 0.9 * have - (held.peak - shared)
    unit = "GPUs" if plan.machines.gpus else "processes on machines of their own"
    changes = {
        "".join(f"--launcher {name} ({_gb(plan.memory[name].peak)})" for name in fitting[:1]): bool(fitting),
        "--gradient_checkpointing true keeps one layer's activations instead of all": not plan.workload.checkpointing,
        "a lower vllm_gpu_memory_utilization, or vLLM on nodes of its own (vllm_mode server)": vllm,
        "--vllm_enable_sleep_mode true, so that vLLM gives its memory back in the update": vllm
        and not plan.workload.vllm_sleeps,
        f"zero3 over at least {-(-shared * plan.machines.processes // max(left, 1.0)):.0f} {unit}": not fitting
        and left > 0,
        "a smaller model or larger GPUs; what zero3 cannot share out is too much already": not fitting and left <= 0,
    }
    yield from (f"  what to change: {text}" for text, helps in changes.items() if helps)


def check(plan: Plan, run: Path) -> Iterator[str]:
    """Predicted peak of resident memory, that which a finished run of the same recipe recorded, and their ratio.

    Raises:
        RecipeError: no finished run, it recorded no peaks, or it was another one: GPUs, another number of processes.
    """
    try:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"check={run}: no finished run there ({type(error).__name__}); give a run's folder"
        ) from error
    peaks = [peak for peak in result.get("peak_memory_bytes") or [] if isinstance(peak, int)]
    if not peaks:
        raise RecipeError(f"check={run}: this run recorded no peak memory; run it again, a few steps will do")
    if environment.get("gpus") or plan.machines.gpus:
        raise RecipeError("check: a run on GPUs records the resident memory alone, which plan does not predict")
    if len(peaks) != plan.machines.processes:
        raise RecipeError(
            f"check: the run had {len(peaks)} process(es), planned are {plan.machines.processes}; give the run's own "
            "recipe, recipe.yaml in its folder"
        )
    predicted, largest = plan.memory[plan.chosen].peak, max(peaks)
    yield (
        f"check     {plan.chosen}: predicted {predicted / 1e9:.3f} GB, measured {largest / 1e9:.3f} GB at most in one "
        f"of {len(peaks)} process(es)"
    )
    yield f"          predicted / measured = {predicted / largest:.2f}"


def _gb(value: float) -> str:
    return f"{value / 1e9:.1f} GB"


def _count(value: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if value >= unit:
            return f"{value / unit:.2f}{name}"
    return str(value)
