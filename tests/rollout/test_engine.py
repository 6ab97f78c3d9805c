"""The embedded engine against transformers' own generate and a full forward pass."""

import gc
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3Config

from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout.cache import GroupLayer
from r1rl.rollout.engine import Engine
from r1rl.rollout.sampling import Sampling, row_key

SHAPE = {
    "vocab_size": 127,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen2, tied head": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3, own head size": Qwen3Config(**SHAPE, head_dim=16),
    "gemma3, sliding window shorter than the text": Gemma3TextConfig(
        **SHAPE, head_dim=16, sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
}


def model_of(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    with torch.no_grad():  # sharper than at initialisation: no ties between best tokens
        for parameter in model.parameters():
            parameter.mul_(1.5) if parameter.dim() > 1 else None
    return model


def prompts_of(count, lengths=(3, 9, 5, 14)):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 127, (lengths[i % len(lengths)],), generator=generator).tolist() for i in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer.build()


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_equals_generate(name, tokenizer):
    model, prompts = model_of(name), prompts_of(4)
    ours = Engine(tokenizer, [1]).generate(model, prompts, [0] * 4, Sampling(temperature=0.0, max_completion_length=40))
    for prompt, completion in zip(prompts, ours, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]), max_new_tokens=40, do_sample=False, eos_token_id=1, pad_token_id=0
        )[0, len(prompt) :].tolist()
        assert completion.token_ids == theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_logprobs_equal_a_full_forward_pass(name, tokenizer):
    model, prompts = model_of(name), prompts_of(4)
    keys = [row_key("full", i) for i in range(4)]
    for sampling in (Sampling(max_completion_length=30), Sampling(temperature=0.7, max_completion_length=30)):
        for prompt, completion in zip(
            prompts, Engine(tokenizer, [1]).generate(model, prompts, keys, sampling), strict=True
        ):
            ids = torch.tensor([prompt + completion.token_ids])
            with torch.no_grad():
                logits = model(ids).logits[0, len(prompt) - 1 : -1] / sampling.temperature
            expected = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None]).squeeze(1)
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_more_rows_at_once_than_the_memory_holds(tokenizer, dtype):
    model, cap = model_of("llama").to(dtype), 20
    a_token = 2 * 3 * 2 * 8 * 4  # keys and values, layers, key heads, head size, bytes: float32 whatever the weights
    memory = int(3.5 * (9 + cap) * a_token)
    engine = Engine(tokenizer, [1], memory=memory)
    engine.generate(model, prompts_of(8, [9]), range(8), Sampling(max_completion_length=cap))
    assert max(engine.work.widths) == 3


def test_keys_and_values_live_no_longer_than_the_call(tokenizer, monkeypatch):
    model, plain, stored = model_of("llama"), GroupLayer.lazy_initialization, []

    def noted(layer, *states):
        plain(layer, *states)
        stored.extend(map(weakref.ref, (layer.keys, layer.values)))

    monkeypatch.setattr(GroupLayer, "lazy_initialization", noted)
    gc.disable()
    try:
        Engine(tokenizer, [1]).generate(model, prompts_of(4), range(4), Sampling(max_completion_length=5))
        assert len(stored) == 6
        assert not any(tensor() is not None for tensor in stored)
    finally:
        gc.enable()


def test_a_rollout_does_not_depend_on_its_batch(tokenizer):
    model, prompts = model_of("llama"), prompts_of(6)
    keys = [row_key("alone", i) for i in range(6)]
    sampling = Sampling(max_completion_length=25)
    together = Engine(tokenizer, [1]).generate(model, prompts, keys, sampling)
    in_pairs = Engine(tokenizer, [1], max_rows=2).generate(model, prompts, keys, sampling)
    alone = [Engine(tokenizer, [1]).generate(model, [p], [k], sampling)[0] for p, k in zip(prompts, keys, strict=True)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone] == [c.token_ids for c in in_pairs]


def test_a_group_shares_its_prompt_and_differs_in_its_draws(tokenizer):
    model, prompt = model_of("llama"), prompts_of(1)[0]
    keys = [row_key("group", i) for i in range(8)]
    seen = []
    forward = model.forward
    model.forward = lambda *args, **kwargs: seen.append(kwargs["input_ids"].shape) or forward(*args, **kwargs)
    completions = Engine(tokenizer, [1]).generate(model, [prompt] * 8, keys, Sampling(max_completion_length=10))
    assert seen[0] == (1, len(prompt) - 1), "the prompt is prefilled once, its last token fed by the rows"
    assert len({tuple(c.token_ids) for c in completions}) > 1


def test_every_way_to_finish(tokenizer):
    model, prompts = model_of("llama"), prompts_of(64)
    keys = [row_key("finish", i) for i in range(64)]
    stop_at = tokenizer.convert_tokens_to_ids("</answer>")
    sampling = Sampling(temperature=2.0, max_completion_length=60, stop=("</answer>",))
    completions = Engine(tokenizer, [1, 2]).generate(model, prompts, keys, sampling)
    assert {c.finish_reason for c in completions} == {"eos", "stop", "length"}
    for completion in completions:
        *before, last = completion.token_ids
        assert not {1, 2, stop_at} & set(before)
        assert len(completion.logprobs) == len(completion.token_ids)
        if completion.finish_reason == "eos":
            assert last in (1, 2)
        elif completion.finish_reason == "stop":
            assert last == stop_at
        else:
            assert len(completion.token_ids) == 60


def test_the_model_is_left_in_its_mode(tokenizer):
    model = model_of("llama").train()
    Engine(tokenizer, [1]).generate(model, [[5]], [0], Sampling(max_completion_length=2))
    assert model.training


def test_an_empty_prompt_is_named(tokenizer):
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        Engine(tokenizer, [1]).generate(model_of("llama"), [[3], []], [0, 1], Sampling())


@pytest.mark.parametrize(
    ("lengths", "beginning", "options", "share"),
    [
        pytest.param([9] * 4, 0, {}, (1, 1), id="nothing is padded"),
        pytest.param([9] * 4, 40, {}, (1, 1), id="worked examples are computed once, and needed once"),
        pytest.param([3, 9, 5, 14], 40, {}, (0.7, 0.99), id="padding"),
        pytest.param([9] * 4, 0, {"max_rows": 1}, (0.5, 0.99), id="a prompt is computed again for its last row"),
    ],
)
def test_the_tokens_that_are_needed_are_at_most_those_forwarded(tokenizer, lengths, beginning, options, share):
    prompts = [[*range(3, 3 + beginning), *prompt] for prompt in prompts_of(4, lengths)]
    if options:
        prompts = [prompts[0], *prompts[1:], [*prompts[0][:-1], 3]]
    engine = Engine(tokenizer, [1], **options)
    engine.generate(model_of("llama"), prompts, [0] * len(prompts), Sampling(max_completion_length=8))
    found = (engine.work.needed_tokens + engine.work.sampled_tokens) / (
        engine.work.prefilled_tokens + engine.work.row_steps
    )
    assert share[0] <= found <= share[1]
