"""The short way through a decoding step against the model's own, and who has to take the long one."""

import logging
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout import decoder
from r1rl.rollout.engine import Engine
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.rollout.weights import SamplingWeights

SHAPE = {
    "vocab_size": 127,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
}
PLAIN = {
    "llama, key heads shared by three query heads": LlamaConfig(**SHAPE),
    "llama, biases everywhere": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama 3's stretched positions": LlamaConfig(
        **SHAPE,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "qwen2, biases of queries, keys and values": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2, sliding window": Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3, norms of heads of a size of their own": Qwen3Config(**SHAPE, head_dim=16),
}  # fmt: skip

PROMPTS = [[5 + i % 3] * (3 + 4 * (i % 3)) for i in range(6)]
KEYS = [row_key("decoder", i) for i in range(6)]
SAMPLING = Sampling(max_completion_length=24)


def model_of(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # norms and biases that make a difference, and distributions that are not flat
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
            elif parameter.dim() == 1:
                parameter.normal_(std=0.3)
            else:
                parameter.mul_(1.5)
    return model


def sampled(model, *, max_rows=512):
    made = Engine(tiny_tokenizer.build(), [1], max_rows=max_rows)
    return made, made.generate(model, PROMPTS, KEYS, SAMPLING)


def test_what_is_not_written_is_not_read(monkeypatch):
    """Storage that is not zeroed first may hold anything; here it holds what would be seen."""
    model = model_of(PLAIN["llama, key heads shared by three query heads"])
    expected = sampled(model)[1]
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args, **kwargs: empty(*args, **kwargs).fill_(math.nan))
    for max_rows in (4, 512):
        same(sampled(model, max_rows=max_rows)[1], expected)
    without_compiler(monkeypatch)
    for max_rows in (4, 512):
        same(sampled(model, max_rows=max_rows)[1], expected)


def same(ours, theirs):
    assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.logprobs == pytest.approx(other.logprobs, abs=2e-4)


def without_compiler(monkeypatch):
    monkeypatch.setattr(decoder.kernels, "functions_for", lambda *arguments: None)


def test_under_autocast_the_model_itself_decodes():
    model = model_of(next(iter(PLAIN.values())))
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder.decoder_for(model, 8) is None
        assert all(completion.token_ids for completion in sampled(model)[1])
    assert decoder.decoder_for(model, 8) is not None


def with_compiler(model):
    if decoder.decoder_for(model, 8) is None:
        pytest.skip("no C compiler here")


@pytest.mark.parametrize("name", PLAIN)
def test_it_samples_what_the_model_itself_samples(name, monkeypatch):
    model = model_of(PLAIN[name])
    with_compiler(model)
    for max_rows in (4, 512):  # two rows enter late, so that lengths differ; all at once
        made, ours = sampled(model, max_rows=max_rows)
        assert made.quick == {id(model.config): True}, "not taken the short way"
        with monkeypatch.context() as without:
            without_compiler(without)
            same(ours, sampled(model, max_rows=4)[1])


@pytest.mark.parametrize("compiled", [True, False])
def test_half_precision_is_as_near_as_it_allows(compiled, monkeypatch):
    if not compiled:
        without_compiler(monkeypatch)
    model = model_of(PLAIN["qwen3, norms of heads of a size of their own"]).bfloat16()
    made, ours = sampled(model)
    assert list(made.quick.values()) == [True] * compiled
    for completion, prompt in zip(ours, PROMPTS, strict=True):
        ids = torch.tensor([prompt + completion.token_ids])
        with torch.no_grad():
            expected = model.float()(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        chosen = expected.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        assert torch.allclose(torch.tensor(completion.logprobs), chosen, atol=0.1)


def test_packed_weights_are_taken_as_they_are(monkeypatch):
    monkeypatch.setattr("r1rl.rollout.weights.PACKED_FROM", 0)
    model = model_of(PLAIN["llama, biases everywhere"])
    with SamplingWeights().of(model, torch.float32) as twin:
        assert twin is not model
        made, ours = sampled(twin)
    assert list(made.quick.values()) == [True]
    same(ours, sampled(model)[1])


def test_new_weights_are_seen():
    model = model_of(PLAIN["qwen2, biases of queries, keys and values"])
    made, before = sampled(model)
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight.normal_()
    after = made.generate(model, PROMPTS, KEYS, SAMPLING)
    assert after[0].logprobs != before[0].logprobs
    same(after, sampled(model)[1])


def _adapted(model):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False)
    return peft.get_peft_model(model, config).get_base_model()


def _watched(model):
    model.model.layers[0].mlp.register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def _partitioned(model):
    linear = model.model.layers[2].self_attn.o_proj
    linear.weight.data = torch.empty(0)
    return model


def _derived(model):
    model.__class__ = type("LlamaForCausalLM", (type(model),), {})
    return model


def _other_activation(model):
    model.config.hidden_act = "gelu"
    return model


def _growing_positions(model):
    model.config.rope_parameters["rope_type"] = "dynamic"
    return model


@pytest.mark.parametrize(
    "change",
    [_adapted, _watched, _partitioned, _derived, _other_activation, _growing_positions],
    ids=lambda change: change.__name__,
)
def test_whatever_is_out_of_the_plain_takes_the_long_way(change):
    model = model_of(LlamaConfig(**SHAPE))
    assert decoder.decoder_for(model, 8) is not None
    assert decoder.decoder_for(change(model), 8) is None


def test_a_model_that_computes_something_else_is_found_out(caplog):
    model = model_of(LlamaConfig(**SHAPE))
    norm = model.model.layers[1].input_layernorm
    norm.forward = lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:])  # which no class or hook gives away
    with caplog.at_level(logging.WARNING):
        made, ours = sampled(model)
    assert made.quick == {id(model.config): False}
    assert "using the model's" in caplog.text
    for completion, prompt in zip(ours, PROMPTS, strict=True):
        ids = torch.tensor([prompt + completion.token_ids])
        with torch.no_grad():
            expected = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        chosen = expected.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        assert torch.allclose(torch.tensor(completion.logprobs), chosen, atol=1e-4)
