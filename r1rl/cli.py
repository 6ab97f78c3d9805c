# PYTHON_ARGCOMPLETE_OK
"""The commands: a table of contents. Each one is a module of `r1rl.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from r1rl import __version__
from r1rl.commands import (
    Parser,
    aha,
    audit,
    base,
    compare,
    counterfactual,
    data,
    eval,
    export,
    import_,
    init,
    inspect,
    judge,
    logs,
    plan,
    recipe,
    rewards,
    runs,
    status,
    study,
    submit,
    tasks,
    train,
    try_,
)
from r1rl.run import exits

COMMANDS: Final = {
    "init": init,
    "train": train,
    "study": study,
    "plan": plan,
    "submit": submit,
    "status": status,
    "logs": logs,
    "runs": runs,
    "inspect": inspect,
    "compare": compare,
    "aha": aha,
    "counterfactual": counterfactual,
    "judge": judge,
    "eval": eval,
    "data": data,
    "try": try_,
    "export": export,
    "import": import_,
    "rewards": rewards,
    "audit": audit,
    "tasks": tasks,
    "recipe": recipe,
    "base": base,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0; 1 for a failure, 2 for a user's error, 130 for Ctrl-C."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    _complete(parser)
    if not words:
        parser.print_help()
        return exits.SUCCESS
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        parsed.parser.refuse(unknown)
    return exits.guarded(lambda: parsed.command(parsed), last=arguments is None)


def _complete(parser: Parser) -> None:
    """Answer a shell that asks what the words may go on with, where argcomplete is installed."""
    if "_ARGCOMPLETE" in os.environ:
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)


def _parser() -> Parser:
    parser = Parser(prog="r1rl", description="R1-Zero style training, and a look at what emerges.")
    parser.add_argument("--version", action="version", version=f"r1rl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=module.run, parser=command)
        module.add_arguments(command)
    return parser


def help_of(name: str) -> str:
    """What `r1rl NAME --help` prints."""
    commands = next(action.choices for action in _parser()._actions if isinstance(action.choices, dict))
    return str(commands[name].format_help())


if __name__ == "__main__":
    sys.exit(main())
