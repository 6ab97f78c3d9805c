"""Fused layers against the model's own, and who keeps the model's own."""

import copy
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.models.llama import modeling_llama

from r1rl import kernels as native
from r1rl.update import fused

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
PLAIN = {
    "llama": LlamaConfig(**SHAPE),
    "llama, biases everywhere": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "qwen2, tied": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3, norms of heads": Qwen3Config(**SHAPE, head_dim=16),
}


def model_of(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand_like(parameter) - 0.3)
    return model


def fused_twin(model):
    twin = copy.deepcopy(model)
    if not fused.fuse(twin):
        pytest.skip("no C compiler here")
    return twin


def gradients(model, rows=1, **how):
    ids = torch.arange(9 * rows).view(rows, 9) * 7 % 64
    logits = model(ids, **how).logits
    loss = logits.float().log_softmax(-1).square().mean() * 100
    return [logits, *torch.autograd.grad(loss, list(model.parameters()))]


def near(ours, theirs, most):
    """Gradients of keys' biases are nothing but rounding, so that a share of the largest one counts too."""
    largest = max(other.norm() for other in theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= most * (other.norm() + largest / 100)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", PLAIN)
def test_outputs_and_gradients_are_the_models_own(name, rows, threads):
    model = model_of(PLAIN[name])
    twin = fused_twin(model)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = gradients(twin, rows)
    finally:
        torch.set_num_threads(before)
    assert {type(module) for module in twin.modules()} == {type(module) for module in model.modules()}
    near(ours, gradients(model, rows), 5e-6)


@pytest.mark.parametrize("low", [False, True], ids=["float32", "autocast"])
def test_every_kind_of_layer_takes_the_short_way(monkeypatch, low):
    twin = fused_twin(model_of(PLAIN["qwen3, norms of heads"]))
    taken = []
    for kind in (fused._Norm, fused._Gated, fused._Turned):
        apply = kind.apply
        monkeypatch.setattr(
            kind, "apply", lambda *given, kind=kind, apply=apply: (taken.append(kind), apply(*given))[1]
        )
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        twin(torch.arange(5)[None])
    # Norms of heads are given what a product made, bfloat16 under autocast.
    assert [taken.count(kind) for kind in (fused._Norm, fused._Gated, fused._Turned)] == [5 if low else 9, 2, 4]


@pytest.mark.parametrize("name", PLAIN)
def test_under_autocast_products_keep_their_precision(name):
    model = model_of(PLAIN[name])
    twin = fused_twin(model)
    exact = gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = gradients(twin), gradients(model)
    assert ours[0].dtype == theirs[0].dtype
    near([x.float() for x in ours], [x.float() for x in theirs], 0.02)
    # No further from what float32 gives than torch's calls are, which round more often.
    off = [sum((x.float() - y).norm().item() for x, y in zip(made, exact, strict=True)) for made in (ours, theirs)]
    assert off[0] < 1.1 * off[1]


def test_gates_in_low_precision_are_rounded_once():
    functions = fused_twin(model_of(PLAIN["llama"])).model.layers[0].mlp.fused.functions(torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    gate, up, outer = (torch.randn(7, 80, generator=generator).mul(4).bfloat16() for _ in range(3))
    low = [gate.requires_grad_(), up.requires_grad_()]
    ours = fused._Gated.apply(*low, functions)
    wide = [x.detach().double().requires_grad_() for x in low]
    theirs = torch.nn.functional.silu(wide[0]) * wide[1]
    made = [ours, *torch.autograd.grad(ours, low, outer)]
    expected = [theirs, *torch.autograd.grad(theirs, wide, outer.double())]
    for mine, other in zip(made, expected, strict=True):
        assert mine.dtype == torch.bfloat16
        # Half a unit in the last place, and float32's own error where the terms of a gradient cancel.
        torch.testing.assert_close(mine.double(), other, rtol=2**-8, atol=1e-5)


def test_heads_in_low_precision_are_turned_in_full():
    functions = native.functions_for(16, 3, torch.bfloat16)
    if functions is None:
        pytest.skip("no C compiler here")
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(1, 6, 9, 16, generator=generator).bfloat16().requires_grad_()
    angles = torch.randn(1, 9, 16, generator=generator)
    cos, sin = angles.cos(), angles.sin()
    ours = fused._Turned.apply(heads, cos, sin, functions)
    theirs = heads * cos[:, None] + modeling_llama.rotate_half(heads) * sin[:, None]
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs)
    outer = torch.randn(ours.shape, generator=generator)
    (mine,), (other,) = (torch.autograd.grad(made, heads, outer) for made in (ours, theirs))
    assert mine.dtype == torch.bfloat16
    torch.testing.assert_close(mine, other, rtol=2**-7, atol=0.02)  # torch's calls round each term


def test_half_precision_goes_the_old_way():
    model = model_of(PLAIN["qwen3, norms of heads"]).bfloat16()
    for mine, other in zip(gradients(fused_twin(model)), gradients(model), strict=True):
        assert torch.equal(mine, other)


def test_a_copy_computes_with_its_own_weights():
    twin = fused_twin(model_of(PLAIN["llama"]))
    other = copy.deepcopy(twin)
    with torch.no_grad():
        other.model.norm.weight.mul_(2)
        other.model.layers[0].mlp.down_proj.weight.zero_()
    ids = torch.arange(5)[None]
    alone = model_of(PLAIN["llama"])
    alone.load_state_dict(other.state_dict())
    assert torch.allclose(other(ids).logits, alone(ids).logits, atol=1e-5)
    assert not torch.allclose(other(ids).logits, twin(ids).logits, atol=1e-2)


def test_weights_are_saved_under_their_names(tmp_path):
    model = model_of(PLAIN["llama"])
    twin = fused_twin(model)
    assert list(twin.state_dict()) == list(model.state_dict())
    twin.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    near(gradients(read), gradients(model), 1e-6)


@pytest.mark.parametrize("compiler", [True, False], ids=["with a compiler", "without"])
def test_a_whole_model_can_be_saved_and_sent(tmp_path, monkeypatch, compiler):
    twin = fused_twin(model_of(PLAIN["llama"]))
    torch.save(twin, tmp_path / "model.pt")
    read = torch.load(tmp_path / "model.pt", weights_only=False)
    if not compiler:  # on the machine that reads it
        monkeypatch.setattr(native, "functions_for", lambda *shape: None)
    with torch.no_grad():
        twin.model.layers[0].mlp.down_proj.weight.zero_()  # the other one computes with its own
    near(gradients(read), gradients(model_of(PLAIN["llama"])), 5e-6)
    assert fused.is_fused(read)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, -1, -0x400000], ids=hex)
def test_what_is_no_number_stays_none_in_low_precision(bits):
    functions = native.functions_for(16, 3, torch.bfloat16)
    if functions is None:
        pytest.skip("no C compiler here")
    outer = torch.tensor(bits, dtype=torch.int32).view(torch.float32).expand(1, 3, 2, 16)
    heads = torch.zeros(1, 3, 2, 16, dtype=torch.bfloat16, requires_grad=True)
    turned = fused._Turned.apply(heads, torch.ones(1, 2, 16), torch.zeros(1, 2, 16), functions)
    (gradient,) = torch.autograd.grad(turned, heads, outer)
    assert gradient.isnan().all()
    gate = torch.full((2, 16), 1e38).bfloat16().requires_grad_()
    up = torch.tensor(bits >> 16, dtype=torch.int16).view(torch.bfloat16).expand(2, 16)
    assert fused._Gated.apply(gate, up, functions).isnan().all()


def test_adapters_learn_beside_fused_layers():
    peft = pytest.importorskip("peft")
    how = {"target_modules": ["gate_proj", "q_proj"], "r": 2, "init_lora_weights": False}
    made = []
    for fuses in (False, True):
        torch.manual_seed(1)
        adapted = peft.get_peft_model(model_of(PLAIN["llama"]), peft.LoraConfig(**how))
        if fuses and not fused.fuse(adapted.get_base_model()):
            pytest.skip("no C compiler here")
        logits = adapted(torch.arange(9)[None]).logits
        learnt = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        made.append(torch.autograd.grad(logits.square().mean(), learnt))
    near(made[1], made[0], 5e-6)


@pytest.mark.parametrize(
    "config",
    [Gemma3TextConfig(**SHAPE, head_dim=8), LlamaConfig(**SHAPE, hidden_act="gelu")],
    ids=["another architecture", "another activation"],
)
def test_other_models_are_left_alone(config):
    model = model_of(config)
    assert not fused.fuse(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_without_a_compiler_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(native, "functions_for", lambda *arguments: None)
    assert not fused.fuse(model_of(PLAIN["llama"]))


def test_a_model_that_is_moved_goes_the_way_it_went_before():
    """FSDP and DeepSpeed move it after the trainer has made it. A meta tensor has no memory here either."""
    twin = fused_twin(model_of(PLAIN["llama"])).to("meta")
    assert twin(torch.arange(9, device="meta")[None]).logits.device.type == "meta"


def test_extreme_activations_keep_finite_gradients():
    twin = fused_twin(model_of(PLAIN["llama"]))
    gate = torch.tensor([[0.0, -200.0, 200.0, -87.5, 88.5, 1e30, -1e30, 1e-30]], requires_grad=True)
    up = torch.ones_like(gate, requires_grad=True)
    functions = twin.model.layers[0].mlp.fused.functions(torch.float32)
    mine = torch.autograd.grad(fused._Gated.apply(gate, up, functions).sum(), (gate, up))
    own = torch.autograd.grad((torch.nn.functional.silu(gate) * up).sum(), (gate, up))
    for ours, theirs in zip(mine, own, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-30)
        assert all(map(math.isfinite, ours.flatten().tolist()))


def test_upstream_is_as_it_was_read():
    """What `fuse` replaces is looked up where it replaces it."""
    assert "apply_rotary_pos_emb" in modeling_llama.LlamaAttention.forward.__code__.co_names
    assert modeling_llama.LlamaMLP.forward.__code__.co_names == ("down_proj", "act_fn", "gate_proj", "up_proj")
