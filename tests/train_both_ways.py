"""Train on made-up rollouts twice, with r1rl's update and with upstream's: FOLDER --key value ...; writes result.json.

Plain gradient descent, so that weights move by the sum of the gradients.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from made_up_batch import batch
from safetensors.torch import load_file

from r1rl import recipe, train
from r1rl.batching import Batching, Cost

ROOT = Path(__file__).resolve().parent.parent


def rollouts(step: int, rank: int, world_size: int, rows: int) -> dict[str, Any]:
    """Every process's own; in the first step the first of several has no signal, in the second none has."""
    parts = [batch(rows // 4, completion=12 + 8 * (step == 2) * r, seed=10 * step + r) for r in range(world_size)]
    total = sum(part["num_items_in_batch"] for part in parts)
    mine = parts[rank]
    if step == 1 or (step == 0 and rank == 0 and world_size > 1):
        mine["advantages"].zero_()
    return mine | {"num_items_in_batch": total}


def run(folder: Path, words: list[str], ours: bool) -> dict[str, Any]:
    """One training of three steps."""
    words = [*words, "--name", "ours" if ours else "theirs", "--optim", "sgd", "--learning_rate", "0.5"]
    words += ["--max_steps", "3", "--lr_scheduler_type", "linear", "--loss_type", "dapo", "--probe_every", "0"]
    loaded = recipe.load(ROOT / "recipes" / "tiny" / "countdown.yaml", words)
    trainer, _ = train.build_trainer(loaded, train.open_folder(loaded), *train.find_model(loaded))
    trainer.callback_handler.callbacks = trainer.callback_handler.callbacks[:1]  # no probes, no guards
    trainer._can_score = ours
    trainer._batching = Batching(40, True, True, Cost(1.0, 0.0))  # several passes
    rank, world_size = trainer.accelerator.process_index, trainer.accelerator.num_processes
    calls = []

    def made_up(inputs: Any) -> dict[str, Any]:
        # With two iterations a batch serves two steps, as it would if it had been sampled.
        mine = rollouts(len(calls) * trainer.num_iterations, rank, world_size, loaded.batch.rollouts)
        calls.append(len(inputs))
        if trainer.num_iterations > 1:
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
    }


def main() -> None:
    """Both trainings, compared by the first process."""
    try:  # its build needs a compiler, and gloo does the same
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    except ImportError:
        pass
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    done = [run(folder, words, ours) for ours in (True, False)]
    if done[0]["rank"]:
        return
    first = load_file(Path(words[words.index("--model_name_or_path") + 1]) / "model.safetensors")
    ours, theirs = (load_file(folder / name / "model.safetensors") for name in ("ours", "theirs"))
    result = {
        "difference": sum((ours[k] - theirs[k]).double().square().sum().item() for k in first) ** 0.5,
        "moved": sum((theirs[k] - first[k]).double().square().sum().item() for k in first) ** 0.5,
        "steps": [d["steps"] for d in done],
        "schedule": [d["schedule"] for d in done],
        "learning_rates": [d["rates"] for d in done],
        "world_size": done[0]["world_size"],
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
