"""What a recipe would do on given machines, before any of them is used: batch, memory, work, time, money, command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from r1rl.ground.errors import RecipeError
from r1rl.launch import start
from r1rl.models import fit
from r1rl.models import resolve as models
from r1rl.plan import memory, sizes, work
from r1rl.plan.work import Machines
from r1rl.recipe import checks, launchers
from r1rl.recipe import load as recipe
from r1rl.update import batching

_GOLD_ROWS = 512
_READ_ROWS = 4096  # whose prompts are held against the model's positions
_HEAP_COPIES = 3  # on a CPU the heap comes to hold about so many of what is in the cache at once
_MEMORY_SHARE = 0.25  # of what is free, for the embedded engine's keys and values


@dataclass(frozen=True)
class Plan:
    """Everything that `r1rl.plan.text.lines` prints."""

    loaded: recipe.LoadedRecipe
    machines: Machines
    size: sizes.Size
    workload: memory.Workload
    memory: dict[str, memory.Memory]
    chosen: str
    work: work.Work
    prompt_tokens: int
    prompt_counted: bool
    prompt: str
    gold: str
    command: str

    def fits(self, strategy: str) -> bool:
        """Whether a tenth of the memory is left over, for fragmentation and what the formulas do not know."""
        return self.memory[strategy].peak <= 0.9 * self.machines.share

    @property
    def vllm_cache_tokens(self) -> float | None:
        """Tokens whose keys and values fit beside the weights in what one of colocated vLLM's GPUs reserves."""
        if not self.workload.vllm:
            return None
        shards = self.loaded.grpo.vllm_tensor_parallel_size
        left = self.workload.vllm - 2.0 * self.size.parameters / shards
        return left / (2.0 * self.size.kv_values / min(shards, self.size.kv_heads))

    def content(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {
            "processes": self.machines.processes,
            "batch": asdict(self.loaded.batch),
            "size": asdict(self.size),
            "memory": {
                name: asdict(each) | {"peak": each.peak, "fits": self.fits(name)} for name, each in self.memory.items()
            },
            "memory_each": self.machines.share,
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
    on_cpu = machines.gpus == 0
    # This machine's defaults must not stand in for those of the planned ones.
    words = ["--use_cpu", str(on_cpu), *overrides]
    loaded = recipe.load(path, words, world_size=1, check_only=True, need_data=check_gold)
    own, grpo, stated = loaded.recipe, loaded.grpo, loaded.stated
    if machines.price is None:
        machines = replace(machines, price=own.price)
    launcher = launchers.find(own.launcher, path.parent) if own.launcher else None
    if on_cpu and launcher and launcher.processes:
        machines = replace(machines, cpu_processes=max(1, launcher.processes // machines.nodes))
    loaded = replace(
        loaded,
        world_size=machines.processes,
        batch=recipe.derive_batch(
            own.prompts_per_step,
            grpo.num_generations,
            machines.processes,
            stated.get("per_device_train_batch_size"),
            own.steps_per_generation,
        ),
    )
    loaded.check_here()
    size = sizes.size(str(loaded.model.model_name_or_path))
    _check_fit(loaded)
    prompt, prompt_tokens, counted = _first_prompt(loaded, loaded.task.rows("train", 1)[0].question)
    workload = _workload(loaded, machines, size, prompt_tokens)
    held = {name: _with_cache(memory.memory(name, size, workload), workload, machines) for name in memory.STRATEGIES}
    corrected = grpo.use_vllm and grpo.vllm_importance_sampling_correction
    lengths = loaded.schedules.get("max_completion_length")
    steps = max(1, grpo.max_steps)
    done = work.work(
        size,
        machines,
        lengths=[
            (part / loaded.generate_every, int(longest))
            for part, longest in (lengths.parts(steps) if lengths else [(steps, grpo.max_completion_length)])
        ],
        prompts=own.prompts_per_step,
        rollouts=own.prompts_per_step * grpo.num_generations,
        prompt_tokens=prompt_tokens,
        iterations=grpo.num_iterations,
        scorings=int(workload.reference) + int(corrected),
        checkpointing=workload.checkpointing,
        frozen=workload.adapters is not None,
    )
    return Plan(
        loaded=loaded,
        machines=machines,
        size=size,
        workload=workload,
        memory=held,
        chosen=launcher.path.stem if launcher and launcher.path.stem in held else "ddp",
        work=done,
        prompt_tokens=prompt_tokens,
        prompt_counted=counted,
        prompt=prompt,
        gold=_gold(loaded) if check_gold else "not checked",
        command=_command(path, overrides, launcher, machines),
    )


def _workload(loaded: recipe.LoadedRecipe, machines: Machines, size: sizes.Size, prompt_tokens: int) -> memory.Workload:
    """What one process has to hold, read from the recipe."""
    grpo, stated = loaded.grpo, loaded.stated
    on_gpu = machines.gpus > 0
    row = prompt_tokens + grpo.max_completion_length
    colocated = grpo.use_vllm and grpo.vllm_mode == "colocate"
    limit = loaded.recipe.kv_cache_gb
    return memory.Workload(
        processes=machines.processes,
        bf16=bool(stated.get("bf16", on_gpu)),
        weights_bytes=2 if str(loaded.model.dtype) in ("bfloat16", "float16") else 4,
        pass_tokens=_pass_tokens(loaded, machines, size, prompt_tokens),
        context=row,
        cached_tokens=_cached_tokens(loaded, machines, prompt_tokens),
        checkpointing=bool(stated.get("activation_checkpointing", stated.get("gradient_checkpointing", on_gpu))),
        vllm=grpo.vllm_gpu_memory_utilization * machines.share if colocated else None,
        embedded=not grpo.use_vllm,
        kv_limit=limit and (1 if on_gpu else _HEAP_COPIES) * max(limit * 1e9, 4.0 * row * size.kv_values),
        vllm_sleeps=colocated and grpo.vllm_enable_sleep_mode,
        reference=grpo.beta > 0,
        on_cpu=not on_gpu,
        adapters=_adapters(loaded),
    )


def _adapters(loaded: recipe.LoadedRecipe) -> int | None:
    """Parameters of LoRA's adapters; None without them."""
    model = loaded.model
    if not model.use_peft:
        return None
    targets = model.lora_target_modules
    return sizes.adapters(
        str(model.model_name_or_path), model.lora_r, [targets] if isinstance(targets, str) else targets
    )


def _cached_tokens(loaded: recipe.LoadedRecipe, machines: Machines, prompt_tokens: int) -> int:
    """Tokens in the embedded engine's cache: of a step's rollouts or of an evaluation, whichever are more.

    On a CPU with both copies of the prompts (prefilled, shared), and with half of an evaluation's greedy part besides
    its sampled part: the heap finds no place for all of it in what was freed. Memory that no token was written to is
    not resident, so that a row counts between the mean and the greatest length.
    """
    own, grpo = loaded.recipe, loaded.grpo
    copies = 1 if machines.gpus else 2
    longest = grpo.max_completion_length
    row = longest if machines.gpus else round(longest * (1 + min(1.0, machines.mean_share)) / 2)

    def held(prompts: int, rows_each: int) -> int:
        return prompts * (rows_each * row + copies * prompt_tokens)

    evaluated = -(-own.heldout_size // machines.processes)
    step = held(loaded.batch.rollouts // grpo.num_generations, grpo.num_generations)
    sampled, greedy = held(evaluated, int(grpo.num_generations_eval)), held(evaluated, 1)
    return max(step, max(sampled, greedy) if machines.gpus else sampled + greedy // 2)


def _pass_tokens(loaded: recipe.LoadedRecipe, machines: Machines, size: sizes.Size, prompt_tokens: int) -> int:
    """Tokens of the largest pass of the update, laid out as `scoring.batching_for` and `batching` do.

    On a CPU completions, all of mean length here, share their group's prompt; elsewhere a row is a prompt and one
    completion, of the greatest length, and is never cut.
    """
    grpo, micro_batch = loaded.grpo, loaded.batch.micro_batch
    a_token = 4 * (size.layers * (13 * size.hidden + 4 * size.intermediate) + size.vocabulary)
    if machines.gpus:
        row = prompt_tokens + grpo.max_completion_length
        most = min(max(int(machines.share / 4 // a_token), 2048), 16384)
        return min(micro_batch * row, max(row, most))
    most = min(max(int(1536 * 2**20 // a_token), 512), 4096)
    mean = max(1, round(machines.mean_share * grpo.max_completion_length))
    prompts = [[i // grpo.num_generations] * prompt_tokens for i in range(micro_batch)]
    passes = batching.fill(prompts, [mean] * micro_batch, most)
    return max(sum(row.width for row in rows) for rows in passes)


def _with_cache(held: memory.Memory, workload: memory.Workload, machines: Machines) -> memory.Memory:
    """With the embedded engine's keys and values in at most a quarter of what is free: other rows wait."""
    if workload.kv_limit is not None or not workload.embedded:
        return held
    free = max(0.0, machines.share - held.always - held.sampling)
    copies = 1 if machines.gpus else _HEAP_COPIES
    return replace(held, kv_cache=min(held.kv_cache, copies * free * _MEMORY_SHARE))


def _first_prompt(loaded: recipe.LoadedRecipe, question: str) -> tuple[str, int, bool]:
    """The prompt's text, its tokens, and whether they were counted."""
    tokenizer = loaded.tokenizer
    if tokenizer is None and loaded.recipe.prompt_template == "chat":
        text = question  # a chat template is the tokenizer's
    else:
        text = loaded.prompt(tokenizer).render(question)
    if tokenizer is None:
        return text, max(1, len(text) // 3), False
    return text, len(tokenizer(text)["input_ids"]), True


def _check_fit(loaded: recipe.LoadedRecipe) -> None:
    """Raise what training would, where the model's configuration and tokenizer are here."""
    name, longest = str(loaded.model.model_name_or_path), int(loaded.grpo.max_completion_length)
    folder, tokenizer = models.folder(name), loaded.tokenizer
    if folder is None:
        return
    config, ends = fit.configuration(str(folder))
    if tokenizer is None:
        fit.check_positions(fit.positions(config), 1, longest)
        return
    fit.name_end(tokenizer, config, ends)
    rows = loaded.task.rows("train", min(loaded.recipe.train_size, _READ_ROWS))
    checks.check_model(loaded, tokenizer, config, ends, [row.question for row in rows])


def _gold(loaded: recipe.LoadedRecipe) -> str:
    """Whether the gold answers of the first problems can be used."""
    from r1rl.tasks import gold

    rows = loaded.task.rows("train", min(loaded.recipe.train_size, _GOLD_ROWS))
    try:
        reasons = gold.check_task(loaded.task, rows)
    except RecipeError as error:
        return f"not checked: {error}"
    bad = [reason for reason in reasons if reason]
    if not bad:
        return f"all of the first {len(rows)} gold answers are usable"
    reason, count = gold.most_common(bad)
    return f"{len(bad)} of the first {len(rows)} gold answers are unusable, most often ({count}): {reason[:200]}"


def _command(path: Path, overrides: Sequence[str], launcher: launchers.Launcher | None, machines: Machines) -> str:
    """What `r1rl train` would start, on the first of the machines."""
    if launcher is None:
        several = ["--launcher", f"ddp:{machines.processes}"] if machines.processes > 1 else []
        return shlex.join(["r1rl", "train", str(path), *several, *overrides])
    if not launcher.counted:
        launcher = replace(launcher, processes=machines.processes, machines=machines.nodes)
    command = shlex.join(start.command(launcher, path, overrides))
    if launcher.processes != machines.processes:
        command += f"   ({launcher.path} says {launcher.processes} processes; planned are {machines.processes})"
    return command
