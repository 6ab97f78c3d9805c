"""An evaluation from beginning to end: its folder, its targets one after another, its results.

NAME/ holds results.json, eval.html and curves.svg, and a run folder for each target (a run's steps share one), which
`inspect` and `aha` open.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from tqdm import tqdm

from r1rl.aha.counterfactual import checkpoints
from r1rl.eval import endpoint, local, measuring, questions, vllm_engine
from r1rl.eval.endpoint import Endpoint
from r1rl.eval.keeping import Samples
from r1rl.eval.measuring import Comparison, Score
from r1rl.eval.protocol import Answerer, Ask, Asking, Reply
from r1rl.eval.questions import Questions
from r1rl.eval.targets import Target
from r1rl.ground import machine, whole_files
from r1rl.ground.endpoints import Limits
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.ground.values import read_yaml
from r1rl.run import folder as run_folder
from r1rl.run.folder import RunFolder
from r1rl.tasks.dataset import dataset_rows

_MAY_GROW: Final = frozenset({"samples", "limit", "name", "r1rl"})
"""Settings of a target that may change when an evaluation goes on: what was sampled stays valid."""


@dataclass(frozen=True)
class Plan:
    """What is to be done: who is asked what, and how.

    Args:
        path: the evaluation's folder.
        engine: what samples from models: embedded or vllm.
    """

    path: Path
    targets: Sequence[Target]
    questions: Questions
    asking: Asking
    ks: Sequence[int]
    limits: Limits = field(default_factory=Limits)
    engine: str = "embedded"
    limit: int | None = None


@dataclass(frozen=True)
class Results:
    """What came of it; `failure` says why a target was not asked to the end."""

    scores: list[Score]
    comparisons: list[Comparison]
    facts: dict[str, Any]
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """One JSON object with stable keys."""
        return {
            **self.facts,
            "failure": self.failure or None,
            "targets": [measuring.as_json(score) for score in self.scores],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def run(plan: Plan, *, resume: bool = False, progress: bool = False) -> Results:
    """Ask every target what is not stored yet, and measure what is.

    Raises:
        RecipeError: the folder belongs to another evaluation, or a target cannot be asked.
    """
    run_folder.check_name(plan.path.name, plan.path.parent, resume=resume)
    run_folder.check_place(plan.path.parent)
    scores, failure = [], ""
    for target in plan.targets:
        score, failed = _evaluate(plan, target, progress=progress)
        scores.append(score)
        failure = failure or failed
    comparisons = [measuring.compare(scores[0], score) for score in scores[1:]]
    results = Results(scores, comparisons, _facts(plan), failure)
    whole_files.write_json(plan.path / "results.json", results.as_json())
    return results


def _evaluate(plan: Plan, target: Target, *, progress: bool) -> tuple[Score, str]:
    """One target's score, and why it was not asked to the end; its weights are gone on return."""
    answerer, failure = _answerer(target, plan), ""
    folder = _folder(plan, target, answerer)
    asked = Asked(folder, target, answerer)
    try:
        _sample(plan, target, answerer, folder, asked, progress=progress)
    except RunFailedError as error:
        failure = str(error)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nwhat was sampled is kept; go on with --name {plan.path.name} --resume\n")
        raise
    whole_files.write_json(folder.result, {"steps": target.step, "finished": not failure, "evaluation": plan.path.name})
    score = measuring.score(
        folder.path,
        target.step,
        label=target.label,
        ids=[row.prompt_id for row in plan.questions.rows],
        samples=plan.asking.samples,
        extraction=answerer.extraction,
        ks=plan.ks,
        kinds=questions.kinds(plan.questions.rows),
        asked=asked.summary(),
        workers=machine.cores_of_a_rank(),
    )
    return score, failure


class Asked:
    """What an endpoint was asked and what it cost, over all sittings; of a model only failures could be said."""

    def __init__(self, folder: RunFolder, target: Target, answerer: Answerer) -> None:
        self.folder = folder
        self.target = target
        self.answerer = answerer
        self.failed: Counter[str] = Counter()
        self.before = spent_before(folder) if isinstance(answerer, Endpoint) else 0.0

    def failure(self, ask: Ask, reason: str) -> None:
        """A sample that did not come, all tries used up."""
        self.failed[reason] += 1

    def summary(self) -> dict[str, Any]:
        """For the results: requests, tries made again by reason, failures by reason, cost."""
        if not isinstance(self.answerer, Endpoint):
            return {}
        ledger = self.answerer.line.ledger
        return {
            "requests": ledger.requests,
            "tried_again": dict(ledger.again.most_common(8)),
            "failed": dict(self.failed.most_common(8)),
            "cost": ledger.spent if ledger.limits.price else None,
            "stopped": self.answerer.line.stopped or None,
        }

    def note(self) -> None:
        """Write what this sitting cost into the target's events."""
        if isinstance(self.answerer, Endpoint) and self.answerer.line.ledger.requests:
            cost = self.answerer.line.ledger.spent - self.before
            self.folder.append_event("asked", step=self.target.step, **(self.summary() | {"cost": cost}))


def spent_before(folder: RunFolder) -> float:
    """The cost of earlier sittings."""
    return sum(float(event.get("cost") or 0) for event in folder.read_events() if event["event"] == "asked")


def _answerer(target: Target, plan: Plan) -> Answerer:
    if target.kind == "url":
        spent = spent_before(RunFolder(plan.path / target.folder))
        return endpoint.of_url(target.source, plan.asking, plan.limits, spent)
    opener = partial(vllm_engine.opened if plan.engine == "vllm" else checkpoints.opened, forced=plan.asking.dtype)
    try:
        if target.kind == "run":
            return local.of_run(Path(target.source), target.path, plan.asking, opener)
        return local.of_model(target.source, plan.asking, opener)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"target {target.label!r}: {error}") from error


def _folder(plan: Plan, target: Target, answerer: Answerer) -> RunFolder:
    """The target's run folder with its settings; RecipeError where samples of other settings are in it."""
    folder = RunFolder(plan.path / target.folder)
    settings = {
        "name": target.folder,
        "evaluation_of": target.source,
        "model_name_or_path": target.source,
        "task": plan.questions.task.name,
        "task_options": plan.questions.options,
        "prompt_template": answerer.prompt.name,
        "prompt_options": dict(plan.asking.prompt_options),
        "instruction": plan.asking.instruction,
        "extraction": answerer.extraction,
        "temperature": answerer.temperature,
        "top_p": answerer.top_p,
        "max_completion_length": answerer.length,
        "seed": plan.asking.seed,
        "dtype": plan.asking.dtype,
        "samples": plan.asking.samples,
        "limit": plan.limit,
    }
    if folder.recipe.is_file():
        before = read_yaml(folder.recipe, "evaluation")
        for key, value in settings.items():
            if key not in _MAY_GROW and before.get(key) != value:
                raise RecipeError(
                    f"{key}={value!r}: {folder.path} was sampled with {before.get(key)!r}; give another --name, or the "
                    "same settings"
                )
    folder.rollouts.mkdir(parents=True, exist_ok=True)
    text = "# What was asked, and how; samples are rollouts of kind eval.\n" + yaml.safe_dump(settings, sort_keys=False)
    whole_files.write_text(folder.recipe, text)
    whole_files.write_json(folder.environment, run_folder.environment())
    return folder


def _sample(plan: Plan, target: Target, answerer: Answerer, folder: RunFolder, asked: Asked, *, progress: bool) -> None:
    rows = dataset_rows(plan.questions.rows, plan.questions.task, answerer.prompt)
    samples = Samples(folder.path, target.step, rows, answerer, plan.asking.samples, plan.asking.seed)
    missing = samples.missing()
    everything = len(rows) * plan.asking.samples
    with tqdm(
        total=everything, initial=everything - len(missing), desc=target.label, unit="sample", disable=not progress
    ) as bar:

        def finished(ask: Ask, reply: Reply) -> None:
            samples.add(ask, reply)
            bar.update()

        try:
            if missing:
                answerer.answer(missing, finished, asked.failure)
        finally:
            samples.put_away()
            asked.note()


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.path.name,
        "task": plan.questions.task.name,
        "task_options": plan.questions.options,
        "verifier": plan.questions.task.verifier,
        "questions": len(plan.questions.rows),
        "left_out": plan.questions.left_out,
        "protocol": asdict(plan.asking),
    }
