"""The policies that a run has kept: its model before the first update, its checkpoints, and the final one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1rl.ground import machine
from r1rl.ground.values import read_yaml
from r1rl.recipe import schedules
from r1rl.run import manifest
from r1rl.run.folder import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from r1rl.rollout.engine import Engine
    from r1rl.rollout.sampling import Sampling
    from r1rl.tasks.prompts import Prompt

Opener = Callable[..., tuple[Any, Any, Any]]
"""Loads a model, its tokenizer and what samples from it; called as `opened`."""


@dataclass(frozen=True)
class Policy:
    """One kept policy with what it takes to sample from it as the run did.

    `sampling` is the recipe's at the temperature of held-out evaluation, `extraction` says where the answer stands,
    `template` makes the prompts.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    sampling: Sampling
    extraction: str
    template: Prompt


def kept(run_dir: Path | str) -> dict[int, Path | None]:
    """Step -> folder of the policy after that many updates, ascending; None for the model that the run began with.

    A run that has not ended has no final model; of a step that was saved twice the checkpoint counts.
    Raises ValueError for no run.
    """
    folder = RunFolder(Path(run_dir))
    if not folder.recipe.is_file():
        raise ValueError(f"run={str(run_dir)!r}: no recipe.yaml in it; give a folder that `r1rl train` made")
    found: dict[int, Path | None] = {0: None}
    final = folder.checkpoints / "final"
    if folder.result.is_file() and any((final / name).is_file() for name in ("config.json", "adapter_config.json")):
        result = read_yaml(folder.result, "result")
        if result.get("finished"):
            found[int(result["steps"])] = final
    for path in manifest.all_in(folder.checkpoints):
        # The trainer's state is written after the weights; a policy needs no more of a checkpoint.
        if (path / "trainer_state.json").is_file():
            found[manifest.step_of(path)] = path
    return dict(sorted(found.items()))


def load(run_dir: Path | str, path: Path | None, opener: Opener | None = None) -> Policy:
    """The policy in `path`, one of `kept`, on a GPU if there is one; `opener` in the place of `opened`.

    Raises ValueError where the run's model is not to be found, or the embedded engine cannot sample from it.
    """
    from r1rl.models import resolve as models
    from r1rl.rollout.sampling import Sampling
    from r1rl.tasks import prompts

    recipe = read_yaml(RunFolder(Path(run_dir)).recipe)
    source = str(path) if path is not None else models.resolve(str(recipe["model_name_or_path"]))
    revision = recipe.get("model_revision") or "main" if path is None else "main"
    model, tokenizer, engine = (opener or opened)(
        source, revision, on_cpu=bool(recipe.get("use_cpu")), dtype="bfloat16" if recipe.get("bf16") else "float32"
    )
    template = prompts.get(recipe["prompt_template"], tokenizer=tokenizer, **(recipe.get("prompt_options") or {}))
    temperature = recipe.get("eval_temperature")
    if temperature is None:
        temperature = schedules.at_most("temperature", recipe.get("temperature", 1.0))
    sampling = Sampling(
        temperature=float(temperature),
        top_p=float(recipe.get("top_p", 1.0)),
        top_k=int(recipe.get("top_k") or 0),
        min_p=recipe.get("min_p"),
        max_completion_length=int(schedules.at_most("max_completion_length", recipe["max_completion_length"])),
        stop=template.stop,
    )
    options = (recipe.get("reward_options") or {}).get("accuracy") or {}
    return Policy(model, tokenizer, engine, sampling, str(options.get("extraction", "answer-tag")), template)


def opened(
    source: str, revision: str = "main", *, on_cpu: bool = False, dtype: str = "auto", forced: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Engine]:
    """A model, ready to sample from, on a GPU if there is one, else in float32.

    `dtype` is that of the weights on a GPU, `forced` that on either.

    Raises ValueError where it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from r1rl.rollout.engine import Engine

    on_cpu = on_cpu or not machine.visible_gpus()
    device = torch.device("cpu") if on_cpu else torch.accelerator.current_accelerator()
    kind = forced or ("float32" if on_cpu else dtype)
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=kind)
    except OSError as error:
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"model={source!r}: cannot be loaded: {reason}") from None
    # Every id that ends a completion: the tokenizer's, and those of the model's generation config.
    also = model.generation_config.eos_token_id
    ends = [tokenizer.eos_token_id, *(also if isinstance(also, list) else [also])]
    engine = Engine(tokenizer, list(dict.fromkeys(token for token in ends if token is not None)))
    return model.to(device).eval(), tokenizer, engine
