"""How an evaluation asks: samples, temperature, lengths, prompt and where the answer stands. R1's values by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from r1rl.ground.errors import RecipeError, nearest
from r1rl.tasks import prompts
from r1rl.verify import extraction

INSTRUCTION: Final = "Please reason step by step, and put your final answer within \\boxed{}."
"""What R1's authors put behind a question for a chat model."""

DEFAULT_LENGTH: Final = 4096
"""Longest completion where nothing else is said; R1's own evaluations allow 32,768."""


@dataclass(frozen=True)
class Asking:
    """The protocol of an evaluation; None: what the target brings (a run its recipe's, a chat model a boxed answer).

    Args:
        samples: per question.
        temperature, top_p: R1's are 0.6 and 0.95; temperature 0 is greedy.
        max_completion_length: in tokens.
        prompt_template, prompt_options: as in a recipe.
        extraction: where the answer stands, a policy of `r1rl.verify.extraction`.
        instruction: what is put behind a question; "" for nothing.
        seed: of the draws, which depend on (seed, question, sample) alone.
        dtype: of a model's weights on this machine, as torch calls it; None: float32 on a CPU, on a GPU a run's own or
            the model's.
    """

    samples: int = 16
    temperature: float = 0.6
    top_p: float = 0.95
    max_completion_length: int | None = None
    prompt_template: str | None = None
    prompt_options: Mapping[str, Any] = field(default_factory=dict)
    extraction: str | None = None
    instruction: str | None = None
    seed: int = 0
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise RecipeError(f"samples={self.samples}: need at least 1; 16 are usual, AIME takes 64")
        if not 0 <= self.temperature <= 10:
            raise RecipeError(f"temperature={self.temperature}: need 0 (greedy) to 10; R1 is evaluated at 0.6")
        if self.temperature == 0 and self.samples > 1:
            raise RecipeError(f"samples={self.samples}: greedy samples are all the same, ask for 1")
        if not 0 < self.top_p <= 1:
            raise RecipeError(f"top_p={self.top_p}: need more than 0, at most 1")
        if self.max_completion_length is not None and self.max_completion_length < 1:
            raise RecipeError(f"max_completion_length={self.max_completion_length}: need at least 1")
        if self.prompt_template is not None:
            prompts.check(self.prompt_template, dict(self.prompt_options))
        elif self.prompt_options:
            raise RecipeError("prompt_options: say of which template: --prompt-template NAME")
        if self.extraction is not None and self.extraction not in extraction.names():
            raise RecipeError(
                f"extraction={self.extraction!r}: unknown, known are {', '.join(extraction.names())}"
                f"{nearest(self.extraction, extraction.names())}"
            )


@dataclass(frozen=True)
class Ask:
    """One sample that is wanted: a row as `tasks.dataset` makes it, the question's number, the sample's, its stream."""

    row: Mapping[str, Any]
    number: int
    sample: int
    key: int


@dataclass(frozen=True)
class Reply:
    """One sample as it came; None for what an endpoint does not tell."""

    text: str
    finish_reason: str
    n_tokens: int | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None


class Answerer(Protocol):
    """A policy or an endpoint, ready to be asked.

    Attributes:
        prompt: makes a question the text that the target is given.
        extraction: where its answers stand.
        temperature, top_p, length: what it samples with.
    """

    prompt: prompts.Prompt
    extraction: str
    temperature: float
    top_p: float
    length: int

    def answer(
        self, asks: list[Ask], finished: Callable[[Ask, Reply], None], failed: Callable[[Ask, str], None]
    ) -> None:
        """Sample every ask, in any order, and report each one from this thread: what came, or why nothing did."""


def instructed(template: prompts.Prompt, instruction: str) -> prompts.Prompt:
    """The template with an instruction behind each question."""
    if not instruction:
        return template
    inner = template.convert or (lambda question: question)
    return prompts.Prompt(
        template.name,
        template.prefill,
        template.stop,
        template.before,
        template.after,
        lambda question: inner(f"{question}\n{instruction}"),
    )
