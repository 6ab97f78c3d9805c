"""The C files beside this one, built at their first use by the system's compiler and kept in r1rl's cache.

They decode (decoding.c) and attend over packed rollouts (packed.c): where a few dozen short rows are at work, torch
makes a dozen small calls for one of these and reads every key several times. Triton and torch's own compiler build code
in this way too. Where there is no compiler, everything goes through torch's calls.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from r1rl.ground.cache import cache_dir

logger = logging.getLogger(__name__)

_SOURCES = sorted(Path(__file__).parent.glob("*.[ch]"))
_FLAGS = ("-O3", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")
# By what torch says of the processor, and the floats of a vector. Not `-march=native`: a home directory may serve
# several machines.
_PROCESSORS: dict[str, tuple[tuple[str, ...], int]] = {
    "AVX512": (("-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"), 16),
    "AVX2": (("-mfma", "-mavx2"), 8),
}
_SECONDS = 120

Pointer, Integer, Float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class Layer(ctypes.Structure):
    """`layer` of decoding.c."""

    _fields_ = (
        *((name, Pointer) for name in ("keys", "values", "prompt_keys", "prompt_values", "query_norm", "key_norm")),
        ("window", Integer),
        ("scaling", Float),
        ("epsilon", Float),
    )


class Step(ctypes.Structure):
    """`step` of decoding.c."""

    _fields_ = (
        *((name, Integer) for name in ("rows", "heads", "capacity", "width", "threads")),
        *((name, Pointer) for name in ("prompt_of", "lengths", "prompt_lengths", "positions", "cosines", "sines")),
    )


class Heads(ctypes.Structure):
    """`heads` of vectors.h."""

    _fields_ = (("at", Pointer), ("head", Integer), ("token", Integer))


class Attention(ctypes.Structure):
    """`attention` of packed.c."""

    _fields_ = (
        ("segments", Pointer),
        *((name, Integer) for name in ("count", "key_heads", "window", "threads")),
        ("scaling", Float),
        *((name, Heads) for name in ("query", "key", "value", "out")),
        ("sizes", Pointer),
        *((name, Heads) for name in ("gradient", "to_query", "to_key", "to_value")),
        ("strands", Pointer),
        ("places", Pointer),
        ("strand_count", Integer),
        ("to_prompt_key", Heads),
        ("to_prompt_value", Heads),
    )


def serve(*tensors: torch.Tensor) -> bool:
    """Whether the functions take such tensors: plain ones on the CPU, of one of their formats."""
    kinds = torch.Tensor, torch.nn.Parameter
    return all(type(x) in kinds and x.is_cpu and x.dtype in (torch.float32, torch.bfloat16) for x in tensors)


def heads_of(tensor: torch.Tensor) -> Heads:
    """A tensor [heads, tokens, head_dim] as the functions take it; its last dimension must be contiguous."""
    head, token, element = tensor.stride()
    assert element == 1
    return Heads(tensor.data_ptr(), head, token)


_ARGUMENTS = {
    "attend": (Pointer, Pointer, Pointer, Pointer),
    "add_norm": (Pointer, Pointer, Pointer, Float, Pointer, Integer, Integer, Integer),
    "attend_packed": (Pointer,),
    "attend_packed_backward": (Pointer,),
}
_LOW_PRECISION = ("attend", "add_norm")  # what is there for activations of bfloat16, too


@functools.cache
def functions_for(head: int, repeats: int, dtype: torch.dtype, *sizes: int) -> Any:
    """The C functions by their names; None where they do not serve or cannot be built.

    Args:
        head: elements of an attention head.
        repeats: query heads of each key head.
        dtype: number format of the activations.
        sizes: sizes of what else the functions will be given, in elements.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not sys.platform.startswith("linux"):
        return None
    flags, lanes = _PROCESSORS.get(torch.backends.cpu.get_cpu_capability(), ((), 4))
    while lanes > 4 and any(size % lanes for size in (head, *sizes)):
        lanes //= 2
    if any(size % lanes for size in (head, *sizes)):
        return None
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc")
    if compiler is None:
        logger.info("no C compiler (cc, gcc or CC): everything goes through torch's calls, which takes longer")
        return None
    values = {"HEAD": head, "REPEATS": repeats, "LANES": lanes, "BF16": int(dtype == torch.bfloat16)}
    options = [*_FLAGS, *flags, *(f"-D{name}={value}" for name, value in values.items())]
    try:
        path = _built(compiler, options)
        try:
            built = ctypes.CDLL(str(path))
        except OSError:  # cut off by a full disk or a crash
            path.unlink()
            built = ctypes.CDLL(str(_built(compiler, options)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        logger.warning(
            "r1rl's C functions were not built, everything goes through torch's calls: %s", said.strip()[-500:]
        )
        return None
    for name in _ARGUMENTS if dtype == torch.float32 else _LOW_PRECISION:
        function = getattr(built, name)
        function.argtypes, function.restype = _ARGUMENTS[name], None
    return built


def _built(compiler: str, options: list[str]) -> Path:
    """The shared library in the cache, built if it is not there.

    Raises:
        OSError: the cache cannot be written to, or holds another user's library of that name.
        RuntimeError: there is no home directory for the cache.
        subprocess.SubprocessError: the compiler failed.
    """
    key = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES))
    key.update(repr((platform.machine(), os.path.realpath(compiler), options)).encode())
    target = cache_dir() / f"native-{key.hexdigest()[:16]}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".native-") as folder:
            made = Path(folder, target.name)
            sources = [str(source) for source in _SOURCES if source.suffix == ".c"]
            command = [compiler, *options, "-o", str(made), *sources, "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
            made.replace(target)  # other processes may be at the same
    if target.stat().st_uid not in (0, os.getuid()):
        raise PermissionError(f"{target} belongs to another user; set R1RL_CACHE to a folder of your own")
    return target
