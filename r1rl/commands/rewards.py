"""r1rl rewards: the rules a recipe can name, and what one says of a completion."""

from __future__ import annotations

import argparse
import sys

from r1rl.commands import json_object, print_table, user_errors
from r1rl.ground.errors import RecipeError

SUMMARY = "List the rewards a recipe can name, or try one on a completion."
EXAMPLES = """\
examples:
  r1rl rewards
  r1rl rewards try accuracy --completion '<answer>\\frac{1}{2}</answer>' --gold 0.5
  r1rl rewards try accuracy --verifier countdown --meta '{"numbers": [3, 5, 7]}' \\
      --completion '<answer>3 * 5 + 7</answer>' --gold 22
  r1rl rewards try format --completion '<think>hm</think> <answer>12</answer> done'
  r1rl rewards try my_package.rules:reward --completion -"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "try"), default="list", metavar="list|try")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from the list, or package.module:function")
    parser.add_argument("--completion", metavar="TEXT", help="what the model wrote; - reads it from the standard input")
    parser.add_argument("--gold", default="", metavar="TEXT", help="the right answer")
    parser.add_argument("--verifier", default="math", metavar="NAME", help="who judges the answer (default: math)")
    meta = 'what the verifier needs, as {"numbers": [3, 5, 7]}'
    parser.add_argument("--meta", type=json_object, default={}, metavar="JSON", help=meta)
    parser.add_argument("--prefill", default="", metavar="TEXT", help="what the prompt already opened, as <think>")
    parser.add_argument("--tokens", type=int, metavar="N", help="length in tokens (default: the words are counted)")
    parser.add_argument("--options", type=json_object, default={}, metavar="JSON", help="as in reward_options")


def run(parsed: argparse.Namespace) -> None:
    import rewards

    if parsed.action == "list":
        print_table({name: rewards.describe(name) for name in rewards.names()})
        return
    from rewards.explain import explain

    if parsed.name is None or parsed.completion is None:
        raise RecipeError("r1rl rewards try needs a reward's NAME and --completion TEXT (see r1rl rewards --help)")
    with user_errors():
        completion = sys.stdin.read() if parsed.completion == "-" else parsed.completion
        settings = ("gold", "verifier", "meta", "prefill", "tokens", "options")
        found = explain(parsed.name, completion, **{name: getattr(parsed, name) for name in settings})
    paid = "none: the row is left out" if found.value is None else f"{found.value:g}"
    print_table({"reward": paid} | dict(found.facts))
