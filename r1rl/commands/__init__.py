"""One module a command, named as the command: SUMMARY, EXAMPLES, `add_arguments`, `run`.

The modules are imported for every command's help, so each imports what is heavy in `run`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from r1rl.ground import shipped
from r1rl.ground.errors import RecipeError, nearest
from r1rl.run import exits

_YES_OR_NO = ("yes", "no", "true", "false", "on", "off")


class Parser(argparse.ArgumentParser):
    """argparse with errors in one line and exit code 2; options may be written with underscores, as recipe keys are."""

    recipe_first = False  # recipe keys stand behind RECIPE, so no unknown option may stand before it

    def error(self, message: str) -> None:  # type: ignore[override]
        chosen = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        near = nearest(chosen[1], re.findall(r"[\w-]+", chosen[2])) if chosen else ""
        self.exit(exits.USAGE, f"error: {message}{near} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = self._dotted([self._hyphenated(word) for word in args or ()])
        first = words[0].partition("=")[0] if words else ""
        if self.recipe_first and first.startswith("--") and first not in self._option_string_actions:
            self.error(f"{first}: RECIPE comes first, its keys behind it")
        for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
            option, equals, value = word.partition("=")
            action = self._option_string_actions.get(option)
            if action is not None and action.nargs == 0 and (equals or following.lower() in _YES_OR_NO):
                self.error(f"{option}: takes no value, leave {(value if equals else following)!r} out")
        return super().parse_known_args(words, namespace)

    def refuse(self, words: Sequence[str]) -> None:
        """Say which words are no arguments here, with the nearest option."""
        option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        if option is None:
            self.error(f"unexpected {' '.join(words)}")
            return
        known = [name for name in self._option_string_actions if name.startswith("--")]
        opposite = f"--no-{option[2:]}"
        near = f"; did you mean {opposite!r}?" if opposite in known else nearest(option, known)
        self.error(f"{option}: unknown option{near}")

    def _dotted(self, words: list[str]) -> list[str]:
        """`--task_options.path FILE` as `--task-options path=FILE`, for options of the type `setting`."""
        found: list[str] = []
        rest = iter(words)
        for word in rest:
            head, dot, key = word.partition(".")
            action = self._option_string_actions.get(head.replace("_", "-"))
            if not dot or action is None or action.type is not setting:
                found.append(word)
                continue
            key, equals, value = key.partition("=")
            found += [action.option_strings[-1], f"{key}={value if equals else next(rest, '')}"]
        return found

    def _hyphenated(self, word: str) -> str:
        option, equals, value = word.partition("=")
        known = option.replace("_", "-")
        return known + equals + value if option.startswith("--") and known in self._option_string_actions else word


@contextmanager
def user_errors() -> Iterator[None]:
    """What the user got wrong, said by a ValueError, as one line and exit code 2."""
    try:
        yield
    except ValueError as error:
        raise RecipeError(str(error)) from error


def print_table(rows: Mapping[str, str]) -> None:
    """Names and texts in two columns."""
    width = max(map(len, rows))
    sys.stdout.writelines(f"{name:<{width}}  {text}\n" for name, text in rows.items())


def add_recipe(parser: argparse.ArgumentParser, add_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """The arguments RECIPE, a command's own options, and recipe keys behind them."""
    if isinstance(parser, Parser):
        parser.recipe_first = True
    parser.add_argument("recipe", type=shipped.recipe, metavar="RECIPE", help="a YAML file, or tiny/countdown")
    add_options(parser)
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="--key value", help="recipe keys to override")


def json_object(text: str) -> dict[str, Any]:
    """The value of an option that is a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r}: need a JSON object such as {{"numbers": [3, 5, 7]}}')
    return value


def pair(text: str) -> tuple[str, str]:
    """The value of an option that is NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r}: need NAME=VALUE")
    return name, value


def setting(text: str) -> tuple[str, Any]:
    """The value of an option that is KEY=VALUE, the value in JSON or as text."""
    name, value = pair(text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """The option that sets a task up."""
    parser.add_argument(
        "--task-options", type=setting, action="append", default=[], metavar="KEY=VALUE",
        help="an option of the task; also --task_options.KEY VALUE",
    )  # fmt: skip


def read_options(parsed: argparse.Namespace, add_options: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """A command's own options from among the recipe keys behind RECIPE, into `parsed`; returns the recipe's words.

    argparse leaves everything behind a positional argument to the keys.
    """
    if any(word in ("-h", "--help") for word in parsed.overrides):
        parsed.parser.parse_args(["--help"])
    own = Parser(prog=parsed.parser.prog, add_help=False, allow_abbrev=False)
    add_options(own)
    _, rest = own.parse_known_args(parsed.overrides, namespace=parsed)
    return list(rest)
