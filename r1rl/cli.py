"""The commands: a table of contents. Each one imports what it needs and hands over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
_REWARDS_EXAMPLES = """\
examples:
  r1rl rewards
  r1rl rewards try accuracy --completion '<answer>\\frac{1}{2}</answer>' --gold 0.5
  r1rl rewards try accuracy --verifier countdown --meta '{"numbers": [3, 5, 7]}' \\
      --completion '<answer>3 * 5 + 7</answer>' --gold 22
  r1rl rewards try format --completion '<think>hm</think> <answer>12</answer> done'
  r1rl rewards try my_package.rules:reward --completion -"""
_AUDIT_EXAMPLES = """\
examples:
  r1rl audit math500_test.jsonl --question_column problem
  r1rl audit gsm8k_test.jsonl --answer_pattern '#### (.+)' --wrong_per_row 8

Every gold answer is judged against itself, and as a wrong answer to other problems whose answer has another value."""
_BENCH_EXAMPLES = """\
examples:
  r1rl bench graders data
  r1rl bench graders data --pairs 1000 --json"""
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


def _rewards(parsed: argparse.Namespace) -> None:
    import rewards

    if parsed.action == "list":
        _print_table({name: rewards.describe(name) for name in rewards.names()})
        return
    from rewards.explain import explain

    if parsed.name is None or parsed.completion is None:
        raise RecipeError("r1rl rewards try needs a reward's NAME and --completion TEXT (see r1rl rewards --help)")
    text = parsed.completion
    if text == "-":
        text = sys.stdin.read()
    try:
        meta, options = _json_object("--meta", parsed.meta), _json_object("--options", parsed.options)
        found = explain(
            parsed.name,
            text,
            gold=parsed.gold,
            verifier=parsed.verifier,
            meta=meta,
            prefill=parsed.prefill,
            tokens=parsed.tokens,
            options=options,
        )
    except ValueError as error:
        raise RecipeError(str(error)) from error
    paid = "none: the row is left out" if found.value is None else f"{found.value:g}"
    _print_table({"reward": paid} | dict(found.facts))


def _audit(parsed: argparse.Namespace) -> None:
    from r1rl.verify.audit import audit

    try:
        found = audit(
            parsed.file,
            parsed.question_column,
            parsed.answer_column,
            answer_pattern=parsed.answer_pattern,
            verifier=parsed.verifier,
            wrong_per_row=None if parsed.all_pairs else parsed.wrong_per_row,
            progress=True,
        )
    except ValueError as error:
        raise RecipeError(str(error)) from error
    sys.stdout.writelines(f"{line}\n" for line in found.lines())


def _bench(parsed: argparse.Namespace) -> None:
    import json

    from r1rl import bench

    try:
        rows = bench.graders(parsed.data, pairs=parsed.pairs, seed=parsed.seed)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if parsed.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    sys.stdout.write(f"{rows[0]['machine']}; medians of interleaved slices\n")
    _print_table({r["name"]: f"{r['ours']:>10,} {r['peer']:>10,} {r['unit']}  {r['ratio']:.2f}x" for r in rows})


def _json_object(key: str, text: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key}={text!r}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f'{key}={text!r}: need a JSON object such as {{"numbers": [3, 5, 7]}}')
    return value


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

    rewards = add(
        "rewards", "List the rewards a recipe can name, or try one on a completion.", _rewards, _REWARDS_EXAMPLES
    )
    rewards.add_argument("action", nargs="?", choices=("list", "try"), default="list", metavar="list|try")
    rewards.add_argument("name", nargs="?", metavar="NAME", help="a name from the list, or package.module:function")
    rewards.add_argument(
        "--completion", metavar="TEXT", help="what the model wrote; - reads it from the standard input"
    )
    rewards.add_argument("--gold", default="", metavar="TEXT", help="the right answer")
    rewards.add_argument("--verifier", default="math", metavar="NAME", help="who judges the answer (default: math)")
    rewards.add_argument(
        "--meta", default="{}", metavar="JSON", help='what the verifier needs, as {"numbers": [3, 5, 7]}'
    )
    rewards.add_argument("--prefill", default="", metavar="TEXT", help="what the prompt already opened, as <think>")
    rewards.add_argument("--tokens", type=int, metavar="N", help="length in tokens (default: the words are counted)")
    rewards.add_argument("--options", default="{}", metavar="JSON", help="the reward's options, as in reward_options")
    audit = add("audit", "Judge a file's gold answers, right and wrong ones.", _audit, _AUDIT_EXAMPLES)
    audit.add_argument("file", type=Path, metavar="FILE", help="a JSONL, Parquet or CSV file, as in the task file")
    audit.add_argument("--question_column", default="question", metavar="NAME", help="default: question")
    audit.add_argument("--answer_column", default="answer", metavar="NAME", help="default: answer")
    audit.add_argument("--answer_pattern", metavar="REGEX", help="where the answer stands, as '#### (.+)' in GSM8K")
    audit.add_argument("--verifier", default="math", metavar="NAME", help="default: math")
    audit.add_argument("--wrong_per_row", type=int, default=1, metavar="N", help="wrong answers a row (default: 1)")
    audit.add_argument("--all_pairs", action="store_true", help="every pair of different gold answers")

    bench = add("bench", "Measure a part side by side with the plain way.", _bench, _BENCH_EXAMPLES)
    bench.add_argument("part", choices=("graders",), metavar="PART", help="graders: against plain math-verify")
    bench.add_argument("data", type=Path, metavar="DATA", help="folder with gsm8k_*.jsonl and math500_*.jsonl")
    bench.add_argument("--pairs", type=int, default=5000, metavar="N", help="answer pairs judged (default: 5000)")
    bench.add_argument("--seed", type=int, default=0, metavar="N", help="which pairs (default: 0)")
    bench.add_argument("--json", action="store_true", help="print a list of rows and nothing else")

    add("tasks", "List the tasks a recipe can name.", _tasks)

    base = add("base", "Build or show a tiny base model.", _base, _BASE_EXAMPLES)
    actions = "build: pretrain it unless it is cached, print its folder; show: its configuration and measured skills"
    base.add_argument("action", choices=("build", "show"), metavar="ACTION", help=actions)
    base.add_argument("name", nargs="?", default="countdown", metavar="NAME", help="default: countdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
