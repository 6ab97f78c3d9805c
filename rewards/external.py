"""Rewards from elsewhere: message completions, a `solution` column, factories, coroutines."""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from rewards.completions import Completion, text_of

_WRITTEN_FOR_MESSAGES = ("trl", "open_r1")
"""Packages whose rewards read `completion[0]["content"]`, annotated or not."""


def is_async(reward: Any) -> bool:
    """Whether calling it returns a coroutine, as TRL 1.16 (`is_async_callable`) finds out."""
    while isinstance(reward, functools.partial):
        reward = reward.func
    return inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(getattr(reward, "__call__", None))  # noqa: B004


def is_factory(target: Any) -> bool:
    """Whether it is a function that makes a reward: it takes neither `completions` nor `completion_ids`.

    `get_soft_overlong_punishment(max_completion_len, soft_punish_cache)` is one.
    """
    if isinstance(target, type) or not inspect.isroutine(target):
        return False
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return False
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in parameters.values())
    return not positional and not {"completions", "completion_ids", "prompts"} & set(parameters)


def wants_messages(reward: Any, module_name: str) -> bool:
    """Whether it reads completions as lists of messages: by its package or its annotation of `completions`."""
    if module_name.partition(".")[0] in _WRITTEN_FOR_MESSAGES:
        return True
    while isinstance(reward, functools.partial):
        reward = reward.func
    function = reward if inspect.isroutine(reward) else type(reward).__call__
    try:
        annotation = inspect.signature(function).parameters["completions"].annotation
    except (KeyError, TypeError, ValueError):
        return False
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return bool(re.match(r"(?:typing\.)?[Ll]ist\[(?:typing\.)?[Ll]ist\[(?:typing\.)?[Dd]ict", shown))


class External:
    """A reward from elsewhere behind this package's columns. Pickled by its name and options, so closures are too."""

    def __init__(self, reward: Callable[..., Any], remake: tuple[Any, ...], *, messages: bool) -> None:
        self.reward, self.remake, self.messages = reward, remake, messages
        self.__name__ = getattr(reward, "__name__", type(reward).__name__)
        self._names = _names(reward)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.remake

    def _columns(self, completions: Sequence[Completion], columns: dict[str, Any]) -> dict[str, Any]:
        """The reward's arguments: completions as messages if it reads those, and the gold also as `solution`."""
        if columns.get("gold") is not None:
            columns = {"solution": columns["gold"], **columns}
        if self.messages:
            completions = [
                [{"role": "assistant", "content": text_of(completion)}] if isinstance(completion, str) else completion
                for completion in completions
            ]
        given = {**columns, "completions": completions}
        return given if self._names is None else {key: given[key] for key in self._names if key in given}

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> Any:
        """What the reward returns."""
        return self.reward(**self._columns(completions, columns))


class AsyncExternal(External):
    """A coroutine function from elsewhere behind this package's columns; TRL tells by `__call__` whether to await."""

    async def __call__(self, completions: Sequence[Completion], **columns: Any) -> Any:
        """What the reward returns."""
        return await self.reward(**self._columns(completions, columns))


def _names(reward: Any) -> set[str] | None:
    """The arguments that a reward takes by name; None: all that there are."""
    try:
        parameters = inspect.signature(reward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}
