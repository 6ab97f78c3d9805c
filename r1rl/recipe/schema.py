"""The JSON Schema of a recipe (draft 2020-12), for editors: from the tables that `load` checks a recipe with.

What the schema refuses, `load` refuses. The opposite does not hold: files that must exist, batches that must divide and
values that must agree with each other are for `r1rl plan` to say.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, get_args, get_type_hints

from r1rl import tasks
from r1rl.ground.values import choices, kind_of, members
from r1rl.recipe import launchers
from r1rl.recipe.keys import DEFAULTS, DERIVED, LIMITS, Recipe
from r1rl.recipe.load import known_keys
from r1rl.recipe.schedules import SCHEDULED
from r1rl.run import guards
from r1rl.tasks import presets, prompts

Schema = dict[str, Any]

# A value may stand as text: PyYAML reads 1e-6 as one, and the command line gives nothing else.
_AS_TEXT: Final[dict[str, str]] = {
    "number": r"^\s*[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
    "truth": "^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|0|1)$",
    "null": "^([Nn]one|NONE|[Nn]ull|NULL)$",
    "mapping": r"^\s*\{",
}
_ELSEWHERE: Final = ":"  # in the name of a reward that is not r1rl's own
_STEP: Final = "^[0-9]+$"
_WITH_HYPHENS: Final = "-"  # options may be spelt with hyphens


@dataclass(frozen=True)
class Key:
    """A key that a recipe may have.

    Args:
        name: as it stands in the file.
        owner: `r1rl`, or TRL's `GRPOConfig` or `ModelConfig`.
        hint: its type.
        default: where the recipe leaves it out.
        help: what it does.
    """

    name: str
    owner: str
    hint: Any
    default: Any
    help: str


def keys() -> list[Key]:
    """Every key that a recipe may state, r1rl's own first; those that r1rl derives are left out."""
    from trl import GRPOConfig, ModelConfig

    hints = known_keys()
    replaced = {row.key: row for row in DEFAULTS if not row.cpu_only}
    found: dict[str, Key] = {}
    for owner, kind in (("r1rl", Recipe), ("GRPOConfig", GRPOConfig), ("ModelConfig", ModelConfig)):
        for item in dataclasses.fields(kind):
            if not item.init or item.name in DERIVED or item.name in found:
                continue
            text = " ".join(str(item.metadata.get("help", "")).split())
            default = _default(item)
            if item.name in replaced and owner != "r1rl":
                row = replaced[item.name]
                default, text = row.value, f"{text} r1rl's default: {row.reason}."
            found[item.name] = Key(item.name, owner, hints[item.name], default, text)
    return list(found.values())


def schema() -> Schema:
    """The JSON Schema of a recipe."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "r1rl recipe",
        "type": "object",
        "properties": {key.name: _described(_property(key), key.help, key.default) for key in keys()},
        "required": ["model_name_or_path"],
        "additionalProperties": False,
        "allOf": [_options_of(name) for name in tasks.names()],
        "$defs": {f"{name} as text": {"type": "string", "pattern": text} for name, text in _AS_TEXT.items()},
    }


def option_texts(documentation: str | None) -> dict[str, str]:
    """What a docstring's `Args:` say of each name; a line may name several."""
    _, _, listed = (documentation or "").partition("Args:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", "\n" + listed.split("\n\n")[0]):
        named, colon, text = entry.partition(": ")
        if colon:
            found |= {name.strip(): " ".join(text.split()) for name in named.split(",")}
    return found


def reward_options(name: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The options of a reward of r1rl's own: types and defaults (`inspect.Parameter.empty` for none) by name."""
    import rewards

    maker = rewards.target_of(name).__init__
    hints = get_type_hints(maker)
    parameters = list(inspect.signature(maker).parameters.values())[1:]
    named = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    return hints, {item.name: item.default for item in named}


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default


def _property(key: Key) -> Schema:
    """A key's values: by its own rule where it has one, else by its type and limits."""
    if key.name in _BY_NAME:
        return _BY_NAME[key.name]()
    plain = _typed(key.hint, _bounds(key.name))
    if key.name not in SCHEDULED:
        return plain
    by_step = {
        "type": "object",
        "description": "By optimizer step: {0: FIRST, STEP: NEXT}.",
        "patternProperties": {_STEP: plain},
        "required": ["0"],
        "additionalProperties": False,
    }
    return _any_of([*plain.get("anyOf", [plain]), by_step, _as_text("mapping")])


def _bounds(name: str) -> Schema:
    limit = LIMITS.get(name)
    if limit is None:
        return {}
    if limit.only is not None:
        return {"const": limit.only}
    bounds = {
        "minimum": limit.minimum,
        "exclusiveMinimum": limit.exclusive_minimum,
        "maximum": limit.maximum,
        "multipleOf": 1 if limit.whole else None,
    }
    found = {key: value for key, value in bounds.items() if value is not None}
    return found if limit.beside is None else {"anyOf": [found, {"const": limit.beside}]}


def _typed(hint: Any, bounds: Schema | None = None) -> Schema:
    """A type hint as a schema; `bounds` are for its numbers, or its truth value."""
    return _any_of([part for member in members(hint) for part in _part(member, bounds or {})])


def _part(member: Any, bounds: Schema) -> list[Schema]:
    """One part of a union, with the texts that are read as its values."""
    kind = kind_of(member)
    if kind is Any:
        return [{}]
    if kind is types.NoneType:
        return [{"type": "null"}, _as_text("null")]
    if kind is bool:
        return [{"type": "boolean", **bounds}, _as_text("truth")]
    if kind in (int, float):
        name = "integer" if kind is int else "number"
        return [{"type": name, **bounds}, _as_text("number")]
    if allowed := choices(member):
        bare_no = [{"const": False}] if kind is Enum and "no" in allowed else []  # YAML reads a bare `no` as false
        return [{"enum": allowed}, *bare_no]
    if kind is list:
        (inner,) = get_args(member) or (Any,)
        return [_list_of(_typed(inner)), {"type": "string"}, *_typed(inner).get("anyOf", [_typed(inner)])]
    if kind is dict:
        return [{"type": "object"}, _as_text("mapping")]
    return [{"type": "string"}]


def _as_text(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name} as text".replace(" ", "%20")}


def _any_of(parts: Iterable[Schema]) -> Schema:
    listed = list(parts)
    distinct = [part for place, part in enumerate(listed) if part not in listed[:place]]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _described(given: Schema, text: str, default: Any) -> Schema:
    shown = default.value if isinstance(default, Enum) else default
    about = {"description": text} if text else {}
    return about | ({} if shown is None else {"default": shown}) | given


def _options(hints: Mapping[str, Any], defaults: Mapping[str, Any], texts: Mapping[str, str]) -> Schema:
    """A mapping of options by their types; `inspect.Parameter.empty` for the default of one that must be given."""
    needed = [name for name, default in defaults.items() if default is inspect.Parameter.empty]
    stated = {
        name: _described(_typed(hints[name]), texts.get(name, ""), None if name in needed else default)
        for name, default in defaults.items()
    }
    return {
        "type": "object",
        "properties": stated,
        "patternProperties": {_WITH_HYPHENS: {}},
        "additionalProperties": False,
    } | ({"required": needed} if needed else {})


def _options_of(task: str) -> Schema:
    """The options of one task and of the data sets that are it; the first task is meant where none is named."""
    kind = tasks.task_class(task)
    items = [item for item in dataclasses.fields(kind) if item.init]
    empty = inspect.Parameter.empty
    needed = tasks.required(kind)
    defaults = {item.name: empty if item.name in needed else _default(item) for item in items}
    options = _options(get_type_hints(kind), defaults, option_texts(inspect.getdoc(kind)))
    names = [name for name in [*tasks.names(), *presets.PRESETS] if tasks.task_class(name) is kind]
    named: Schema = {"properties": {"task": {"enum": names}}}
    if Recipe().task not in names:
        named["required"] = ["task"]
    then: Schema = {"properties": {"task_options": _any_of([options, _as_text("mapping")])}}
    return {"if": named, "then": then | ({"required": ["task_options"]} if "required" in options else {})}


def _task() -> Schema:
    described = {name: tasks.describe(name) for name in tasks.names()}
    described |= {name: presets.describe(preset) for name, preset in presets.PRESETS.items()}
    return {"enum": list(described), "enumDescriptions": list(described.values())}


def _rewards() -> Schema:
    import rewards

    own = {"enum": rewards.names(), "enumDescriptions": [rewards.describe(name) for name in rewards.names()]}
    one = {"anyOf": [own, {"type": "string", "pattern": _ELSEWHERE}]}
    several = {"type": "string", "pattern": r"^\[|,"}
    return {"anyOf": [{**_list_of(one), "minItems": 1, "uniqueItems": True}, *one["anyOf"], several]}


def _reward_options() -> Schema:
    import rewards

    stated = {}
    for name in rewards.names():
        texts = option_texts(inspect.getdoc(rewards.target_of(name)))
        options = _options(*reward_options(name), texts)
        options.pop("patternProperties")
        stated[name] = _any_of([options, {"type": "null"}])
    return _any_of([
        {
            "type": "object",
            "properties": stated,
            "patternProperties": {_ELSEWHERE: {"type": ["object", "null"]}},
            "additionalProperties": False,
        },
        _as_text("mapping"),
    ])  # fmt: skip


def _prompt_options() -> Schema:
    example: Schema = {name: {} for name in prompts.EXAMPLE_KEYS}
    stated: Schema = {
        "examples": _list_of({
            "type": "object", "properties": example, "required": list(example), "additionalProperties": False,
        }),
        "system": {"type": "string"},
        "stop": _list_of({"type": "string", "minLength": 1}),
    }  # fmt: skip
    nullable = {name: _any_of([given, {"type": "null"}]) for name, given in stated.items()}
    options = {"type": "object", "properties": nullable, "additionalProperties": False}
    return _any_of([options, _as_text("mapping")])


def _guards() -> Schema:
    action = {"enum": [*guards.ACTIONS, False]}  # YAML reads a bare `off` as false
    setting = {
        "type": "object",
        "properties": {
            "action": {"enum": [*guards.ACTIONS, False, None]},
            "limit": {"type": ["number", "null"]},
            "window": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        },
        "additionalProperties": False,
    }
    texts = {guard.name: f"{guard.says}. Default: {guard.action}." for guard in guards.GUARDS}
    texts[guards.ALL] = "Every guard that is not named."
    stated = {name: {"description": text, "anyOf": [action, setting]} for name, text in texts.items()}
    mapping = {"type": "object", "properties": stated, "additionalProperties": False}
    return _any_of([mapping, _as_text("mapping")])


def _launcher() -> Schema:
    shipped = sorted(file.stem for file in launchers.SHIPPED.glob("*.yaml"))
    return {"anyOf": [{"enum": shipped}, {"type": ["string", "null"]}]}


# Keys whose values are names in a registry, or mappings by them.
_BY_NAME: Final[dict[str, Callable[[], Schema]]] = {
    "model_name_or_path": lambda: {"type": "string", "minLength": 1},
    "task": _task,
    "prompt_template": lambda: {"enum": prompts.names()},
    "prompt_options": _prompt_options,
    "reward_funcs": _rewards,
    "reward_options": _reward_options,
    "guards": _guards,
    "launcher": _launcher,
}
