"""The draw of the next token: randomness that is a function of the row alone, filters, stop strings."""

import pytest
import torch

from r1rl.rollout.sampling import Sampling, StopStrings, draw, filtered, row_key, tempered, uniforms

MASK = 2**64 - 1


def slow_uniform(key: int, position: int) -> float:
    """SplitMix64 in Python integers: the oracle of `uniforms`."""

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    z = mix((mix(key) + (position + 1) * 0x9E3779B97F4A7C15) & MASK)
    return ((z >> 11) + 0.5) / 2**53


@pytest.mark.parametrize("position", [0, 1, 7, 32_767], ids=str)
def test_uniforms_equal_integer_arithmetic(position):
    keys = [0, 1, 2**62, 2**63 - 1, row_key(0, "train", 3, 4)]
    assert uniforms(torch.tensor(keys), position).tolist() == [slow_uniform(k, position) for k in keys]


def test_uniforms_look_uniform_over_rows_and_positions():
    keys = torch.tensor([row_key(0, "x", i) for i in range(500)])
    values = torch.stack([uniforms(keys, p) for p in range(200)])
    # 100,000 draws: the standard error of the mean is 0.0009, of a decile's share 0.00095.
    assert abs(values.mean().item() - 0.5) < 0.005
    deciles = torch.histc(values.float(), bins=10, min=0, max=1) / values.numel()
    assert (deciles - 0.1).abs().max() < 0.006
    assert torch.corrcoef(values.reshape(2, -1))[0, 1].abs() < 0.02


def test_row_keys_depend_on_every_part():
    keys = {row_key(*parts) for parts in [(0, "train", 1, 2), (0, "train", 12), (1, "train", 1, 2), (0, "eval", 1, 2)]}
    assert len(keys) == 4
    assert all(0 <= key < 2**63 for key in keys)


def test_draws_follow_the_softmax():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).repeat(20_000, 1)
    keys = torch.tensor([row_key("chi", i) for i in range(len(logits))])
    tokens, logprobs, _ = draw(logits, keys, 0, Sampling())
    expected = torch.softmax(logits[0], 0) * len(logits)
    counts = torch.bincount(tokens, minlength=4)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001; the keys are fixed, so this never flickers
    assert torch.allclose(logprobs, torch.log_softmax(logits[0], 0)[tokens])


def test_a_draw_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    logits, keys = torch.randn(8, 50), torch.tensor([row_key("n", i) for i in range(8)])
    together = draw(logits, keys, 3, Sampling())[0]
    alone = torch.cat([draw(logits[i : i + 1], keys[i : i + 1], 3, Sampling())[0] for i in range(8)])
    assert together.tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        pytest.param(Sampling(top_k=1), {0}, id="top_k=1 leaves the best token"),
        pytest.param(Sampling(top_p=0.5), {0}, id="top_p below the best token's share keeps it alone"),
        pytest.param(Sampling(min_p=0.3), {0, 2}, id="min_p drops what is below 0.3 of the best"),
        pytest.param(Sampling(temperature=0.0), {0}, id="temperature 0 is greedy"),
    ],
)
def test_filters(sampling, allowed):
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).repeat(300, 1)
    keys = torch.tensor([row_key("f", i) for i in range(300)])
    assert set(draw(logits, keys, 0, sampling)[0].tolist()) == allowed


@pytest.mark.parametrize(
    ("spread", "top_p"),
    [
        pytest.param(8.0, 0.95, id="few tokens hold it, the usual case"),
        pytest.param(3.0, 0.5, id="hundreds do"),
        pytest.param(0.1, 0.95, id="nearly all tokens do, more than are looked at first"),
    ],
)
def test_a_nucleus_in_a_large_vocabulary_is_that_of_a_sort(spread, top_p):
    scores = torch.randn(6, 8192, generator=torch.Generator().manual_seed(0)) * spread
    kept = filtered(scores, Sampling(top_p=top_p)).isfinite()
    # In float64: at the very edge float32 decides by the order in which it adds.
    shares, order = scores.double().softmax(-1).sort(descending=True)
    before = shares.cumsum(-1) - shares
    sure = ((before - top_p).abs() > 1e-4).gather(1, order.argsort(-1))
    expected = (before < top_p).gather(1, order.argsort(-1))
    assert torch.equal(kept[sure], expected[sure])
    assert sure.float().mean() > 0.9
    assert kept.any(-1).all()


def test_temperature_scales_logits():
    logits = torch.tensor([[2.0, 0.0]])
    assert torch.allclose(tempered(logits, Sampling(temperature=0.5)), logits * 2)


class CharacterTokenizer:
    """Decodes ids by a table, like a tokenizer with one entry an id."""

    def __init__(self, entries):
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def decode(self, ids):
        return "".join(self.entries[i] for i in ids)

    def batch_decode(self, rows):
        return [self.decode(row) for row in rows]


ENTRIES = ["a", "</", "answer", ">", "> ", "User", ":", "er", ">x", "</answer>", "Us"]


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        pytest.param([0, 1, 2, 3, 0], 4, id="spread over three tokens"),
        pytest.param([0, 1, 2, 8, 0], 4, id="the last token reaches beyond the stop string"),
        pytest.param([0, 9, 0], 2, id="one token"),
        pytest.param([10, 7, 6, 0], 3, id="second stop string, User: from Us+er+:"),
        pytest.param([0, 1, 2, 0, 3], 5, id="interrupted tag does not stop"),
        pytest.param([3, 6, 8, 4], 4, id="only ends of stop strings"),
        pytest.param([], 0, id="nothing written"),
    ],
)
def test_stop_strings_cut_after_the_completing_token(ids, kept):
    stops = StopStrings(("</answer>", "User:"), CharacterTokenizer(ENTRIES), len(ENTRIES))
    assert stops.cut(ids) == ids[:kept]
    assert stops.stops(ids[:kept]) == (kept > 0 and kept < len(ids))


def test_most_tokens_cannot_complete_a_stop_string():
    stops = StopStrings(("</answer>",), CharacterTokenizer(ENTRIES), len(ENTRIES) + 5)
    assert [ENTRIES[i] for i in stops.completes.nonzero().flatten().tolist()] == [">", "> ", ">x", "</answer>"]
