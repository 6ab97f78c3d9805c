"""The C files beside this one, built at their first use by the system's compiler and kept in r1rl's cache.

Between the products of a policy's weights torch makes a dozen small calls where one would do, and reads every key
several times: a few dozen rows are decoded at once, and an update's rollouts are short. Triton and torch's own compiler
build such code in this way too. Where there is no compiler, everything goes through torch's calls.
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
from collections.abc import Callable
from pathlib import Path

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
    "gated": (Pointer, Pointer, Integer, Pointer, Integer, Integer, Integer),
    "project": (Pointer,) * 4 + (Integer,) * 4,
    "attend_packed": (Pointer,),
    "attend_packed_backward": (Pointer,),
    "norm": (Pointer, Pointer, Float, Pointer, Pointer, Integer, Integer, Integer),
    "norm_backward": (Pointer,) * 6 + (Integer,) * 3,
    "gated_backward": (Pointer,) * 5 + (Integer,) * 3,
    "turn_heads": (Pointer,) * 4 + (Integer,) * 3,
    "turn_heads_backward": (Pointer,) * 4 + (Integer,) * 3,
}
# What is there for activations of less than float32, too.
_LOW_PRECISION = ("attend", "add_norm", "gated", "gated_backward", "turn_heads", "turn_heads_backward")


class Functions:
    """The C functions by their names. `lanes` are the elements of a vector."""

    def __init__(self, built: ctypes.CDLL, dtype: torch.dtype, lanes: int) -> None:
        self.lanes = lanes
        for name, arguments in _ARGUMENTS.items():
            if dtype == torch.float32 or name in _LOW_PRECISION:
                function = getattr(built, name)
                function.argtypes, function.restype = arguments, None
                setattr(self, name, function)

    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AttributeError(f"{name} is not there for this number format")

    def __deepcopy__(self, memo: object) -> Functions:
        return self  # a copied layer has the same


@functools.cache
def functions_for(head: int, repeats: int, dtype: torch.dtype, *sizes: int) -> Functions | None:
    """The functions for activations of `dtype`; None where they cannot be built or do not serve.

    Args:
        head: elements of an attention head.
        repeats: query heads of each key head.
        sizes: of what else the functions will be given, in elements.
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
    return Functions(built, dtype, lanes)


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
