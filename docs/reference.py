"""Reference pages of the site, from the tables that the program itself reads; written when the site is built."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import rewards
from r1rl import cli, tasks
from r1rl.ground.values import describe
from r1rl.recipe import schema
from r1rl.recipe.keys import DERIVED
from r1rl.recipe.schedules import SCHEDULED
from r1rl.tasks import presets

ROOT = Path(__file__).resolve().parents[1]
_OWNERS = {
    "r1rl": "Keys of r1rl",
    "GRPOConfig": "Keys of TRL's GRPOConfig",
    "ModelConfig": "Keys of TRL's ModelConfig",
}


def recipe_keys() -> str:
    """Every key of a recipe: type, default, help."""
    lines = [
        "# Recipe keys",
        "Every key can stand in a recipe, and on the command line as `--key value`. An editor can [complete "
        "them](../editor.md). [Some may change at a step](../schedules.md): a mapping by step instead of a number.",
    ]
    known = schema.keys()
    for owner, title in _OWNERS.items():
        rows = [
            (f"`{key.name}`", describe(key.hint) + (", or by step" if key.name in SCHEDULED else ""),
             _value(key.default), key.help)
            for key in known if key.owner == owner
        ]  # fmt: skip
        lines += [f"## {title}", _table(("key", "value", "default", ""), rows)]
    derived = [(f"`{key}`", text) for key, text in DERIVED.items()]
    lines += [
        "## Keys that r1rl works out itself",
        "A recipe that states one is refused.",
        _table(("key", ""), derived),
    ]
    return _page(lines)


def task_names() -> str:
    """Every task with its options, and the data sets by name."""
    lines = ["# Tasks", "`task: NAME` in a recipe, with `task_options`. `r1rl tasks` lists them."]
    for name in tasks.names():
        kind = tasks.task_class(name)
        texts, hints = schema.option_texts(inspect.getdoc(kind)), get_type_hints(kind)
        needed = tasks.required(kind)
        rows = [
            (f"`{item.name}`", describe(hints[item.name]),
             "must be given" if item.name in needed else _value(_default(item)), texts.get(item.name, ""))
            for item in dataclasses.fields(kind) if item.init
        ]  # fmt: skip
        lines += [f"## {name}", tasks.describe(name), _table(("option", "value", "default", ""), rows)]
    sets = [(f"`{name}`", presets.describe(preset)) for name, preset in presets.PRESETS.items()]
    lines += ["## Data sets by name", "The task `file` with its options filled in; any of them may be given besides.",
              _table(("task", ""), sets)]  # fmt: skip
    return _page(lines)


def reward_names() -> str:
    """Every reward with its options."""
    lines = [
        "# Rewards",
        "`reward_funcs: [NAME, …]` in a recipe, with `reward_options` by name. `r1rl rewards try NAME` pays a text of "
        "yours. [How answers are judged](../grading.md); [a reward of your own](../your-own.md).",
    ]
    for name in rewards.names():
        documentation = inspect.getdoc(rewards.target_of(name)) or ""
        about, _, rest = documentation.partition("Args:\n")
        after = rest.partition("\n\n")[2]
        hints, defaults = schema.reward_options(name)
        texts = schema.option_texts(documentation)
        rows = [
            (f"`{option}`", describe(hints[option]),
             "must be given" if default is inspect.Parameter.empty else _value(default), texts.get(option, ""))
            for option, default in defaults.items()
        ]  # fmt: skip
        lines += [f"## {name}", about.strip(), after.strip()]
        lines += [_table(("option", "value", "default", ""), rows)] if rows else []
    return _page(lines)


def commands() -> str:
    """The help of every command."""
    lines = ["# Commands", "What `r1rl COMMAND --help` prints."]
    for name, module in cli.COMMANDS.items():
        lines += [f"## r1rl {name}", f"{module.SUMMARY}", f"```\n{cli.help_of(name).rstrip()}\n```"]
    return _page(lines)


def recipes() -> str:
    """The files of the recipes themselves."""
    lines = ["# Recipe files"]
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        name = path.relative_to(ROOT / "recipes").with_suffix("").as_posix()
        lines += [f"## {name}", f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"]
    return _page(lines)


PAGES: dict[str, Callable[[], str]] = {
    "reference/keys.md": recipe_keys,
    "reference/tasks.md": task_names,
    "reference/rewards.md": reward_names,
    "reference/commands.md": commands,
    "reference/recipes.md": recipes,
}


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _value(value: Any) -> str:
    shown = value.value if isinstance(value, Enum) else value
    if shown is None or shown == "":
        return ""
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = [head, tuple("---" for _ in head), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cell(text: str) -> str:
    """A text in a table: bars, brackets and tags of a help text are only text, in code as well."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("[", "\\[").replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def _page(lines: list[str]) -> str:
    return "\n\n".join(line for line in lines if line) + "\n"
