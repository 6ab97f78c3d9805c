"""Scores against the model's own logits, one row at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GraniteConfig, LlamaConfig, Qwen3Config

from r1rl import batching, scoring
from r1rl.batching import Cost

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
MODELS = {
    "llama, tied head": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "llama, own head": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama, eager attention": LlamaConfig(**SMALL, attn_implementation="eager"),
    "qwen 3": Qwen3Config(**SMALL),
    "gemma 2, softcapped": Gemma2Config(**SMALL, final_logit_softcapping=3.0),
    "gemma 3, sliding windows": Gemma3TextConfig(
        **SMALL, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
}
PROMPTS = [(5, 6, 7, 8, 9)] * 3 + [(10, 11)] * 2


def build(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_each_row_alone(name, temperature):
    model = build(MODELS[name])
    generator = torch.Generator().manual_seed(1)
    completions = [torch.randint(3, 61, (n,), generator=generator).tolist() for n in (6, 1, 9, 4, 4)]
    expected = []
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].float() / temperature
        logps = logits.log_softmax(-1)
        expected.append((logps[range(len(completion)), completion], -(logps.exp() * logps).sum(-1)))
    scoring.add_scoring(model, temperature)
    share = scoring.can_pack(model)
    assert share == ("gemma" not in name and "eager" not in name)
    for cost in (Cost(1.0, 0.0), Cost(0.0, 1.0)):  # all packed, none packed
        rows = batching.pack(PROMPTS, [len(c) for c in completions], cost, may_share=share)
        seen = 0
        for part in batching.chunks(rows, 40):
            chunk = batching.layout(part, completions, torch.device("cpu"))
            logps, entropies = model(
                input_ids=chunk.input_ids,
                attention_mask=chunk.attention_mask,
                position_ids=chunk.position_ids,
                scored=(chunk.sources, chunk.targets),
            )
            for row, column, logp, entropy in zip(chunk.row, chunk.column, logps, entropies, strict=True):
                assert logp.item() == pytest.approx(expected[row][0][column].item(), abs=1e-4)
                assert entropy.item() == pytest.approx(expected[row][1][column].item(), abs=1e-4)
                seen += 1
        assert seen == sum(map(len, completions))


def test_recomputed_logits_give_the_same_gradients(monkeypatch):
    head = torch.nn.Linear(16, 50, bias=False)
    hidden = torch.randn(30, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.arange(30)
    gradients = []
    for kept in (2**30, 0):
        monkeypatch.setattr(scoring, "_BYTES_KEPT", kept)
        monkeypatch.setattr(scoring, "_BYTES_PER_CHUNK", 4 * 50 * 7)  # chunks of seven, the last one shorter
        logps, _ = scoring.score(head, hidden, targets, vocabulary=50)
        gradients.append(torch.autograd.grad((logps * torch.arange(30)).sum(), (hidden, head.weight)))
    for kept, recomputed in zip(*gradients, strict=True):
        assert torch.equal(kept, recomputed)


def test_a_model_that_scales_its_logits_is_left_to_upstream():
    assert not scoring.can_score(build(GraniteConfig(**SMALL, logits_scaling=4.0)))
    assert scoring.can_score(build(MODELS["llama, tied head"]))


def test_cost_counts_the_layers_matrices_once():
    cost = scoring.cost(build(MODELS["llama, own head"]))
    per_layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48
    assert cost.per_token == 2 * 2 * per_layer
    assert cost.per_pair == 4 * 2 * 4 * 8
