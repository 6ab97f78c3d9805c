"""Packing and chunking against brute force: every token once, and each sees what it would see alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.update import batching
from r1rl.update.batching import Cost, PackedRow

TOKENS_ONLY, PAIRS_ONLY = Cost(1.0, 0.0), Cost(0.0, 1.0)
prompts_of = st.lists(st.sampled_from([(1,), (2, 3), (4, 5, 6)]), min_size=1, max_size=12)


@given(prompts_of, st.data(), st.sampled_from([TOKENS_ONLY, PAIRS_ONLY, Cost(100.0, 1.0)]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_completion_is_packed_once_behind_its_own_prompt(prompts, data, cost, may_share):
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=len(prompts), max_size=len(prompts)))
    rows = batching.pack(prompts, lengths, cost, may_share=may_share)
    packed = sorted(i for row in rows for i in row.completions)
    assert packed == [i for i, length in enumerate(lengths) if length]
    for row in rows:
        assert all(prompts[i] == row.prompt for i in row.completions)
        assert row.width == len(row.prompt) + sum(lengths[i] for i in row.completions)
        assert may_share or len(row.completions) == 1


def test_sharing_follows_the_cost():
    prompts, lengths = [(1, 2, 3)] * 4, [5, 5, 5, 5]
    one = batching.pack(prompts, lengths, TOKENS_ONLY, may_share=True)
    assert [row.width for row in one] == [23]  # 3 + 4 x 5: the prompt's tokens once
    alone = batching.pack(prompts, lengths, PAIRS_ONLY, may_share=True)
    assert [row.width for row in alone] == [8] * 4  # attention over the square would cost more


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=20), st.integers(1, 100))
@settings(max_examples=100, deadline=None)
def test_chunks_hold_every_row_once_within_the_budget(shapes, tokens):
    rows = [PackedRow((1,), tuple(range(1 + packed)), width) for width, packed in shapes]
    split = batching.chunks(rows, tokens)
    assert sorted(map(id, (row for part in split for row in part))) == sorted(map(id, rows))
    for part in split:
        assert len(part) * max(row.width for row in part) <= tokens or len(part) == 1
        assert len({len(row.completions) for row in part}) == 1  # packed or plain


@given(prompts_of, st.data(), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_filled_chunk_holds_whole_groups_about_the_budget(prompts, data, tokens):
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=len(prompts), max_size=len(prompts)))
    filled = batching.fill(prompts, lengths, tokens)
    rows = [row for part in filled for row in part]
    assert sorted(i for row in rows for i in row.completions) == [i for i, length in enumerate(lengths) if length]
    assert all(part for part in filled)
    whole = {p: len(p) + sum(n for q, n in zip(prompts, lengths, strict=True) if q == p) for p in prompts}
    for row in rows:
        assert all(prompts[i] == row.prompt for i in row.completions)
        assert row.width == len(row.prompt) + sum(lengths[i] for i in row.completions)
        if whole[row.prompt] <= int(1.25 * tokens):
            assert row.width == whole[row.prompt]
    # At most one row beyond the even share, and the even share is at most the budget.
    widest = max((row.width for row in rows), default=0)
    assert all(sum(row.width for row in part) <= tokens + widest for part in filled)


@pytest.mark.parametrize(
    ("length", "widths"),
    [
        pytest.param(85, [[870]], id="within the budget"),
        pytest.param(110, [[1070]], id="a fifth beyond it: cutting would forward 190 tokens once more"),
        pytest.param(115, [[650], [650]], id="more than a quarter beyond it"),
    ],
)
def test_a_group_a_little_too_large_stays_whole(length, widths):
    filled = batching.fill([(7,) * 190] * 8, [length] * 8, 874)
    assert [[row.width for row in part] for part in filled] == widths


def test_flat_layout_of_two_groups():
    completions = [[7, 8], [], [9], [4, 3]]
    rows = [PackedRow((5, 6), (0, 2), 5), PackedRow((1,), (3,), 3)]
    chunk = batching.flat_layout(rows, completions, torch.device("cpu"))
    assert chunk.input_ids.tolist() == [[5, 6, 7, 8, 9, 1, 4, 3]]
    assert chunk.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2]]
    assert chunk.sources.tolist() == [1, 2, 1, 5, 6]
    assert chunk.targets.tolist() == [7, 8, 9, 4, 3]
    assert list(zip(chunk.row.tolist(), chunk.column.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 0), (3, 0), (3, 1)]


def test_what_the_prompts_begin_with_lies_once_before_the_groups():
    examples, completions = tuple(range(100, 120)), [[7, 8], [9], [4, 3]]
    rows = [PackedRow((*examples, 5, 6), (0, 1), 25), PackedRow((*examples, 1), (2,), 23)]
    chunk = batching.flat_layout(rows, completions, torch.device("cpu"))
    assert chunk.input_ids.tolist() == [[*examples, 5, 6, 7, 8, 9, 1, 4, 3]]
    assert chunk.position_ids.tolist() == [[*range(20), 20, 21, 22, 23, 22, 20, 21, 22]]
    assert chunk.sources.tolist() == [21, 22, 21, 25, 26]
    assert chunk.targets.tolist() == [7, 8, 9, 4, 3]


def test_a_common_beginning_leaves_room_for_more_groups():
    prompts = [(*range(150), 500 + i) for i in range(8)]
    filled = batching.fill(prompts, [50] * 8, 352)  # 150 and four groups of 51, less two: 150 + 8 * 51 = 558 in all
    assert [len(part) for part in filled] == [3, 3, 2]
    apart = batching.fill([(i, *range(150)) for i in range(8)], [50] * 8, 352)
    assert len(apart) == 5


@pytest.mark.parametrize("flat", [True, False])
def test_useful_tokens_are_the_completions_and_each_prompt_once(flat):
    completions = [[7] * 4, [], [9] * 2, [4] * 3]
    prompts = [(1, 2)] * 3 + [(3, 4, 5)]
    layout = batching.Batching(tokens=4, flat=flat, may_share=True, cost=PAIRS_ONLY)
    passes, useful = layout.passes(prompts, completions)
    assert useful == 4 + 2 + 3 + 2 + 3
    assert len(passes) > 1
    assert sum(layout.chunk(part, completions, torch.device("cpu")).input_ids.numel() for part in passes) >= useful
    assert layout.chunk([], completions, torch.device("cpu")).input_ids.shape == (1, 1)


def test_layout_of_two_completions_behind_one_prompt():
    completions = [[7, 8], [], [9]]
    chunk = batching.layout([PackedRow((5, 6), (0, 2), 5)], completions, torch.device("cpu"))
    assert chunk.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert chunk.position_ids.tolist() == [[0, 1, 2, 3, 2]]  # the second restarts behind the prompt
    assert chunk.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # 9 sees the prompt and itself, not 7 and 8
    ]
    assert chunk.sources.tolist() == [1, 2, 1]  # both first tokens are predicted by the prompt's last
    assert chunk.targets.tolist() == [7, 8, 9]
    assert list(zip(chunk.row.tolist(), chunk.column.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 0)]


def test_plain_rows_need_no_mask_and_padding_sees_itself_alone():
    completions = [[7, 8, 9], [4], [3], [2]]
    plain = batching.layout([PackedRow((5,), (0,), 4), PackedRow((6,), (1,), 2)], completions, torch.device("cpu"))
    assert plain.attention_mask is None
    packed = batching.layout([PackedRow((5,), (0, 1), 5), PackedRow((6,), (2, 3), 3)], completions, torch.device("cpu"))
    assert packed.attention_mask[1, 0, 3:].int().tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize("lay_out", [batching.layout, batching.flat_layout])
def test_a_row_without_completions_scores_nothing(lay_out):
    chunk = lay_out([PackedRow((0,), (), 1)], [], torch.device("cpu"))
    assert chunk.sources.dtype == torch.long
    assert len(chunk.sources) == len(chunk.targets) == 0


@pytest.mark.parametrize("width", [1, 64])
def test_a_packed_row_costs_more_attention_than_a_plain_one(width):
    cost = Cost(10.0, 1.0)
    assert cost.row(width, packed=True) > cost.row(width, packed=False) >= 10 * width
