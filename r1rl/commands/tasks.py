"""r1rl tasks: where questions come from."""

from __future__ import annotations

import argparse

from r1rl.commands import print_table

SUMMARY = "List the tasks a recipe can name."
EXAMPLES = """\
examples:
  r1rl tasks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(_: argparse.Namespace) -> None:
    from r1rl import tasks

    print_table({name: tasks.describe(name) for name in tasks.names()})
