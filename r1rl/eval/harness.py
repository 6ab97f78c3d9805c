"""Standard tasks by lm-eval, EleutherAI's evaluation harness (the extra `harness`): it asks and grades in its own way.

It runs in a process of its own for each target. Its results and samples are kept in the target's folder as it wrote
them; `results.json` has its figures, with intervals of 1.96 of its standard errors.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from r1rl.aha.figures.bootstrap import LEAST_PROMPTS, Estimate
from r1rl.eval.targets import Target
from r1rl.ground import api_keys, whole_files
from r1rl.ground.errors import RecipeError, RunFailedError, one_line
from r1rl.ground.values import read_yaml
from r1rl.models import resolve as models
from r1rl.run.folder import RunFolder

NAMES: Final = ("lm-eval",)
_WIDTH: Final = 1.96  # standard errors of an interval of 95 %


@dataclass(frozen=True)
class Plan:
    """What the harness is asked to do.

    Args:
        path: the evaluation's folder.
        task: names of its tasks, joined by commas, or a YAML file of one.
        limit: questions of a task.
        generation: what differs from the tasks' own ways to sample, by lm-eval's names.
        seed: of its draws.
        dtype: of weights, as in `protocol.Asking`.
        words: further words of its command line.
        chat: whether an endpoint is asked in chats.
    """

    path: Path
    targets: Sequence[Target]
    task: str
    limit: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    dtype: str | None = None
    words: Sequence[str] = ()
    chat: bool = True
    parallel: int = 8


@dataclass(frozen=True)
class Figure:
    """One figure of one target: a task's metric, after one of its filters."""

    target: str
    task: str
    questions: int | None
    metric: str
    filter: str
    estimate: Estimate


def check() -> None:
    """Raise RecipeError where lm-eval is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise RecipeError("harness='lm-eval': is not installed; try pip install 'r1rl[harness]'")


def run(plan: Plan, *, resume: bool = False) -> list[Figure]:
    """Every target's figures; with `resume` a target that was asked to the end in the same way is not asked again.

    Raises:
        RecipeError: lm-eval is missing, or a target was asked in another way.
        RunFailedError: lm-eval failed; its own output has said why.
    """
    check()
    found = []
    for target in plan.targets:
        folder = plan.path / target.folder / f"step-{target.step}"
        words = _words(plan, target)
        kept = whole_files.read_json(folder / "asked.json") if resume else None
        if kept and kept["words"] != words:
            raise RecipeError(
                f"{folder}: was asked as {' '.join(kept['words'])}; give another --name, or the same words"
            )
        if kept is None or not _newest(folder):
            folder.mkdir(parents=True, exist_ok=True)
            whole_files.write_json(folder / "asked.json", {"words": words})
            _ask(words, folder)
        found += read(folder, target.label)
    facts = {"name": plan.path.name, "harness": "lm-eval", "task": plan.task, "limit": plan.limit}
    whole_files.write_json(plan.path / "results.json", facts | {"figures": [asdict(figure) for figure in found]})
    return found


def read(folder: Path, label: str) -> list[Figure]:
    """The figures of lm-eval's newest results below a folder.

    Raises:
        RunFailedError: there are none, or they are not what lm-eval writes.
    """
    path = _newest(folder)
    if path is None:
        raise RunFailedError(f"{folder}: lm-eval has written no results")
    found = []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for task, figures in content["results"].items():
            asked = content.get("n-samples", {}).get(task, {}).get("effective")
            for key, value in figures.items():
                metric, comma, name = key.partition(",")
                if not comma or metric.endswith("_stderr") or isinstance(value, str):
                    continue
                error = figures.get(f"{metric}_stderr,{name}")
                found.append(Figure(label, task, asked, metric, name, _estimate(float(value), error, asked)))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunFailedError(f"{path}: is not what lm-eval writes: {one_line(error)}") from error
    return found


def _estimate(value: float, error: Any, asked: int | None) -> Estimate:
    """With an interval where a standard error says something: not of few questions, nor where all say the same."""
    few = asked is not None and asked < LEAST_PROMPTS
    if few or not isinstance(error, int | float) or not error:  # lm-eval says "N/A" where it has none
        return Estimate(value)
    low, high = value - _WIDTH * error, value + _WIDTH * error
    return Estimate(value, max(0.0, low), min(1.0, high)) if 0 <= value <= 1 else Estimate(value, low, high)


def _newest(folder: Path) -> Path | None:
    """lm-eval puts its results into a folder that it names after the model, under the time."""
    return max(folder.rglob("results_*.json"), key=lambda path: path.stat().st_mtime, default=None)


def _ask(words: Sequence[str], folder: Path) -> None:
    environment = dict(os.environ)
    if key := api_keys.from_environment(api_keys.OF_MODELS):
        environment["OPENAI_API_KEY"] = key
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words, "--output_path", str(folder)],
        env=environment, stdout=2, check=False,  # stdout is for the results
    )  # fmt: skip
    if done.returncode:
        raise RunFailedError(f"lm-eval ended with exit code {done.returncode}, see above; --resume asks again")


def _words(plan: Plan, target: Target) -> list[str]:
    """lm-eval's command line, without where to write."""
    model, arguments = _model(plan, target)
    task, words = plan.task, []
    if Path(task).suffix in (".yaml", ".yml"):
        if not Path(task).is_file():
            raise RecipeError(f"task={task!r}: no such file")
        words += ["--include_path", str(Path(task).resolve().parent)]
        task = _named(Path(task))
    words = ["--model", model, "--model_args", ",".join(arguments), "--tasks", task, *words]
    words += ["--limit", str(plan.limit)] if plan.limit is not None else []
    if plan.generation:
        words += ["--gen_kwargs", ",".join(f"{key}={value}" for key, value in plan.generation.items())]
    if target.kind == "url" and plan.chat:
        words.append("--apply_chat_template")
    return [*words, "--seed", str(plan.seed), "--log_samples", *plan.words]


def _named(path: Path) -> str:
    """What a task's YAML calls it; its tags (`!function`) are lm-eval's own, so only that line is read."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("task:"):
            return line.partition(":")[2].strip().strip("\"'")
    raise RecipeError(f"task={str(path)!r}: says no name of a task (task: NAME)")


def _model(plan: Plan, target: Target) -> tuple[str, list[str]]:
    """lm-eval's kind of model, and its arguments."""
    if target.kind == "url":
        url, _, name = target.source.partition("#")
        asked = "chat/completions" if plan.chat else "completions"
        kind = "local-chat-completions" if plan.chat else "local-completions"
        given = [f"model={name}", f"base_url={url.rstrip('/')}/{asked}", f"num_concurrent={plan.parallel}"]
        return kind, [*given, "tokenized_requests=False", "tokenizer_backend=None"]
    adapter = target.path is not None and (target.path / "adapter_config.json").is_file()
    whole = target.path is not None and not adapter
    base = target.source
    if target.kind == "run" and not whole:
        base = str(read_yaml(RunFolder(Path(target.source)).recipe)["model_name_or_path"])
    name, at, revision = (base, "", "") if Path(base).exists() else base.partition("@")
    given = [f"pretrained={target.path if whole else models.resolve(name)}", f"dtype={plan.dtype or 'auto'}"]
    given += [f"revision={revision}"] if at else []
    given += [f"peft={target.path}"] if adapter else []
    for word in given:
        if "," in word:
            raise RecipeError(f"target {target.label!r}: lm-eval takes no comma in a path; move it, or link to it")
    return "hf", given
