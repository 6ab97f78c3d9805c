"""The tiny base model: a small decoder that the project pretrains itself, on first use, and caches."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

from r1rl.models.base.pretrain import PretrainConfig

BASES = {"countdown": PretrainConfig()}
EXTENSIONS = 2  # how often a base that is not ready is trained for another quarter of its steps
FORMAT_VERSION = 3  # raised when the corpus or the training changes without a change of its options

logger = logging.getLogger(__name__)


def config_hash(config: PretrainConfig) -> str:
    """Twelve hex digits that name the weights: the same config gives the same base on the same kind of machine."""
    text = json.dumps([FORMAT_VERSION, dataclasses.asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def path(name: str = "countdown", config: PretrainConfig | None = None) -> Path:
    """The folder of the base `name`, built if it is not there yet.

    Raises:
        RunFailedError: the built base has not mastered arithmetic and the goal test; nothing is cached then.
    """
    from r1rl.ground.cache import cache_dir

    config = config or BASES[name]
    target = cache_dir() / f"base-{name}-{config_hash(config)}"
    if not (target / "config.json").is_file():
        _build(name, config, target)
    return target


def _build(name: str, config: PretrainConfig, target: Path) -> None:
    """Pretrain, examine, save; with a progress bar."""
    import transformers
    from filelock import FileLock
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from r1rl.ground.cache import publish
    from r1rl.models.base.examine import examine
    from r1rl.models.base.pretrain import pretrain, train_on

    target.parent.mkdir(parents=True, exist_ok=True)
    # Several processes of one launch ask at the same time: one builds, the others wait.
    with FileLock(f"{target}.lock"):
        if (target / "config.json").is_file():
            return
        columns = (TextColumn("building the tiny base"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}")) as progress:
            bar = progress.add_task("", total=config.steps, loss=float("nan"))

            def on_step(step: int, loss: float) -> None:
                progress.update(bar, completed=step + 1, loss=loss)

            model, tokenizer = pretrain(config, on_step)
            skills = examine(model, tokenizer, config)
            # When a skill sets in differs by seed and machine, so a base that lacks one gets some more steps.
            done, more = config.steps, config.steps // 4
            for _ in range(EXTENSIONS):
                if skills.sufficient:
                    break
                logger.info("the base is not ready, training on: %s", skills.text())
                progress.update(bar, total=done + more)
                train_on(model, tokenizer, config, first=done, count=more, peak=0.5, on_step=on_step)
                skills, done = examine(model, tokenizer, config), done + more
        logger.info("the tiny base %s after %d steps: %s", name, done, skills.text())
        skills.require()
        transformers.utils.logging.disable_progress_bar()
        publish(target, model, tokenizer)
        content = {"config": dataclasses.asdict(config), "steps": done, "skills": dataclasses.asdict(skills)}
        (target / "base.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
