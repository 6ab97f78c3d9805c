"""The commands: a table of contents. Each one imports what it needs and hands over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from r1rl import __version__, launch
from r1rl.recipe_values import RecipeError

_TRAIN_EXAMPLES = """\
examples:
  r1rl train recipes/tiny/countdown.yaml
  r1rl train recipes/tiny/countdown.yaml --seed 1 --max_steps 40 --name short
  r1rl train recipes/tiny/countdown.yaml --launcher cpu_ddp2
  r1rl train recipes/smollm2-135m/mawps.yaml --task_options.path mawps.jsonl

Every key of the recipe can be given as --key value: r1rl's own, listed above, and every field of TRL's
GRPOConfig (https://huggingface.co/docs/trl/grpo_trainer) and ModelConfig."""
_INSPECT_EXAMPLES = """\
examples:
  r1rl inspect runs/countdown-1
  r1rl inspect runs/countdown-1 --json
  r1rl inspect runs/countdown-1 --open yes"""
_BASE_EXAMPLES = """\
examples:
  r1rl base build
  r1rl base show"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0; 1 for a failure, 2 for a user's error, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser().parse_args(words)
    return launch.guarded(lambda: parsed.command(parsed))


def _train(parsed: argparse.Namespace) -> int:
    if any(word in ("-h", "--help") for word in parsed.overrides):
        return main(["train", "--help"])
    return launch.train(parsed.recipe, parsed.overrides)


def _inspect(parsed: argparse.Namespace) -> None:
    from r1rl import inspect

    try:
        inspect.run(parsed.run, as_json=parsed.json, html=parsed.html == "yes")
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if parsed.open == "yes":
        import webbrowser

        webbrowser.open((parsed.run / "report.html").resolve().as_uri())


def _rewards(_: argparse.Namespace) -> None:
    import rewards

    _print_table({name: rewards.describe(name) for name in rewards.names()})


def _tasks(_: argparse.Namespace) -> None:
    from r1rl import tasks

    _print_table({name: tasks.describe(name) for name in tasks.names()})


def _base(parsed: argparse.Namespace) -> None:
    from r1rl import base

    if parsed.name not in base.BASES:
        raise RecipeError(f"base {parsed.name!r}: unknown, known are {', '.join(base.BASES)}")
    folder = base.path(parsed.name)
    shown = (folder / "base.json").read_text(encoding="utf-8") if parsed.action == "show" else f"{folder}\n"
    sys.stdout.write(shown)


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    sys.stdout.writelines(f"{name:<{width}}  {text}\n" for name, text in rows.items())


def _own_keys() -> str:
    import dataclasses

    from r1rl.recipe_keys import Recipe

    keys = [f"  {item.name:<18} {item.metadata['help']}" for item in dataclasses.fields(Recipe)]
    return "\n".join(["keys of r1rl itself:", *keys])


class _Parser(argparse.ArgumentParser):
    """argparse with the project's way of reporting: one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(launch.USAGE, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="r1rl", description="R1-Zero style training, and a look at what emerges.")
    parser.add_argument("--version", action="version", version=f"r1rl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, text: str, run: object, examples: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=run)
        return added

    train = add("train", "Train a recipe.", _train, f"{_own_keys()}\n\n{_TRAIN_EXAMPLES}")
    train.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe's YAML file")
    train.add_argument("overrides", nargs=argparse.REMAINDER, metavar="--key value", help="recipe keys to override")

    inspect = add("inspect", "Show what a run did, and write its report.", _inspect, _INSPECT_EXAMPLES)
    inspect.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    inspect.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    inspect.add_argument("--html", choices=("yes", "no"), default="yes", help="write report.html (default: yes)")
    inspect.add_argument("--open", choices=("yes", "no"), default="no", help="open the report (default: no)")

    add("rewards", "List the rewards a recipe can name.", _rewards)
    add("tasks", "List the tasks a recipe can name.", _tasks)

    base = add("base", "Build or show a tiny base model.", _base, _BASE_EXAMPLES)
    actions = "build: pretrain it unless it is cached, print its folder; show: its configuration and measured skills"
    base.add_argument("action", choices=("build", "show"), metavar="ACTION", help=actions)
    base.add_argument("name", nargs="?", default="countdown", metavar="NAME", help="default: countdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
