"""The copy that is sampled from: the same function as the policy, at its present weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2Config

from r1rl.rollout import weights as sampling_weights
from r1rl.rollout.weights import SamplingWeights, can_pack
from r1rl.update import scoring

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama, own head": LlamaConfig(**SHAPE),
    "llama, tied head": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama, biases everywhere": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "qwen2, biases of q, k and v": Qwen2Config(**SHAPE),
    "gemma3": Gemma3TextConfig(**SHAPE, head_dim=16),
}
IDS = torch.tensor([[5, 9, 33, 2], [7, 7, 80, 41]])


@pytest.fixture(autouse=True)
def small_policies_are_packed(monkeypatch):
    monkeypatch.setattr(sampling_weights, "PACKED_FROM", 0)


def model_of(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases start at zero
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=["float32", "bf16"])
def test_same_logits_before_and_after_an_update(config, dtype, apart):
    model, weights = model_of(config), SamplingWeights()
    for _ in range(2):
        with torch.no_grad(), weights.of(model, dtype) as copy:
            assert next(copy.parameters()).dtype == dtype
            gap = (torch.log_softmax(copy(IDS).logits.float(), -1) - torch.log_softmax(model(IDS).logits, -1)).abs()
            assert gap.max() < apart
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)


def test_the_copy_computes_with_its_own_weights_where_forward_was_replaced():
    # A closure over the policy's forward would sample from the policy, slowly and in its own precision.
    model = model_of(CONFIGS["llama, own head"])
    scoring.add_scoring(model, 1.0)
    with torch.no_grad(), SamplingWeights().of(model, torch.bfloat16) as copy:
        assert copy(IDS).logits.dtype == torch.bfloat16
    assert "forward" in model.__dict__


def test_bf16_is_not_packed_where_the_processor_has_no_instructions_for_it(monkeypatch):
    monkeypatch.setattr(sampling_weights, "has_bf16_kernels", lambda: False)
    with torch.no_grad(), SamplingWeights().of(model_of(CONFIGS["llama, own head"]), torch.bfloat16) as copy:
        assert type(copy.model.layers[0].mlp.up_proj) is torch.nn.Linear
        assert copy(IDS).logits.dtype == torch.bfloat16


def test_memory_is_held_only_in_use():
    if not can_pack(model_of(CONFIGS["gemma3"])):
        pytest.skip("this build of torch packs no weights")
    weights = SamplingWeights()
    with torch.no_grad(), weights.of(model_of(CONFIGS["llama, own head"]), torch.float32) as copy:
        assert copy.model.layers[0].mlp.up_proj.together.weight is not None
    assert copy.model.layers[0].mlp.up_proj.together.weight is None
    assert sum(parameter.numel() for parameter in copy.parameters()) == 0


def test_a_small_policy_is_used_itself(monkeypatch):
    monkeypatch.undo()
    model = model_of(CONFIGS["gemma3"])
    with SamplingWeights().of(model, torch.float32) as same:
        assert same is model


def test_a_policy_in_another_place_is_used_itself():
    model = model_of(CONFIGS["gemma3"]).to("meta")
    with SamplingWeights().of(model, torch.float32) as same:
        assert same is model


def test_quantised_weights_are_sampled_from_as_they_are():
    model, weights = model_of(CONFIGS["llama, own head"]), SamplingWeights()
    packed = torch.randint(0, 255, (48, 16), dtype=torch.uint8)  # two weights a byte, as bitsandbytes keeps them
    model.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(packed.clone(), requires_grad=False)
    with weights.of(model, torch.bfloat16) as used:
        assert used is model
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, packed)
