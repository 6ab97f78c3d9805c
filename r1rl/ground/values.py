"""Reading recipe values: YAML and `--key value` to typed Python, with errors that say what is allowed.

Nothing here imports torch or transformers, so a broken file is reported at once.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import types
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from r1rl.ground.errors import RecipeError, check_known, nearest


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys in silence; a recipe must not."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, Hashable) and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str = "recipe") -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError: no such file, not YAML, or not a mapping of names to values.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise RecipeError(f"{what} {path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{what} {path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{what} {path}: not valid YAML{where}: {problem}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RecipeError(f"{what} {path}: must be a YAML mapping of `key: value` lines, is {_shown(content)}")
    return content


def parse_overrides(arguments: list[str], hints: Mapping[str, Any]) -> dict[str, Any]:
    """`--key value`, `--key=value`, `--flag`, `--no_flag`, `--dict_key.sub value` as a mapping of raw values.

    Dashes in keys mean underscores. A dotted key appears as `{"dict_key.sub": value}`. Of two equal keys the
    last one counts.

    Raises:
        RecipeError: unknown keys, missing value, or a word that belongs to no key.
    """
    overrides: dict[str, Any] = {}
    options = _options(arguments)
    names = [word[2:].partition("=")[0].partition(".")[0].replace("-", "_") for word, _ in options]
    off = {name for name in names if name.startswith("no_") and _accepts(hints.get(name[3:]), bool)}
    check_known((name for name in names if name not in off), hints, "", prefix="--")
    for word, values in options:
        key, equals, attached = word[2:].partition("=")
        if equals:
            values = [attached, *values]
        head, dot, rest = key.partition(".")
        head = head.replace("-", "_")
        hint = hints.get(head)
        if head not in hints and values:
            raise RecipeError(f"--{key}: takes no value, got {' '.join(values)}; give --{key} or --{head[3:]} VALUE")
        elif head not in hints:
            overrides[head[3:]] = False
        elif dot and not _accepts(hint, dict):
            raise RecipeError(f"--{key}: {head} has no sub-keys, it is {describe(hint)}")
        elif dot:
            overrides[f"{head}.{rest}"] = _json_or_text(_single(key, values))
        elif _accepts(hint, list) and values:
            whole = _json_or_text(values[0]) if len(values) == 1 else values
            overrides[head] = whole if isinstance(whole, list) else values[0]
        elif not values and _accepts(hint, bool):
            overrides[head] = True
        else:
            overrides[head] = _single(key, values)
    return overrides


def _options(arguments: list[str]) -> list[tuple[str, list[str]]]:
    """The words that begin with `--`, each with the words behind it."""
    found: list[tuple[str, list[str]]] = []
    for word in arguments:
        if word.startswith("--") and len(word) > 2:
            found.append((word, []))
        elif word == "--" or not found or "=" in found[-1][0]:
            raise RecipeError(f"unexpected argument {word!r}: overrides are written --key value")
        else:
            found[-1][1].append(word)
    return found


def merge(recipe: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values with the overrides on top; dotted keys go into a copy of the mapping they name."""
    merged = dict(recipe)
    for key, value in overrides.items():
        head, *path = key.split(".")
        if not path:
            merged[head] = value
            continue
        target = merged[head] = coerce(head, merged.get(head), dict | None) or {}
        for part in path[:-1]:
            target[part] = coerce(key, target.get(part), dict | None) or {}
            target = target[part]
        target[path[-1]] = value
    return merged


def coerce(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` asks for. Text becomes a number where one fits: to PyYAML `1e-6` is text.

    Raises:
        RecipeError: `key=value: expected …`.
    """
    for member in sorted(members(hint), key=lambda member: _rank(member, value)):
        try:
            return _KINDS[kind_of(member)][1](value, member)
        except (KeyError, ValueError, TypeError, OverflowError):
            continue
    allowed = [str(choice) for member in members(hint) for choice in choices(member)]
    near = nearest(value, allowed) if isinstance(value, str) else ""
    raise RecipeError(f"{key}={_shown(value)}: expected {describe(hint)}{near}")


def describe(hint: Any) -> str:
    """What a type hint allows, in words."""
    words = []
    for member in members(hint):
        kind = kind_of(member)
        text = _KINDS[kind][0] if kind in _KINDS else f"a {getattr(kind, '__name__', kind)} (not settable here)"
        if allowed := choices(member):
            text += " " + ", ".join(map(str, allowed))
        elif kind is list and get_args(member):
            text += f", each {describe(get_args(member)[0])}"
        words.append(text)
    return " or ".join(dict.fromkeys(words))


def members(hint: Any) -> list[Any]:
    """The parts of a union; beside an enum (transformers' strategies) free text is no part."""
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    parts = [member for part in get_args(hint) for member in members(part)]
    if any(kind_of(member) is Enum for member in parts):
        parts = [member for member in parts if member is not str]
    return parts


def kind_of(member: Any) -> Any:
    """What a part of a hint is in `_KINDS`: `list` for `list[int]`, `Enum` for any enum."""
    return Enum if isinstance(member, type) and issubclass(member, Enum) else get_origin(member) or member


def choices(member: Any) -> list[Any]:
    """The allowed values where a part of a hint lists them."""
    if kind_of(member) is Enum:
        return [choice.value for choice in member]
    return list(get_args(member)) if kind_of(member) is Literal else []


def _accepts(hint: Any, kind: type) -> bool:
    return any(kind_of(member) is kind for member in members(hint))


def _rank(member: Any, value: Any) -> int:
    """Order in which the parts of a union are tried: the value's own type, conversions, plain text last."""
    if member is types.NoneType:
        return 0 if value is None else 3
    if kind_of(member) is type(value) and not isinstance(value, str):
        return 0
    return 2 if member is str else 1


# One reader for each kind of type: `reader(value, part of the hint)` returns the value as that type, or raises
# ValueError, TypeError or OverflowError where it does not fit.


def _null(value: Any, member: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.lower() in ("none", "null")):
        raise ValueError(value)


def _boolean(value: Any, member: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    raise ValueError(value)


def _number(value: Any, member: Any) -> int | float:
    """A finite number; whole numbers keep every digit, and stay whole where fractions are allowed as well."""
    if isinstance(value, bool):
        raise TypeError(value)
    whole = isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdecimal())
    if whole and member is int:
        return int(value)
    number = float(value)  # OverflowError for a whole number that no float can hold
    if not math.isfinite(number) or (member is int and number != int(number)):
        raise ValueError(value)
    return int(value) if whole else int(number) if member is int else number


def _text(value: Any, member: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _mapping(value: Any, member: Any) -> dict[str, Any]:
    mapping = json.loads(value) if isinstance(value, str) else value
    if not isinstance(mapping, Mapping):
        raise TypeError(value)
    return dict(mapping)


def _list(value: Any, member: Any) -> list[Any]:
    """A list, one value of it, or a text such as `[a, b:c]`, `["a", "b"]` or `a,b`."""
    (inner,) = get_args(member) or (Any,)
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = yaml.safe_load(value)
        except (yaml.YAMLError, RecursionError):  # a regular expression, say
            value = [value]
    elif isinstance(value, str) and _SEVERAL.fullmatch(value):
        value = [part.strip() for part in value.split(",")]
    return [coerce("", item, inner) for item in (value if isinstance(value, list | tuple) else [value])]


def _choice(value: Any, member: Any) -> Any:
    # YAML reads a bare `no` as false: the strategies of transformers are called "no".
    wanted = "no" if kind_of(member) is Enum and value is False else value
    for choice in choices(member):
        if choice == wanted and type(choice) is type(wanted):
            return choice
    raise ValueError(value)


# What a kind of type is called, and its reader.
_KINDS: dict[Any, tuple[str, Callable[[Any, Any], Any]]] = {
    Any: ("anything", lambda value, member: value),
    types.NoneType: ("null", _null),
    bool: ("true or false", _boolean),
    int: ("a whole number", _number),
    float: ("a number", _number),
    str: ("a text", _text),
    dict: ("a mapping (JSON on the command line)", _mapping),
    list: ("a list", _list),
    Literal: ("one of", _choice),
    Enum: ("one of", _choice),
}
_SEVERAL = re.compile(r"[\w./:~ -]+(?:,[\w./:~ -]+)+")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _single(key: str, values: list[str]) -> str:
    if len(values) != 1:
        got = "no value" if not values else f"{len(values)} values ({' '.join(values)})"
        raise RecipeError(f"--{key}: needs one value, got {got}")
    return values[0]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "…"
