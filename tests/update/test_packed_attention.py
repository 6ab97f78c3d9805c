"""Packed attention against attention under the 4-D mask that says the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl import kernels
from r1rl.update import packed_attention

CPU = torch.device("cpu")
groups_of = st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(1, 9), max_size=5)), min_size=1, max_size=3)


def sees(groups, window, common=0):
    """Which token sees which, bool [tokens, tokens], one token at a time."""
    owner = [(-1, 0, i) for i in range(common)]  # group (-1: all), completion (0: the prompt), position
    for g, (prompt, lengths) in enumerate(groups):
        owner += [(g, 0, common + i) for i in range(prompt)]
        for c, length in enumerate(lengths, 1):
            owner += [(g, c, common + prompt + i) for i in range(length)]
    mask = torch.zeros(len(owner), len(owner), dtype=torch.bool)
    for q, (group, completion, position) in enumerate(owner):
        for k, (other, piece, at) in enumerate(owner):
            before = other == -1 or (group == other and piece in (0, completion))
            mask[q, k] = before and 0 <= position - at < (window or 10**9)
    return mask


def inputs(tokens, heads, key_heads, dtype=torch.float32, head=8):
    generator = torch.Generator().manual_seed(tokens)
    shapes = heads, key_heads, key_heads
    # As layers give them: heads swapped in front of tokens.
    made = [torch.randn(1, tokens, h, head, generator=generator).to(dtype).transpose(1, 2) for h in shapes]
    return [x.requires_grad_() for x in made], torch.randn(1, tokens, heads, head, generator=generator).to(dtype)


def both(groups, heads, key_heads, window, dtype=torch.float32, common=0, head=8):
    """Outputs and gradients of ours and of sdpa under the mask in float64."""
    layout = packed_attention.Spans(groups, common)
    (q, k, v), outer = inputs(layout.tokens, heads, key_heads, dtype, head)
    ours, _ = packed_attention.attention(
        None, q, k, v, packed_attention.mask_for(layout, CPU), sliding_window=window, dropout=0.0
    )
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    repeated = [wide[0], *(x.repeat_interleave(heads // key_heads, 1) for x in wide[1:])]
    mask = sees(groups, window, common)
    theirs = torch.nn.functional.scaled_dot_product_attention(*repeated, attn_mask=mask).transpose(1, 2)
    return (
        [ours, *torch.autograd.grad(ours, (q, k, v), outer)],
        [theirs, *torch.autograd.grad(theirs, wide, outer.double())],
    )


@given(
    groups_of,
    st.sampled_from([(4, 4), (4, 2), (3, 1)]),
    st.sampled_from([None, 1, 3, 8]),
    st.sampled_from([0, 1, 7, 70]),  # the last is more than a block of keys
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_equals_attention_under_a_mask(groups, heads, window, common, compiled):
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(kernels, "serve", lambda *tensors: False)
        ours, theirs = both(groups, *heads, window, common=common)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.double(), other, atol=1e-5)


@pytest.mark.parametrize("common", [0, 64, 65])
@pytest.mark.parametrize("window", [None, 63, 64, 100])
@pytest.mark.parametrize(("head", "heads"), [(64, (3, 1)), (80, (4, 2)), (128, (2, 2))], ids=str)
def test_attention_over_blocks_of_keys(head, heads, window, common):
    """Lengths at the edges of the compiled functions' blocks, 64 keys and 24 or fewer queries."""
    groups = [(63, [64, 130, 1]), (65, [63, 24]), (1, [65])]
    ours, theirs = both(groups, *heads, window, common=common, head=head)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.double(), other, atol=2e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_value_that_is_no_number_is_not_hidden(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernels, "serve", lambda *tensors: False)
    layout = packed_attention.Spans([(1, [3])])
    (q, k, v), _ = inputs(layout.tokens, 2, 2)
    with torch.no_grad():
        k[:, :, 0] = float("nan")
    ours, _ = packed_attention.attention(None, q, k, v, packed_attention.mask_for(layout, CPU))
    assert ours.isnan().all()


@pytest.mark.parametrize("compiled", [True, False])
def test_low_precision_is_as_close_as_its_inputs_allow(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernels, "serve", lambda *tensors: False)
    ours, theirs = both([(20, [30, 9, 24])], 4, 2, None, torch.bfloat16)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - other).norm() / other.norm() < 0.01


def test_products_are_made_in_autocasts_precision():
    layout = packed_attention.Spans([(3, [4])])
    (q, k, v), _ = inputs(layout.tokens, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = packed_attention.attention(None, q, k, v, packed_attention.mask_for(layout, CPU))
    assert ours.dtype == torch.bfloat16


def test_segments_are_the_beginning_then_each_prompt_with_its_completions():
    layout = packed_attention.Spans([(2, [3, 1]), (5, [])], common=4)
    assert layout.segments == [(0, 4, 0, 0, 0), (4, 2, 4, 0, 4), (6, 3, 4, 2, 4), (9, 1, 4, 2, 4), (10, 5, 10, 0, 4)]
    assert layout.tokens == 15


def test_other_masks_go_to_sdpa_as_before():
    (q, k, v), _ = inputs(6, 2, 2)
    module = torch.nn.Module()
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    ours, _ = packed_attention.attention(module, q, k, v, mask, scaling=0.1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.1)
    assert torch.equal(ours, expected.transpose(1, 2))


def test_attention_that_ignores_the_spans_fails():
    layout = packed_attention.Spans([(3, [4])])
    (q, k, v), _ = inputs(layout.tokens, 2, 2)
    with pytest.raises(RuntimeError, match="size"):
        torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=packed_attention.mask_for(layout, CPU))
