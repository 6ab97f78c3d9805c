"""Tokens, operations and the machine's limit, each against counting the slow way."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import work
from benchmarks.machine import Peak
from benchmarks.work import OURS, TRL, Forward, ModelCost, Turn

COST = ModelCost(per_token=1000.0, per_pair=10.0, head=300.0, parameters=700)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(("rows", "width"), [(1, 7), (3, 16)])
def test_a_forward_costs_what_torch_counts(model: LlamaForCausalLM, rows: int, width: int) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros(rows, width, dtype=torch.long))
    cost, tokens = work.model_cost(model), rows * width
    counted = work.flops(cost, tokens=tokens, pairs=rows * width**2, projected=tokens)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)  # torch also counts the rotary table


def test_a_decoding_step_reads_every_matrix_once(model: LlamaForCausalLM) -> None:
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name)
    assert work.model_cost(model).parameters == matrices


def _trie_nodes(prompts: list[list[int]]) -> int:
    return len({tuple(prompt[: n + 1]) for prompt in prompts for n in range(len(prompt))})


@pytest.mark.parametrize("seed", range(20))
def test_common_beginnings_count_once(seed: int) -> None:
    chance = random.Random(seed)
    prompts = [[chance.randrange(3) for _ in range(chance.randrange(1, 7))] for _ in range(chance.randrange(1, 9))]
    assert work.prefix_tokens(prompts) == _trie_nodes(prompts)


def _decoding(lengths: list[int]) -> list[int]:
    """Rows in each step, by playing it out: the first token of a row comes from its prompt."""
    written, steps = [1] * len(lengths), []
    while going := [i for i, n in enumerate(lengths) if written[i] < n]:
        steps.append(len(going))
        for i in going:
            written[i] += 1
    return steps


@pytest.mark.parametrize("lengths", [[], [1], [1, 1], [3, 1, 2], [5, 5], [2, 9, 4, 4]])
def test_living_rows(lengths: list[int]) -> None:
    assert work.living(lengths) == _decoding(lengths)


def test_decode_pairs() -> None:
    prompts, steps = [3, 5], [2, 4]
    seen = [p + 1 + step for p, n in zip(prompts, steps, strict=True) for step in range(n)]
    assert work.decode_pairs(prompts, steps) == sum(seen)


@pytest.mark.parametrize(
    "peak",
    [
        pytest.param(Peak(flops=1e3, bandwidth=1e9), id="bound by products"),
        pytest.param(Peak(flops=1e9, bandwidth=1e3), id="bound by reading"),
        pytest.param(Peak(flops=2e3, bandwidth=2e3), id="bound by both"),
    ],
)
def test_the_limit_is_the_larger_of_both_summed_over_the_passes(peak: Peak) -> None:
    prompts = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [1, 2, 4]]
    lengths = [4, 1, 6, 2]
    reading = COST.parameters * 2 / peak.bandwidth
    expected = max((4 * COST.per_token + 2 * COST.head) / peak.flops, reading)
    for rows in _decoding(lengths):
        expected += max(rows * (COST.per_token + COST.head) / peak.flops, reading)
    assert work.least_seconds(COST, peak, prompts, lengths, 2) == pytest.approx(expected)


def _turn(side: str, **changes: object) -> Turn:
    answer = {
        "seconds": {"step": 10.0, "sampling": 4.0},
        "prompts": [[1, 2, 3], [1, 2, 3], [7, 8], [7, 8]],
        "lengths": [4, 2, 3, 1],
        "signal": [True, True, False, False],
        "prefilled": 5,
        "draws": 10,
        "update": [[1, 12]],
        "cost": COST.__dict__,
        "peak_bytes": 10**9,
    }
    return Turn.of(side, answer | changes)


def test_useful_tokens() -> None:
    turn = _turn(OURS)
    assert turn.sampled == 10
    assert turn.decode_share == 1.0
    assert turn.update == [Forward(1, 12)]
    assert turn.needed == 3 + 4 + 2  # the first group's prompt once, and its completions
    assert turn.update_share == 9 / 12
    assert _turn(TRL, draws=16).decode_share == 10 / 16


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"signal": [False] * 4}, id="nothing is needed"),
        pytest.param({"signal": [True]}, id="several rounds of sampling"),
        pytest.param({"update": []}, id="nothing was forwarded"),
    ],
)
def test_no_share_of_the_update(changes: dict) -> None:
    assert _turn(OURS, **changes).update_share is None


def _pairs(prompt: int, steps: int) -> int:
    return sum(1 for step in range(steps) for _ in range(prompt + step + 1))


def test_operations_of_our_sampling() -> None:
    """Prompts once, then every row feeds its prompt's last token and all it wrote but the last."""
    turn = _turn(OURS)
    pairs = 3**2 / 2 + 2**2 / 2 + sum(_pairs(p, n) for p, n in ((3, 4), (3, 2), (2, 3), (2, 1)))
    assert turn.sampling_flops() == (5 + 10) * 1000 + pairs * 10 + 10 * 300


def test_operations_of_generate() -> None:
    """Padded prompts once a row, then all rows until the slowest ends."""
    turn = _turn(TRL, draws=16, prefilled=12)
    pairs = 4 * 3**2 + sum(_pairs(3, 3) for _ in range(4))
    assert turn.sampling_flops() == (12 + 4 * 3) * 1000 + pairs * 10 + 16 * 300


def test_operations_of_the_update() -> None:
    ours = _turn(OURS)
    pairs = 3**2 / 2 + _pairs(3, 4) + _pairs(3, 2)
    assert ours.update_flops() == 3 * (12 * 1000 + pairs * 10 + 6 * 300)
    plain = _turn(TRL, update=[[2, 7]] * 2)
    assert plain.update_flops() == 3 * (28 * 1000 + 2 * 2 * 7 * 7 * 10 + 2 * 2 * 6 * 300)


def test_operations_are_unknown_where_draws_are() -> None:
    assert _turn(OURS, draws=None).sampling_flops() is None
    assert _turn(OURS, draws=None).decode_share is None
