"""Rewards by name.

A reward is `reward(completions, *, gold, meta, verifier, **columns) -> list[float | None]`, TRL's calling
convention: one value per completion, None where the row's gold cannot be judged. It may be a coroutine function.
With weight 0 any reward only measures.

A new reward is one module here and one line in `_REGISTRY` (see CONTRIBUTING.md); one from elsewhere is named
`package.module:function`, TRL's and open-r1's included, or `path/to/file.py:function`.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from r1rl.ground.errors import nearest, one_line
from r1rl.ground.values import coerce
from rewards import external

__all__ = ["Reward", "describe", "get", "located", "names", "target_of"]

Reward = Callable[..., list[float | None]]

# A class takes the options of `get`, which are read by the types it states, and its instances are called.
_REGISTRY = {
    "accuracy": "rewards.accuracy:Accuracy",
    "code": "rewards.code:Code",
    "cosine": "rewards.length:Cosine",
    "format": "rewards.format:Format",
    "format-soft": "rewards.format:FormatSoft",
    "inverted": "rewards.controls:Inverted",
    "kimi-length": "rewards.length:KimiLength",
    "language": "rewards.language:Language",
    "length-matched": "rewards.controls:LengthMatched",
    "random": "rewards.controls:Random",
    "reasoning-steps": "rewards.reasoning_steps:ReasoningSteps",
    "reflection": "rewards.reflection:Reflection",
    "repetition": "rewards.repetition:Repetition",
    "soft-overlong": "rewards.length:SoftOverlong",
    "tag-count": "rewards.format:TagCount",
}


def names() -> list[str]:
    """The registered rewards."""
    return sorted(_REGISTRY)


def get(name: str, **options: Any) -> Reward:
    """The reward called `name`, or the object behind "package.module:function" or "file.py:function", options bound.

    An object from elsewhere may be a function, a class, a coroutine function, an instance, or a function that makes a
    reward from the options (TRL's and open-r1's `get_..._reward`). One that reads completions as messages, by its
    annotation or because TRL or open-r1 wrote it, is given messages; the option `messages: true` or `false` overrules
    that. Each is given the columns that it names, the gold as `solution` too, and must return one number or None per
    completion.

    The result is picklable where what it names is importable, and has a `__name__`, which trainers use to label it.
    Raises `ValueError` for an unknown name, a module or attribute that is not there, something that cannot be called,
    and options that do not fit.
    """
    target = target_of(name)
    if name in _REGISTRY:
        hints = get_type_hints(target.__init__)
        typed = {key: coerce(key, value, hints[key]) if key in hints else value for key, value in options.items()}
        reward: Any = _fitting(name, target, typed)
        reward.__name__ = name
        return reward
    remake = (functools.partial(get, name, **options), ())
    messages = options.pop("messages", None)
    factory = external.is_factory(target)
    if isinstance(target, type) or factory:
        reward = _fitting(name, target, options)
    elif options:
        _fitting(name, inspect.signature(target).bind_partial, options)
        reward = functools.partial(target, **options)
    else:
        reward = target
    if not callable(reward):
        made = type(reward).__name__
        problem = f"made a {made}, which cannot be called" if factory else f"a {made} has no __call__"
        raise ValueError(f"reward={name!r}: {problem}")
    if messages is None:
        messages = external.wants_messages(reward, name.partition(":")[0])
    if not hasattr(reward, "__name__"):
        reward.__name__ = name.rpartition(":")[2].rpartition(".")[2]
    if name.startswith("rewards."):
        return reward
    wrapper = external.AsyncExternal if external.is_async(reward) else external.External
    return wrapper(reward, remake, messages=messages)


def located(name: str, folder: Path) -> str:
    """`file.py:function` with the file's whole path, found from here or from a recipe's folder; other names unchanged.

    A module that is not installed is looked for in the same places. Raises `ValueError` where a named file is in none.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon or name in _REGISTRY:
        return name
    is_file = module.endswith(".py")
    if not is_file and _installed(module):
        return name
    given = Path(module).expanduser() if is_file else Path(*module.split(".")).with_suffix(".py")
    places = dict.fromkeys([Path.cwd() / given, folder.resolve() / given])
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return f"{found}:{attribute}"
    if is_file:
        raise ValueError(f"reward={name!r}: no such file (looked for {' and '.join(map(str, places))})")
    return name


def _installed(module: str) -> bool:
    top = module.partition(".")[0]
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def describe(name: str) -> str:
    """The first line of the reward's docstring, "" if it has none. Raises like `get`."""
    return (inspect.getdoc(target_of(name)) or "").partition("\n")[0]


def _fitting(name: str, maker: Callable[..., Any], options: dict[str, Any]) -> Any:
    """What `maker` makes of the options. Raises `ValueError` where it does not take them."""
    try:
        return maker(**options)
    except TypeError as error:
        raise ValueError(f"reward={name!r}: options {sorted(options)} do not fit: {error}") from error


def target_of(name: str) -> Any:
    """The class or function behind a name."""
    module_name, colon, attribute = _REGISTRY.get(name, name).rpartition(":")
    if not colon:
        hint = nearest(name, names()) or "; try 'accuracy'"
        raise ValueError(f"reward={name!r}: unknown; allowed: {', '.join(names())} or 'package.module:function'{hint}")
    is_file = module_name.endswith(".py")
    dotted = ([] if is_file else module_name.split(".")) + attribute.split(".")
    if not all(part.isidentifier() for part in dotted):
        raise ValueError(f"reward={name!r}: not of the form 'package.module:function' or 'file.py:function'")
    try:
        target: Any = _of_file(Path(module_name)) if is_file else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ValueError(
                f"reward={name!r}: no module {error.name!r}; try putting its folder on PYTHONPATH"
            ) from error
        raise  # the module is there and lacks a module of its own: its traceback says more than we could
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"reward={name!r}: {module_name} cannot be imported: {one_line(error)}") from error
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise ValueError(f"reward={name!r}: {module_name} has no {attribute!r}{nearest(part, dir(target))}")
        target = getattr(target, part)
    if not callable(target):
        raise ValueError(f"reward={name!r}: {attribute} is a {type(target).__name__} and cannot be called")
    return target


def _of_file(path: Path) -> ModuleType:
    """The module in a file, read once; it may import its neighbours, as a script may."""
    name = "rewards_of_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    neighbours = str(path.resolve().parent)
    if neighbours not in sys.path:
        sys.path.append(neighbours)  # last: it hides nothing
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
