"""Sampling where the model is not on the CPU: the same tokens, and nothing meets a tensor of another device."""

import pytest
import torch
from other_device import DEVICE, Elsewhere, device, move
from transformers import AutoModelForCausalLM, Qwen2Config

from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout.engine import Engine
from r1rl.rollout.sampling import Sampling

CONFIG = Qwen2Config(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    eos_token_id=1,
    pad_token_id=0,
    bos_token_id=None,
)


def test_the_device_of_these_tests_refuses_what_a_gpu_refuses():
    with device():
        there = torch.ones(3, device=DEVICE)
        assert isinstance(there, Elsewhere)
        assert (there * 2 + torch.tensor(1.0)).tolist() == [3.0, 3.0, 3.0]
        assert there[torch.tensor([0, 2])].cpu().tolist() == [1.0, 1.0]
        for wrong in (lambda: there + torch.ones(3), lambda: torch.cat([there, torch.ones(1)])):
            with pytest.raises(RuntimeError, match="another device"):
                wrong()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"top_p": 0.9, "top_k": 40, "min_p": 0.01}, id="filters run there"),
        pytest.param({"temperature": 0.0}, id="greedy"),
        pytest.param({"stop": (")",)}, id="stop strings are looked up there"),
    ],
)
def test_the_same_completions_as_on_the_cpu(settings, dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG).eval().to(dtype)
    prompts = [[5, 6, 7, 8]] * 3 + [[5, 6, 9]] * 2 + [[5, 6, 7, 40, 41, 42]]
    sampling = Sampling(max_completion_length=12, **settings)

    def sampled():
        # Room for three rows, so that others wait, enter late and move into slots.
        engine = Engine(tiny_tokenizer.build(), [1, *range(20, 60)], max_rows=3, memory=10**9)
        engine.quick[id(model.config)] = False
        return engine.generate(model, prompts, list(range(len(prompts))), sampling)

    expected = sampled()
    move(model)
    with device():
        found = sampled()
    if dtype == torch.float32:  # keys and values are float32 on a CPU alone
        assert [c.token_ids for c in found] == [c.token_ids for c in expected]
    assert [len(c.logprobs) for c in found] == [len(c.token_ids) for c in found]
