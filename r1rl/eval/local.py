"""Models on this machine as targets: a run's policies and any `transformers` model, by the embedded engine or vLLM."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from r1rl.aha.counterfactual import checkpoints
from r1rl.aha.counterfactual.checkpoints import Opener
from r1rl.eval.protocol import DEFAULT_LENGTH, INSTRUCTION, Ask, Asking, Reply, instructed
from r1rl.ground.errors import RecipeError, one_line
from r1rl.models import fit
from r1rl.models import resolve as models
from r1rl.rollout.engine import Completion, Engine
from r1rl.rollout.sampling import Sampling
from r1rl.tasks import prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

ROWS_AT_ONCE: Final = 2048
"""Samples of one call of the engine: their tokens and log-probabilities are in memory together."""

CPU_ROWS: Final = 64
"""Rows decoded together on a CPU: with more, the first are done, and kept, only when the last nearly are."""


@dataclass
class LocalModel:
    """A model in memory; see `protocol.Answerer`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    prompt: prompts.Prompt
    extraction: str
    temperature: float
    top_p: float
    length: int

    def __post_init__(self) -> None:
        if isinstance(self.engine, Engine) and next(self.model.parameters()).device.type == "cpu":
            self.engine.max_rows = CPU_ROWS

    def answer(
        self, asks: list[Ask], finished: Callable[[Ask, Reply], None], failed: Callable[[Ask, str], None]
    ) -> None:
        """Sample every ask and report each as it ends; none fails."""
        for start in range(0, len(asks), ROWS_AT_ONCE):
            part = asks[start : start + ROWS_AT_ONCE]
            ids = self.tokenizer([ask.row["prompt"] for ask in part])["input_ids"]
            sampling = Sampling(
                temperature=self.temperature,
                top_p=self.top_p,
                max_completion_length=self._room(ids),
                stop=self.prompt.stop,
            )

            def report(index: int, done: Completion, part: list[Ask] = part) -> None:
                text = self.engine.text(done.token_ids)
                reply = Reply(text, done.finish_reason, len(done.token_ids), done.token_ids, done.logprobs or None)
                finished(part[index], reply)

            self.engine.generate(self.model, ids, [ask.key for ask in part], sampling, report)

    def _room(self, prompt_ids: list[list[int]]) -> int:
        """The longest completion that the model's positions leave after the longest prompt, at most `length`."""
        limit, longest = fit.positions(self.model.config), max(map(len, prompt_ids))
        if limit is None or longest + self.length <= limit:
            return self.length
        if longest >= limit:
            raise RecipeError(f"prompt of {longest} tokens: the model has {limit} positions; leave long questions out")
        return limit - longest


def of_run(run: Path, path: Path | None, asking: Asking, opener: Opener = checkpoints.opened) -> LocalModel:
    """One of a run's policies, asked as the run asks unless `asking` says otherwise. `path` is one of `kept`'s."""
    policy = checkpoints.load(run, path, opener)
    template = _template(asking, policy.tokenizer) or policy.template
    return LocalModel(
        policy.model,
        policy.tokenizer,
        policy.engine,
        instructed(template, asking.instruction or ""),
        asking.extraction or (policy.extraction if asking.prompt_template is None else _extraction(template.name)),
        asking.temperature,
        asking.top_p,
        asking.max_completion_length or policy.sampling.max_completion_length,
    )


def of_model(name: str, asking: Asking, opener: Opener = checkpoints.opened) -> LocalModel:
    """A folder, hub name (`NAME@REVISION`), `base:…` or `package:…`.

    With a chat template it is asked in a chat for a boxed answer, else in R1-Zero's template.

    Raises:
        RecipeError: no such model, or it has no usable tokenizer.
    """
    source, _, revision = (name, "", "") if Path(name).exists() else name.partition("@")
    try:
        model, tokenizer, engine = opener(models.resolve(source), revision or "main")
    except (OSError, ValueError) as error:
        raise RecipeError(f"target {name!r}: {one_line(error)}") from error
    template = _template(asking, tokenizer)
    if template is None:
        chats = bool(getattr(tokenizer, "chat_template", None))
        template = prompts.get("chat", tokenizer=tokenizer, stop=()) if chats else prompts.get("r1-zero")
    instruction = asking.instruction
    if instruction is None and template.name == "chat" and (asking.extraction or "boxed") == "boxed":
        instruction = INSTRUCTION
    return LocalModel(
        model,
        tokenizer,
        engine,
        instructed(template, instruction or ""),
        asking.extraction or _extraction(template.name),
        asking.temperature,
        asking.top_p,
        asking.max_completion_length or DEFAULT_LENGTH,
    )


def _template(asking: Asking, tokenizer: Any) -> prompts.Prompt | None:
    """The template that was asked for; a chat ends by itself, so it has no stop strings unless some are given."""
    if asking.prompt_template is None:
        return None
    ends = {"stop": ()} if asking.prompt_template == "chat" else {}
    return prompts.get(asking.prompt_template, tokenizer=tokenizer, **(ends | dict(asking.prompt_options)))


def _extraction(template: str) -> str:
    return "boxed" if template in ("chat", "none") else "answer-tag"
