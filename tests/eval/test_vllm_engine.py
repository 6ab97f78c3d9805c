"""What vLLM is asked and how its outputs are read; vLLM itself is played. tests/with_vllm has the real one."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from r1rl.eval import evaluation, questions, targets, vllm_engine
from r1rl.eval.protocol import Asking
from r1rl.ground.errors import RecipeError
from r1rl.models.base import path as base_path
from r1rl.store import store

ASKING = Asking(
    samples=2, temperature=1.0, top_p=0.9, max_completion_length=40, prompt_template="none", extraction="answer-tag"
)


@pytest.fixture
def played(monkeypatch, tmp_path) -> dict[str, Any]:
    """A vLLM that answers every prompt with the same text, in three ways to end."""
    from transformers import AutoTokenizer, PreTrainedConfig

    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    seen: dict[str, Any] = {"settings": [], "cpu": False}
    tokenizer = AutoTokenizer.from_pretrained(base_path("countdown"))
    ids = tokenizer("<think> 3 + 5 = 8 </think> <answer> 3 + 5 </answer>", add_special_tokens=False)["input_ids"]
    ways = [("stop", "</answer>"), ("stop", None), ("length", None)]

    class LLM:
        def __init__(self, **options: Any) -> None:
            seen["options"] = options
            config = PreTrainedConfig()
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(hf_config=config))

        def generate(self, asked: list[Any], settings: list[Any], *, use_tqdm: bool) -> list[Any]:
            seen["asked"], seen["settings"] = asked, settings
            return [
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids), finish_reason=r, stop_reason=s)])
                for (r, s), _ in zip(ways * len(asked), asked, strict=False)
            ]

    platform = SimpleNamespace(is_cpu=lambda: seen["cpu"])
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=lambda **o: SimpleNamespace(**o)))
    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=platform))
    return seen


def evaluate(place) -> list[dict[str, Any]]:
    asked = questions.find("countdown", {"style": "short"}, limit=3)
    plan = evaluation.Plan(place / "e", targets.parse(["base:countdown"]), asked, ASKING, [1, 2], engine="vllm")
    evaluation.run(plan)
    return store.read(place / "e" / "base-countdown", kind="eval").to_pylist()


@pytest.mark.parametrize("cpu", [False, True])
def test_vllm_is_asked_as_the_engine_is_and_its_samples_are_stored(cpu: bool, played, tmp_path) -> None:
    played["cpu"] = cpu
    rows = evaluate(tmp_path)
    assert len(rows) == 6
    assert [row["finish_reason"] for row in rows] == ["stop", "eos", "length"] * 2
    assert all(row["logprobs"] is None and len(row["token_ids"]) == row["n_tokens"] for row in rows)
    assert "3 + 5" in rows[0]["completion"]
    first = played["settings"][0]
    assert (first.temperature, first.top_p, first.max_tokens) == (1.0, 0.9, 40)
    assert first.stop == ["</answer>", "User:"]
    assert first.include_stop_str_in_output
    seeds = [each.seed for each in played["settings"]]
    assert seeds == [None] * 6 if cpu else len(set(seeds)) == 6
    assert played["options"]["dtype"] == ("float32" if cpu else "auto")


def test_without_vllm_it_is_said_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RecipeError, match=r"pip install 'r1rl\[vllm\]'"):
        vllm_engine.opened("x")
