"""The tiny base: a small decoder that the project has pretrained itself, and that ships with it.

A base is a folder beside this file: weights in half precision, configuration, tokenizer, and the manifest `base.json`
(what it was built from, what it can do, the hash of its weights). `r1rl base build` makes it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from r1rl.ground.errors import RecipeError, check_known
from r1rl.ground.values import coerce
from r1rl.models.base.corpus import CorpusConfig
from r1rl.models.base.pretrain import PretrainConfig

BASES = {"countdown": PretrainConfig()}
OPTIONS: dict[str, str] = {
    "steps": "optimizer steps of the pretraining",
    "seed": "of the weights and the corpus",
} | {f"corpus.{item.name}": item.metadata["help"] for item in dataclasses.fields(CorpusConfig) if item.metadata}
"""What a base can be built with that is not as those that ship, and what it is."""
MANIFEST, WEIGHTS = "base.json", "model.safetensors"

logger = logging.getLogger(__name__)


def shipped(name: str) -> Path:
    """The folder of the base `name`."""
    return Path(__file__).parent / name


def manifest(folder: Path) -> dict[str, Any]:
    """What `build` wrote about the base in `folder`. Raises RecipeError where `folder` holds no base."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{folder}: holds no base, {MANIFEST} cannot be read ({error})") from error


def path(name: str = "countdown") -> Path:
    """The folder of the base `name`, its weights verified. Raises RecipeError where they are missing or damaged."""
    folder = shipped(name)
    wanted = manifest(folder)["weights_sha256"]
    try:
        found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"base {name!r}: {error}; install r1rl again") from error
    if found != wanted:
        raise RecipeError(
            f"base {name!r}: {folder / WEIGHTS} is damaged, its SHA-256 is {found} and not {wanted}; install r1rl "
            f"again, or build the base again: r1rl base build {name} --out {folder}"
        )
    return folder


def configured(name: str, options: Mapping[str, Any]) -> PretrainConfig:
    """The base `name` with other options: `{"corpus.retries": 0.01, "steps": 400}`.

    Raises:
        RecipeError: no such base, an unknown option, or a value that it cannot have.
    """
    if name not in BASES:
        raise RecipeError(f"base {name!r}: unknown, known are {', '.join(BASES)}")
    check_known(options, OPTIONS, " of a base")
    hints = get_type_hints(PretrainConfig) | {f"corpus.{k}": hint for k, hint in get_type_hints(CorpusConfig).items()}
    values = {key: coerce(key, value, hints[key]) for key, value in options.items()}
    for key, least in (("steps", 1), ("seed", 0)):
        if values.get(key, least) < least:
            raise RecipeError(f"{key}={values[key]}: need at least {least}")
    corpus = {key.removeprefix("corpus."): values.pop(key) for key in list(values) if key.startswith("corpus.")}
    of_name = BASES[name]
    return dataclasses.replace(of_name, corpus=dataclasses.replace(of_name.corpus, **corpus), **values)


def options_of(name: str, config: PretrainConfig) -> dict[str, Any]:
    """What `configured` was given: the options that differ from those of the base `name`."""
    mine, plain = _flat(config), _flat(BASES[name])
    return {key: mine[key] for key in OPTIONS if mine[key] != plain[key]}


def plain_option(name: str, option: str) -> Any:
    """What an option is in the base `name`."""
    return _flat(BASES[name])[option]


def _flat(config: PretrainConfig) -> dict[str, Any]:
    content = dataclasses.asdict(config)
    return content | {f"corpus.{key}": value for key, value in content["corpus"].items()}


def rebuild_words(name: str, config: PretrainConfig, *, may_lack: bool = False) -> list[str]:
    """The words after `r1rl` that build this base."""
    words = [word for key, value in options_of(name, config).items() for word in (f"--{key}", str(value))]
    return ["base", "build", name, *words, *(["--may-lack"] if may_lack else [])]


def build(name: str, out: Path, config: PretrainConfig | None = None, *, may_lack: bool = False) -> Path:
    """Pretrain the base `name` from its corpus, examine it, and write it to `out`; with a progress bar.

    The weights are rounded to half precision before the examination, so what was examined is what is written.

    Args:
        may_lack: write it even where it lacks a skill, as one does whose corpus does not show it.

    Raises:
        RecipeError: `out` holds something else than a base.
        RunFailedError: the built base has not mastered a skill; nothing is written then.
    """
    import torch
    import transformers
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from r1rl.models.base.examine import examine
    from r1rl.models.base.pretrain import corpus_sha256, pretrain

    config = config or BASES[name]
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"--out {out}: holds something else than a base; give a new folder")
    columns = (TextColumn("building the tiny base"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}")) as progress:
        bar = progress.add_task("", total=config.steps, loss=float("nan"))
        model, tokenizer = pretrain(config, lambda step, loss: progress.update(bar, completed=step + 1, loss=loss))
    skills = examine(model.half().float(), tokenizer, config)
    logger.info("the tiny base %s: %s", name, skills.text())
    if not may_lack:
        skills.require()
    transformers.utils.logging.disable_progress_bar()
    out.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.half().save_pretrained(written)
        model.config.dtype = torch.float32  # nobody loads a policy in half precision unasked
        model.config.save_pretrained(written)
        tokenizer.save_pretrained(written)
        content = {
            "name": name,
            "rebuild": shlex.join(["r1rl", *rebuild_words(name, config, may_lack=may_lack)]),
            "parameters": model.num_parameters(),
            "weights_sha256": hashlib.sha256((written / WEIGHTS).read_bytes()).hexdigest(),
            "corpus_sha256": corpus_sha256(config),
            "config": dataclasses.asdict(config),
            "skills": dataclasses.asdict(skills),
            "built_with": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
        }
        (written / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        out.mkdir(exist_ok=True)
        for file in written.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner reads
            file.replace(out / file.name)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    return out
