"""What a recipe would do on given machines, before any of them is used: batch, memory, work, time, money, command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from r1rl import launch, plan_memory, plan_models, recipe
from r1rl.recipe_values import RecipeError

_SHOWN_CHARACTERS = 2000
_GOLD_ROWS = 512


@dataclass(frozen=True)
class Machines:
    """What the recipe would run on, and what is assumed of it.

    Args:
        nodes: machines.
        gpus: a machine's GPUs; 0: one process on its CPU.
        gpu_memory: bytes of one GPU.
        tflops: peak of one GPU in the update's number format, 10^12 operations a second.
        update_share, sampling_share: of the peak that the update and sampling reach.
        mean_share: mean completion length as a share of `max_completion_length`.
        price: of one GPU-hour; None: no cost is shown.
    """

    nodes: int = 1
    gpus: int = 1
    gpu_memory: float = 80e9
    tflops: float = 989.0
    update_share: float = 0.35
    sampling_share: float = 0.05
    mean_share: float = 0.5
    price: float | None = None

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return self.nodes * max(1, self.gpus)


@dataclass(frozen=True)
class Work:
    """Tokens and floating-point operations of the whole run, probes left out, and how long they take."""

    tokens: float
    sampling_flops: float
    update_flops: float
    gpu_hours: float
    hours: float
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """Everything that `lines` prints."""

    loaded: recipe.LoadedRecipe
    machines: Machines
    size: plan_models.Size
    workload: plan_memory.Workload
    memory: dict[str, plan_memory.Memory]
    chosen: str
    work: Work
    prompt_tokens: int
    prompt_counted: bool
    prompt: str
    gold: str
    command: str

    def fits(self, strategy: str) -> bool:
        """Whether a tenth of the GPU's memory is left over, for fragmentation and what the formulas do not know."""
        return self.memory[strategy].peak <= 0.9 * self.machines.gpu_memory

    def content(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {
            "processes": self.machines.processes,
            "batch": asdict(self.loaded.batch),
            "size": asdict(self.size),
            "memory": {
                name: asdict(each) | {"peak": each.peak, "fits": self.fits(name)} for name, each in self.memory.items()
            },
            "chosen": self.chosen,
            "work": asdict(self.work),
            "prompt_tokens": self.prompt_tokens,
            "gold": self.gold,
            "command": self.command,
        }


def make(path: Path, overrides: Sequence[str], machines: Machines, *, check_gold: bool = True) -> Plan:
    """The plan of a recipe; nothing is started, downloaded or written.

    Raises:
        RecipeError: the recipe is wrong, its batch cannot be shared out, or the model's configuration is not here.
    """
    # This machine's defaults must not stand in for those of the planned ones.
    device = ["--use_cpu", str(machines.gpus == 0)]
    loaded = recipe.load(path, [*device, *overrides], world_size=machines.processes, check_only=True)
    own, grpo = loaded.recipe, loaded.grpo
    size = plan_models.size(str(loaded.model.model_name_or_path))
    row = loaded.task.rows("train", 1)[0]
    prompt, prompt_tokens, counted = _first_prompt(loaded, row.question)
    on_gpu = machines.gpus > 0
    stated = loaded.stated
    checkpointing = bool(stated.get("activation_checkpointing", stated.get("gradient_checkpointing", on_gpu)))
    tokens = loaded.batch.rollouts * (prompt_tokens + grpo.max_completion_length)
    workload = plan_memory.Workload(
        processes=machines.processes,
        bf16=bool(stated.get("bf16", on_gpu)),
        weights_bytes=2 if str(loaded.model.dtype) in ("bfloat16", "float16") else 4,
        pass_tokens=_pass_tokens(size, machines, longest=prompt_tokens + grpo.max_completion_length, most=tokens),
        cached_tokens=tokens,
        checkpointing=checkpointing,
        vllm=grpo.vllm_gpu_memory_utilization * machines.gpu_memory
        if grpo.use_vllm and grpo.vllm_mode == "colocate"
        else None,
        embedded=not grpo.use_vllm,
        kv_limit=own.kv_cache_gb * 1e9 if own.kv_cache_gb is not None else None,
    )
    memory = {}
    for name in plan_memory.STRATEGIES:
        memory[name] = plan_memory.memory(name, size, workload)
        if workload.kv_limit is None and workload.embedded:
            # The engine takes at most a quarter of what is free, and lets rows wait.
            free = max(0.0, machines.gpu_memory - memory[name].always - memory[name].sampling)
            memory[name] = replace(memory[name], kv_cache=min(memory[name].kv_cache, free / 4))
    launcher = launch.find(own.launcher, path.parent) if own.launcher else None
    chosen = launcher.path.stem if launcher and launcher.path.stem in memory else "ddp"
    work = _work(size, loaded, machines, prompt_tokens, checkpointing=checkpointing)
    return Plan(
        loaded, machines, size, workload, memory, chosen, work, prompt_tokens, counted, prompt,
        _gold(loaded) if check_gold else "not checked", _command(path, overrides, launcher, machines),
    )  # fmt: skip


def lines(plan: Plan) -> Iterator[str]:
    """The plan for a terminal."""
    loaded, machines, batch = plan.loaded, plan.machines, plan.loaded.batch
    own, grpo = loaded.recipe, loaded.grpo
    size = plan.size
    yield (
        f"model     {loaded.model.model_name_or_path}: {_count(size.parameters)} parameters"
        + (f", {_count(size.active)} active a token" if size.active != size.parameters else "")
        + f" ({size.source})"
    )
    gpus = f"{machines.gpus} GPUs of {_gb(machines.gpu_memory)}" if machines.gpus else "CPU"
    yield f"machines  {machines.nodes} x {gpus}: {machines.processes} processes"
    yield (
        f"batch     {own.prompts_per_step} prompts x {grpo.num_generations} = "
        f"{own.prompts_per_step * grpo.num_generations} rollouts a step; each process {batch.rollouts} rollouts in "
        f"{batch.accumulation_steps} micro-batch(es) of {batch.micro_batch}"
    )
    first = own.prompts_per_step // machines.processes
    shown = min(machines.processes, 4)
    ranks = [f"rank {r}: prompts {r * first}-{(r + 1) * first - 1}" for r in range(shown)]
    yield "          " + ", ".join(ranks) + (" ..." if shown < machines.processes else "")
    yield ""
    yield (
        f"memory of one GPU in GB (10^9 bytes); {plan.chosen} is what the recipe names"
        if own.launcher
        else ("memory of one GPU in GB (10^9 bytes); the recipe names no launcher")
    )
    names = (
        "weights",
        "gradients",
        "optimizer",
        "exchange",
        "activations",
        "sampling",
        "kv_cache",
        "vllm",
        "libraries",
    )
    yield f"  {'':14}" + "".join(f"{name:>12}" for name in (*names, "peak"))
    for name, memory in plan.memory.items():
        values = [getattr(memory, part) for part in (*names, "peak")]
        host = f"; {_gb(memory.host)} of host memory" if memory.host else ""
        verdict = "fits" if plan.fits(name) else "does not fit"
        yield f"  {name:14}" + "".join(f"{value / 1e9:12.2f}" for value in values) + f"  {verdict}{host}"
    yield from ("  " + text for text in assumptions(plan))
    yield from advice(plan)
    yield ""
    work = plan.work
    yield (
        f"work      {grpo.max_steps} steps, {work.tokens:.3g} tokens, {work.sampling_flops:.3g} FLOPs of sampling, "
        f"{work.update_flops:.3g} of the update"
    )
    yield (
        f"time      {work.hours:.3g} hours, {work.gpu_hours:.3g} GPU-hours, if sampling reaches "
        f"{machines.sampling_share:.0%} and the update {machines.update_share:.0%} of {machines.tflops:g} TFLOP/s, and "
        f"a completion has {machines.mean_share:.0%} of {grpo.max_completion_length} tokens; probes left out"
    )
    if work.cost is not None:
        yield f"cost      {work.cost:.2f} at {machines.price:g} a GPU-hour"
    yield f"gold      {plan.gold}"
    counted = (
        f"{plan.prompt_tokens} tokens"
        if plan.prompt_counted
        else (f"about {plan.prompt_tokens} tokens: a third of its characters, no tokenizer is here")
    )
    yield f"prompt    the first of the run, {counted}:"
    yield from (f"  | {line}" for line in plan.prompt[:_SHOWN_CHARACTERS].splitlines())
    yield "command"
    yield f"  {plan.command}"


def assumptions(plan: Plan) -> Iterator[str]:
    """What the memory figures take for granted."""
    work = plan.workload
    yield (
        f"assumed: AdamW; update in {'bfloat16' if work.bf16 else 'float32'}; passes of {work.pass_tokens} tokens "
        f"{'with' if work.checkpointing else 'without'} gradient checkpointing; keys and values of "
        f"{work.cached_tokens} tokens, at most a quarter of what is free"
    )
    yield (
        f"libraries {_gb(plan_memory.LIBRARIES)} are a guess; sampling is the gathered or converted copy of the weights"
    )


def advice(plan: Plan) -> Iterator[str]:
    """Whether the recipe's own choice fits and, if not, what would."""
    need, have = plan.memory[plan.chosen].peak, plan.machines.gpu_memory
    if plan.fits(plan.chosen):
        yield f"fits: {plan.chosen} needs {_gb(need)} of {_gb(have)}"
        return
    yield f"does not fit: {plan.chosen} needs {_gb(need)} of {_gb(have)}, of which a tenth should stay free"
    fitting = [name for name in plan.memory if plan.fits(name)]
    if fitting:
        yield f"  what to change: --launcher {fitting[0]} ({_gb(plan.memory[fitting[0]].peak)})"
    if not plan.workload.checkpointing:
        yield "  what to change: --gradient_checkpointing true keeps one layer's activations instead of all"
    if plan.workload.vllm:
        yield "  what to change: a lower vllm_gpu_memory_utilization, or vLLM on nodes of its own (vllm_mode server)"
    if not fitting:
        memory = plan.memory["zero3"]
        fixed = memory.peak - memory.weights - memory.gradients - memory.optimizer
        left = 0.9 * have - fixed
        shared = (memory.peak - fixed) * plan.machines.processes
        if left > 0:
            yield f"  what to change: zero3 over at least {-(-shared // left):.0f} GPUs"
        else:
            yield "  what to change: a smaller model or larger GPUs; what zero3 cannot share out is too much already"


def _first_prompt(loaded: recipe.LoadedRecipe, question: str) -> tuple[str, int, bool]:
    """The prompt's text, its tokens, and whether they were counted."""
    tokenizer = plan_models.tokenizer(str(loaded.model.model_name_or_path))
    try:
        text = loaded.prompt(tokenizer).render(question)
    except (ValueError, AttributeError, TypeError):
        if tokenizer is not None:
            raise
        text = question  # a chat template is the tokenizer's
    if tokenizer is None:
        return text, max(1, len(text) // 3), False
    return text, len(tokenizer(text)["input_ids"]), True


def _pass_tokens(size: plan_models.Size, machines: Machines, *, longest: int, most: int) -> int:
    """Tokens of one pass of the update, as `scoring.batching_for` chooses them; one row is never cut."""
    a_token = 4 * (size.layers * (13 * size.hidden + 4 * size.intermediate) + size.vocabulary)
    budget, least, largest = (machines.gpu_memory / 4, 2048, 16384) if machines.gpus else (1536 * 2**20, 512, 4096)
    return min(most, max(longest, min(max(int(budget // a_token), least), largest)))


def _work(
    size: plan_models.Size,
    loaded: recipe.LoadedRecipe,
    machines: Machines,
    prompt_tokens: int,
    *,
    checkpointing: bool,
) -> Work:
    """2 FLOPs a parameter and token forward, twice that backward (arXiv 2001.08361, 2.1), once more if recomputed."""
    own, grpo = loaded.recipe, loaded.grpo
    mean = machines.mean_share * grpo.max_completion_length
    rollouts = own.prompts_per_step * grpo.num_generations
    sampled, prompts = rollouts * mean, own.prompts_per_step * prompt_tokens
    pair = 4.0 * size.attention  # a query-key pair, forward
    context = prompt_tokens + mean
    forward = 2.0 * size.active * (sampled + prompts) + pair * rollouts * (mean * (prompt_tokens + mean / 2))
    factor = 4 if checkpointing else 3
    # Upstream's layout; the update shares a group's prompt on a CPU only.
    update = factor * (2.0 * size.active * rollouts * context + pair * rollouts * context * context / 2)
    update *= grpo.num_iterations
    steps = max(1, grpo.max_steps)
    seconds = steps * (forward / machines.sampling_share + update / machines.update_share) / (machines.tflops * 1e12)
    hours = seconds / 3600
    cost = None if machines.price is None else hours * machines.price
    return Work(steps * (sampled + prompts), steps * forward, steps * update, hours, hours / machines.processes, cost)


def _gold(loaded: recipe.LoadedRecipe) -> str:
    """Whether the gold answers of the first problems can be used."""
    from r1rl.verify import gold

    rows = loaded.task.rows("train", min(loaded.recipe.train_size, _GOLD_ROWS))
    try:
        reasons = gold.check(loaded.task.verifier, rows)
    except RecipeError as error:
        return f"not checked: {error}"
    bad = [reason for reason in reasons if reason]
    if not bad:
        return f"all of the first {len(rows)} gold answers are usable"
    reason, count = gold.most_common(bad)
    return f"{len(bad)} of the first {len(rows)} gold answers are unusable, most often ({count}): {reason[:200]}"


def _command(path: Path, overrides: Sequence[str], launcher: launch.Launcher | None, machines: Machines) -> str:
    """What `r1rl train` would start, on the first of the machines."""
    if launcher is None:
        if machines.processes > 1:
            return f"r1rl train {path} --launcher ddp:{machines.processes}   (the recipe names no launcher)"
        return shlex.join(["r1rl", "train", str(path), *overrides])
    if launcher.counted:
        note = (
            ""
            if launcher.processes == machines.processes
            else (f"   ({launcher.path} says {launcher.processes} processes; planned are {machines.processes})")
        )
        return shlex.join(launch.command(launcher, path, overrides)) + note
    spread = replace(launcher, processes=machines.processes, machines=machines.nodes)
    return shlex.join(launch.command(spread, path, overrides))


def _gb(value: float) -> str:
    return f"{value / 1e9:.1f} GB"


def _count(value: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if value >= unit:
            return f"{value / unit:.2f}{name}"
    return str(value)
