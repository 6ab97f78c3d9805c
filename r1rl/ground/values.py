"""Reading recipe values: YAML and `--key value` to typed Python, with errors that say what is allowed.

Nothing here imports torch or transformers, so a broken file is reported at once.
"""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Hashable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from r1rl.ground.errors import RecipeError, nearest


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
        RecipeError: unknown key, missing value, or a word that belongs to no key.
    """
    overrides: dict[str, Any] = {}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if not word.startswith("--") or len(word) < 3:
            raise RecipeError(f"unexpected argument {word!r}: overrides are written --key value")
        key, equals, attached = word[2:].partition("=")
        head, dot, rest = key.partition(".")
        head = head.replace("-", "_")
        values = [attached] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        if head not in hints and head.startswith("no_") and _accepts(hints.get(head[3:]), bool) and not values:
            overrides[head[3:]] = False
            continue
        if head not in hints:
            raise RecipeError(f"--{key}: unknown key{nearest(head, hints)}")
        if dot and not _accepts(hints[head], dict):
            raise RecipeError(f"--{key}: {head} has no sub-keys, it is {describe(hints[head])}")
        if dot:
            overrides[f"{head}.{rest}"] = _json_or_text(_single(key, values))
        elif _accepts(hints[head], list) and values:
            whole = _json_or_text(values[0]) if len(values) == 1 else None
            overrides[head] = whole if isinstance(whole, list) else values
        elif not values and _accepts(hints[head], bool):
            overrides[head] = True
        else:
            overrides[head] = _single(key, values)
    return overrides


def merge(recipe: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values with the overrides on top; dotted keys go into a copy of the mapping they name."""
    merged = dict(recipe)
    for key, value in overrides.items():
        head, *path = key.split(".")
        if not path:
            merged[head] = value
            continue
        target = merged[head] = _as_mapping(head, merged.get(head))
        for part in path[:-1]:
            target[part] = _as_mapping(key, target.get(part))
            target = target[part]
        target[path[-1]] = value
    return merged


def coerce(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` asks for. Text becomes a number where one fits: to PyYAML `1e-6` is text.

    Raises:
        RecipeError: `key=value: expected …`.
    """
    for member in sorted(_members(hint), key=lambda member: _rank(member, value)):
        try:
            return _coerce_one(value, member)
        except (ValueError, TypeError, OverflowError):
            continue
    near = nearest(value, _choices(hint)) if isinstance(value, str) else ""
    raise RecipeError(f"{key}={_shown(value)}: expected {describe(hint)}{near}")


def describe(hint: Any) -> str:
    """What a type hint allows, in words."""
    words = []
    for member in _members(hint):
        origin = get_origin(member) or member
        if origin is Literal:
            words.append("one of " + ", ".join(map(str, get_args(member))))
        elif isinstance(member, type) and issubclass(member, Enum):
            words.append("one of " + ", ".join(str(choice.value) for choice in member))
        elif origin is list:
            (inner,) = get_args(member) or (Any,)
            words.append("a list" if inner is Any else f"a list, each {describe(inner)}")
        else:
            names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
            names |= {dict: "a mapping (JSON on the command line)", types.NoneType: "null"}
            words.append(names.get(origin, f"a {getattr(origin, '__name__', origin)} (not settable here)"))
    return " or ".join(dict.fromkeys(words))


def _members(hint: Any) -> list[Any]:
    """The parts of a union; beside an enum (transformers' strategies) free text is no part."""
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    members = [member for part in get_args(hint) for member in _members(part)]
    if any(isinstance(member, type) and issubclass(member, Enum) for member in members):
        members = [member for member in members if member is not str]
    return members


def _choices(hint: Any) -> list[str]:
    """The allowed texts where a hint lists them."""
    found: list[str] = []
    for member in _members(hint):
        if get_origin(member) is Literal:
            found += [str(choice) for choice in get_args(member)]
        elif isinstance(member, type) and issubclass(member, Enum):
            found += [str(choice.value) for choice in member]
    return found


def _accepts(hint: Any, kind: type) -> bool:
    return any((get_origin(member) or member) is kind for member in _members(hint))


def _rank(member: Any, value: Any) -> int:
    """Order in which the parts of a union are tried: the value's own type, conversions, plain text last."""
    if member is types.NoneType:
        return 0 if value is None else 3
    if (get_origin(member) or member) is type(value) and not isinstance(value, str):
        return 0
    return 2 if member is str else 1


def _coerce_one(value: Any, member: Any) -> Any:
    """`value` as one plain type; ValueError or TypeError when it does not fit."""
    origin = get_origin(member) or member
    if origin is Any:
        return value
    if member is types.NoneType:
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
    elif origin is Literal:
        for choice in get_args(member):
            if value == choice and type(value) is type(choice):
                return choice
    elif isinstance(member, type) and issubclass(member, Enum):
        # YAML reads a bare `no` as false: the strategies of transformers are called "no".
        return member("no" if value is False else value).value
    elif origin is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "yes", "1", "false", "no", "0"):
            return value.lower() in ("true", "yes", "1")
    elif origin in (int, float):
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return _number(value, origin)
    elif origin is str:
        if isinstance(value, str):
            return value
    elif origin is dict:
        mapping = _json_or_text(value) if isinstance(value, str) else value
        if isinstance(mapping, Mapping):
            return dict(mapping)
    elif origin is list:
        (inner,) = get_args(member) or (Any,)
        items = value if isinstance(value, list | tuple) else [value]
        return [coerce("", item, inner) for item in items]
    raise ValueError(value)


def _number(value: int | float | str, kind: type) -> int | float:
    """A finite number; whole numbers keep every digit, and stay whole where fractions are allowed as well."""
    whole = isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdecimal())
    if kind is int and whole:
        return int(value)
    number = float(value)  # OverflowError for a whole number that no float can hold
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError(value)
    return int(value) if whole else int(number) if kind is int else number


def _as_mapping(key: str, value: Any) -> dict[str, Any]:
    mapping = _json_or_text(value) if isinstance(value, str) else value
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping):
        raise RecipeError(f"{key}={_shown(value)}: expected a mapping, a dotted override cannot go into it")
    return dict(mapping)


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
