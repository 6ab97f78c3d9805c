"""Train on made-up rollouts twice, with r1rl's update and with upstream's, and compare the gradients.

    train_both_ways.py FOLDER --key value ...   trains and writes FOLDER/result.json; any launcher may start it
    train_both_ways.py --table                  starts that in every setup and prints the differences as a table

Plain gradient descent, so that weights move by the sum of the gradients.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from made_up_batch import batch
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from r1rl.launch import start as launch
from r1rl.recipe import load as recipe
from r1rl.train import main as train
from r1rl.train.trainer import ZeroTrainer
from r1rl.update.batching import Batching, Cost

ROOT = Path(__file__).resolve().parents[1]
# Loss types, and what TRL reads besides.
LOSSES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo"},
    "cispo": {"loss_type": "cispo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
}
# Processes, the stage of DeepSpeed's ZeRO (0: DDP where there are several processes), and whether LoRA is trained.
SETUPS = {
    f"{name}{', LoRA' if lora else ''}": (processes, stage, lora)
    for name, processes, stage in (("1 process", 1, 0), ("DDP x2", 2, 0), ("ZeRO-2 x2", 2, 2), ("ZeRO-3 x2", 2, 3))
    for lora in (False, True)
}
TRAINED = "weights, 3 steps"
LIMIT = 1e-5  # of |ours - theirs| / |theirs|


def rollouts(step: int, rank: int, world_size: int, rows: int) -> dict[str, Any]:
    """Every process's own; in the first step the first of several has no signal, in the second none has."""
    parts = [batch(rows // 4, completion=12 + 8 * (step == 2) * r, seed=10 * step + r) for r in range(world_size)]
    total = sum(part["num_items_in_batch"] for part in parts)
    mine = parts[rank]
    if step == 1 or (step == 0 and rank == 0 and world_size > 1):
        mine["advantages"].zero_()
    return mine | {"num_items_in_batch": total}


def run(folder: Path, words: Sequence[str], ours: bool) -> dict[str, Any]:
    """One training of three steps; after ours, the gradients both ways of other loss types.

    Where a batch of rollouts serves several steps, it is one with signal in every process, and no other loss is tried.
    """
    words = ["--loss_type", "dapo", *words, "--name", "ours" if ours else "theirs", "--optim", "sgd"]
    words += ["--learning_rate", "0.5", "--max_steps", "3", "--lr_scheduler_type", "linear", "--eval_steps", "0"]
    loaded = recipe.load(ROOT / "recipes" / "tiny" / "countdown.yaml", words)
    trainer, _ = train.build_trainer(loaded, train.open_folder(loaded), *train.find_model(loaded))
    trainer.callback_handler.callbacks = trainer.callback_handler.callbacks[:1]  # no probes, no guards
    trainer._can_score = ours
    trainer._batching = Batching(40, True, True, Cost(1.0, 0.0))  # several passes
    rank, world_size = trainer.accelerator.process_index, trainer.accelerator.num_processes
    calls = []
    several = loaded.batch.steps > 1

    def made_up(inputs: Any) -> dict[str, Any]:
        # With two iterations a batch serves two steps, as it would if it had been sampled.
        step = 2 if several else len(calls) * trainer.num_iterations
        mine = rollouts(step, rank, world_size, loaded.batch.rollouts)
        calls.append(len(inputs))
        if loaded.generate_every > 1:
            ids, mask = (torch.cat([mine[f"prompt_{x}"], mine[f"completion_{x}"]], 1) for x in ("ids", "mask"))
            with torch.no_grad():
                mine["old_per_token_logps"], _, _ = trainer._get_per_token_logps_and_entropies(
                    trainer.model, ids, mask, mine["completion_ids"].shape[1]
                )
        return mine

    rates = []
    log = trainer.log

    def logged(values: dict[str, float], *rest: Any) -> None:
        if "learning_rate" in values:
            rates.append(values["learning_rate"])
        log(values, *rest)

    trainer._generate_and_score_completions, trainer.log = made_up, logged
    gradients = Gradients(trainer)
    trainer.add_callback(gradients)
    trainer.train()
    trainer.save_model(str(folder / ("ours" if ours else "theirs")))
    return {
        "steps": trainer.state.global_step,
        "schedule": trainer.lr_scheduler.scheduler.last_epoch // world_size
        if hasattr(trainer.lr_scheduler, "scheduler")
        else trainer.lr_scheduler.last_epoch,
        "rates": rates,
        "world_size": world_size,
        "rank": rank,
        "gradient": gradients.first,
        "cells": differences(trainer, gradients) if ours and not several else {},
        "sampled": len(calls),
    }


class Gradients(TrainerCallback):
    """Keeps gradients as the optimizer gets them, reduced over all processes: of the first step, and when asked."""

    def __init__(self, trainer: ZeroTrainer) -> None:
        self.trainer = trainer
        self.first: dict[str, torch.Tensor] = {}
        self.latest: dict[str, torch.Tensor] = {}
        self.patched = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.first and not self.trainer.is_deepspeed_enabled:
            self.first = self.of(self.trainer.model)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """DeepSpeed steps within the backward pass, and has no gradients after that."""
        if self.patched or not self.trainer.is_deepspeed_enabled:
            return
        self.patched = True
        engine = self.trainer.accelerator.deepspeed_engine_wrapped.engine
        step = engine.step

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.latest = self.of(engine.module)
            self.first = self.first or self.latest
            return step(*args, **kwargs)

        engine.step = stepped

    def of(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Every trained parameter's gradient; with ZeRO all processes must call it together."""
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if self.trainer.is_deepspeed_enabled:
            from deepspeed.utils import safe_get_full_grad

            return {name: safe_get_full_grad(p).clone() for name, p in trained.items()}
        return {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}

    def back(self, parts: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The gradient of an accumulated batch, from its micro-batches."""
        trainer = self.trainer
        model, state = trainer.model_wrapped, trainer.accelerator.gradient_state
        scaling = {"scale_wrt_gas": False} if trainer.is_deepspeed_enabled else {}
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = len(parts)
        trainer.model.zero_grad()
        for k, part in enumerate(parts):
            last = k == len(parts) - 1
            state._set_sync_gradients(last)
            waits = not last and isinstance(model, DistributedDataParallel)
            with model.no_sync() if waits else nullcontext():
                trainer.accelerator.backward(trainer._compute_loss(model, part), **scaling)
        return self.latest if trainer.is_deepspeed_enabled else self.of(trainer.model)


def relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """|ours - theirs| / |theirs| over all parameters."""
    assert ours.keys() == theirs.keys(), "the same parameters must have gradients"
    apart = sum((ours[k] - theirs[k]).double().square().sum().item() for k in theirs)
    return (apart / sum(g.double().square().sum().item() for g in theirs.values())) ** 0.5


def differences(trainer: ZeroTrainer, gradients: Gradients) -> dict[str, float]:
    """Of the reduced gradient: by loss type, with and without KL, in one and two micro-batches."""
    trainer.model.train()
    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    # Every DeepSpeed gradient comes with a step. The schedule has ended, so that it moves nothing.
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {0.0}
    found = {}
    for name, settings in LOSSES.items():
        for key, value in {"importance_sampling_level": "token", **settings}.items():
            setattr(trainer, key, value)
        for trainer.beta in (0.0, 0.05):
            for count in (1, 2):
                parts = [rollouts(2 + part, rank, processes, 8) for part in range(count)]
                total = sum(part["num_items_in_batch"] for part in parts)
                for part in parts:
                    part["num_items_in_batch"] = total
                    if trainer.beta:
                        part["ref_per_token_logps"] = torch.full(part["completion_ids"].shape, -2.0)
                both = []
                for trainer._can_score in (True, False):
                    both.append(gradients.back(parts))
                found[cell(name, bool(trainer.beta), count)] = relative_difference(*both)
    return found


def cell(loss: str, kl: bool, micro_batches: int) -> str:
    return f"{loss}, {'KL' if kl else 'no KL'}, {micro_batches} micro-batch{'es' * (micro_batches > 1)}"


CELLS = [cell(loss, kl, count) for loss in LOSSES for kl in (False, True) for count in (1, 2)]


def compare(folder: Path, words: Sequence[str]) -> dict[str, Any] | None:
    """Both trainings in this process; the first process returns what it found.

    Returns:
        `difference` and `moved`: how far the trained weights are apart, and from where they began;
        `first_gradient`: relative difference of the first step's gradients; `cells`: that of `differences`;
        `steps`, `schedule`, `learning_rates`: of each training; `world_size`.
    """
    done = [run(folder, words, ours) for ours in (True, False)]
    if done[0]["rank"]:
        return None
    ours, theirs = (saved(folder / name) for name in ("ours", "theirs"))
    if any("lora_B" in name for name in theirs):
        first = {name: torch.zeros_like(w) for name, w in theirs.items() if "lora_B" in name}
    else:
        first = saved(Path(words[words.index("--model_name_or_path") + 1]))
    return {
        "difference": sum((ours[k] - theirs[k]).double().square().sum().item() for k in theirs) ** 0.5,
        "moved": sum((theirs[k] - first[k]).double().square().sum().item() for k in first) ** 0.5,
        "steps": [d["steps"] for d in done],
        "schedule": [d["schedule"] for d in done],
        "learning_rates": [d["rates"] for d in done],
        "world_size": done[0]["world_size"],
        "first_gradient": relative_difference(*(d["gradient"] for d in done)),
        "cells": done[0]["cells"],
        "sampled": [d["sampled"] for d in done],
    }


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder, of the adapter if it holds one."""
    adapter = folder / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else folder / "model.safetensors")


def start(
    folder: Path, words: Sequence[str], *, processes: int = 1, stage: int = 0, lora: bool = False
) -> dict[str, Any]:
    """`compare` in processes of its own, see `SETUPS`; raises RuntimeError with their last words where they fail."""
    if "--per_device_train_batch_size" not in words:
        words = [*words, "--per_device_train_batch_size", str(8 // processes)]
    if lora:
        words += ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "down_proj"]
    command = [sys.executable]
    if processes > 1:
        config = ROOT / "recipes" / "accelerate" / "cpu_ddp2.yaml"
        if stage:
            words += ["--ddp_backend", "gloo"]
            config = folder / "zero.yaml"
            config.write_text(
                "distributed_type: DEEPSPEED\nuse_cpu: false\nmixed_precision: 'no'\nnum_machines: 1\n"
                f"num_processes: {processes}\nrdzv_backend: static\nsame_network: true\ndeepspeed_config:\n"
                f"  zero_stage: {stage}\n  gradient_accumulation_steps: 2\n  gradient_clipping: 1.0\n"
                "  offload_optimizer_device: none\n  offload_param_device: none\n  zero3_init_flag: false\n"
                "  zero3_save_16bit_model: true\n"
            )
        command += ["-m", "accelerate.commands.launch", "--main_process_port", str(launch.free_port())]
        command += ["--config_file", str(config)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command += [str(Path(__file__).resolve()), str(folder), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads((folder / "result.json").read_text())


def print_table() -> float:
    """Every setup's differences as a Markdown table; returns the largest."""
    from r1rl.models.base import pretrain

    with tempfile.TemporaryDirectory() as scratch:
        config = pretrain.PretrainConfig(hidden=64, layers=2, intermediate=128, steps=5, batch=16, block_tokens=96)
        for part in pretrain.pretrain(config):
            part.save_pretrained(Path(scratch, "base"))
        columns: dict[str, dict[str, float]] = {}
        for name, (processes, stage, lora) in SETUPS.items():
            folder = Path(scratch, name.replace(" ", "-"))
            folder.mkdir()
            settings = {
                "model_name_or_path": Path(scratch, "base"), "runs_dir": folder / "runs", "prompts_per_step": 4,
                "num_generations": 4, "max_completion_length": 48, "heldout_size": 2, "train_size": 8,
            }  # fmt: skip
            words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
            result = start(folder, words, processes=processes, stage=stage, lora=lora)
            columns[name] = result["cells"] | {TRAINED: result["difference"] / result["moved"]}
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(f"|ours - TRL's| / |TRL's| of the reduced gradient, float32, torch {torch.__version__}\n")
    print("| cell |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for row in [*CELLS, TRAINED]:
        print(f"| {row} |", " | ".join(f"{column[row]:.1e}" for column in columns.values()), "|")
    largest = [max(column[row] for row in CELLS) for column in columns.values()]
    print("| **largest of the gradients** |", " | ".join(f"**{value:.1e}**" for value in largest), "|")
    return max(largest)


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        raise SystemExit(0 if print_table() < LIMIT else 1)
    try:  # its build needs a compiler, and gloo does the same
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    except ImportError:
        pass
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    result = compare(folder, words)
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    if torch.distributed.is_initialized():  # else the backend's threads may outlive the interpreter
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
