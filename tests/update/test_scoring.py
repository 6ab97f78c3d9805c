"""Scores against the model's own logits, one row at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GraniteConfig, LlamaConfig, Qwen3Config

from r1rl.update import batching, scoring
from r1rl.update.batching import Batching, Cost, PackedRow

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
EXAMPLES = tuple(range(20, 40))


def build(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("beginning", [(), EXAMPLES], ids=["", "worked examples"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_each_row_alone(name, temperature, beginning):
    prompts = [beginning + prompt for prompt in PROMPTS]
    model = build(MODELS[name])
    generator = torch.Generator().manual_seed(1)
    completions = [torch.randint(3, 61, (n,), generator=generator).tolist() for n in (6, 1, 9, 4, 4)]
    expected = []
    for prompt, completion in zip(prompts, completions, strict=True):
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].float() / temperature
        logps = logits.log_softmax(-1)
        expected.append((logps[range(len(completion)), completion], -(logps.exp() * logps).sum(-1)))
    scoring.add_scoring(model, temperature)
    share, flat = scoring.can_pack(model), scoring.can_flatten(model)
    assert share == ("gemma" not in name and "eager" not in name)
    assert flat == ("gemma 2" not in name and "eager" not in name)
    # All packed, none packed, several groups in a row where that is possible.
    for cost, flattened in ((Cost(1.0, 0.0), False), (Cost(0.0, 1.0), False), (Cost(0.0, 0.0), flat)):
        layout = Batching(40 + len(beginning), flattened, share, cost)
        seen = forwarded = 0
        passes, useful = layout.passes(prompts, completions)
        for part in passes:
            chunk = layout.chunk(part, completions, torch.device("cpu"))
            forwarded += chunk.input_ids.numel()
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
        if flattened:
            assert forwarded == useful


def test_models_with_narrow_values_keep_their_own_attention():
    from transformers import DeepseekV3Config

    latent = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6}
    config = DeepseekV3Config(**SMALL | {"num_key_value_heads": 4, "head_dim": 4} | latent, first_k_dense_replace=2)
    assert not scoring.can_flatten(build(config))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_of_the_scores_equals_log_softmax(monkeypatch, temperature, softcap):
    monkeypatch.setattr(scoring, "_ROWS_BYTES", 4 * 50 * 7)  # blocks of seven, the last one shorter
    head = torch.nn.Linear(16, 50, bias=False)
    generator = torch.Generator().manual_seed(0)
    hidden = 3 * torch.randn(30, 16, generator=generator)
    hidden.requires_grad_()
    targets, weights = torch.arange(30), torch.randn(30, generator=generator)
    logits = head(hidden)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    whole = (logits / temperature).log_softmax(-1)
    expected = whole[range(30), targets]
    logps, entropies = scoring.score(head, hidden, targets, temperature=temperature, softcap=softcap)
    assert torch.allclose(logps, expected, atol=1e-5)
    assert torch.allclose(entropies, -(whole.exp() * whole).sum(-1), atol=1e-5)
    assert not entropies.requires_grad
    gradients = [torch.autograd.grad((x * weights).sum(), (hidden, head.weight)) for x in (expected, logps)]
    for theirs, ours in zip(*gradients, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 1e-5


def test_scores_refuse_a_second_backward_pass():
    head, hidden = torch.nn.Linear(4, 5), torch.ones(3, 4, requires_grad=True)
    logps, _ = scoring.score(head, hidden, torch.tensor([0, 1, 2]))
    logps.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logps.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_for_the_backward_pass_is_at_most_the_estimate(dtype):
    """Counts the tensors that autograd saves, weights apart."""
    settings = SMALL | {"hidden_size": 96, "head_dim": 24, "intermediate_size": 256, "vocab_size": 301}
    model = build(LlamaConfig(**settings))
    scoring.add_scoring(model, 1.0)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    completions = [list(range(3, 53))] * 8
    chunk = batching.flat_layout([PackedRow((5,) * 20, tuple(range(8)), 420)], completions, torch.device("cpu"))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
    ):
        model(
            input_ids=chunk.input_ids,
            attention_mask=chunk.attention_mask,
            position_ids=chunk.position_ids,
            scored=(chunk.sources, chunk.targets),
        )
    assert 0.3 < sum(kept.values()) / (420 * scoring.activation_bytes(model)) < 1.1


def test_a_model_that_scales_its_logits_is_left_to_upstream():
    assert not scoring.can_score(build(GraniteConfig(**SMALL, logits_scaling=4.0)))
    assert scoring.can_score(build(MODELS["llama, tied head"]))


def test_cost_counts_the_layers_matrices_once():
    cost = scoring.cost(build(MODELS["llama, own head"]))
    per_layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48
    assert cost.per_token == 2 * 2 * per_layer
    assert cost.per_pair == 4 * 2 * 4 * 8
