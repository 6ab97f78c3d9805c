"""vLLM in the place of the embedded engine, for models of this machine: the same calls, other hands."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from r1rl.ground.errors import RecipeError, one_line
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling
from r1rl.rollout.texts import text_of


class VllmEngine:
    """Samples by a vLLM `LLM`; `generate` and `text` as `rollout.engine.Engine` has them.

    Where vLLM takes seeds (not on a CPU), a sample's draws depend on its key alone; log-probabilities are not kept.
    """

    def __init__(self, tokenizer: Any, eos_token_ids: list[int], *, seeded: bool) -> None:
        self.tokenizer = tokenizer
        self.eos_token_ids = eos_token_ids
        self.seeded = seeded

    def generate(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        sampling: Sampling,
        on_finished: Callable[[int, Completion], None],
    ) -> None:
        """One completion a prompt, reported when all are there."""
        settings = [
            importlib.import_module("vllm").SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_completion_length,
                stop=list(sampling.stop) or None,
                include_stop_str_in_output=True,
                stop_token_ids=self.eos_token_ids,
                seed=key & 0x7FFFFFFF if self.seeded else None,
            )
            for key in keys
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        for index, output in enumerate(model.llm.generate(asked, settings, use_tqdm=False)):
            done = output.outputs[0]
            reason = (
                "length" if done.finish_reason == "length" else "stop" if isinstance(done.stop_reason, str) else "eos"
            )
            on_finished(index, Completion(list(done.token_ids), [], reason))

    def text(self, token_ids: Sequence[int]) -> str:
        """A completion's text, as everything reads it that judges or keeps it."""
        return text_of(self.tokenizer, token_ids, self.eos_token_ids)


class VllmModel:
    """A model in vLLM, with its configuration where transformers has it."""

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        self.config = llm.llm_engine.model_config.hf_config


def opened(
    source: str, revision: str = "main", *, on_cpu: bool = False, dtype: str = "auto", forced: str | None = None
) -> tuple[Any, Any, Any]:
    """As `checkpoints.opened`. Raises RecipeError without vLLM, or where it cannot load the model."""
    try:
        vllm = importlib.import_module("vllm")
        on_cpu = bool(importlib.import_module("vllm.platforms").current_platform.is_cpu())
    except ImportError:
        raise RecipeError("engine='vllm': needs vLLM; install it with pip install 'r1rl[vllm]'") from None
    from transformers import AutoTokenizer

    from r1rl.models import fit

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        _, ends = fit.configuration(source, revision)
        llm = vllm.LLM(model=source, revision=revision, dtype=forced or ("float32" if on_cpu else dtype))
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"model={source!r}: vLLM cannot load it: {one_line(error)}") from error
    every = [token for token in (tokenizer.eos_token_id, *ends) if token is not None]
    return VllmModel(llm), tokenizer, VllmEngine(tokenizer, list(dict.fromkeys(every)), seeded=not on_cpu)
