"""Tokens as text: what rewards and the store see of special tokens."""

import pytest
from tiny_training import metric_lines, run
from transformers import AutoTokenizer

from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout.texts import text_of
from r1rl.store import store

TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
TEXT = "<think> 3 + 5 </think> <answer> 8 </answer>"


def with_special_tags(tokenizer):
    tokenizer.add_special_tokens({"additional_special_tokens": TAGS})
    return tokenizer


@pytest.mark.parametrize(
    ("before", "after", "ends", "expected"),
    [
        pytest.param("", "", (), TEXT, id="the tags stay"),
        pytest.param("", "<eos>", (), TEXT, id="the tokenizer's end goes"),
        pytest.param("", "no", ("no",), TEXT, id="another end of the model goes"),
        pytest.param("<pad><pad>", "<eos><pad>", (), TEXT, id="padding goes"),
        pytest.param("", "<unk>", (), f"{TEXT} <unk>", id="what is no tag but special stays"),
    ],
)
def test_special_tokens_stay_but_for_those_that_end_or_pad(before, after, ends, expected):
    tokenizer = with_special_tags(tiny_tokenizer.build())
    pieces = [*before.replace("><", "> <").split(), *TEXT.split(), *after.replace("><", "> <").split()]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "3 + 5 8" + " no" * bool(ends), "else nothing is at stake"
    assert text_of(tokenizer, ids, tokenizer.convert_tokens_to_ids(list(ends))) == expected


@pytest.mark.parametrize("engine", ["embedded", "generate"])
def test_special_tags_are_paid_stored_and_evaluated(engine, small_run, small_base, tmp_path):
    """The same weights, tags special or not: the same rollouts, rewards and evaluations."""
    special = tmp_path / "special"
    special.mkdir()
    for file in small_base.iterdir():
        (special / file.name).write_bytes(file.read_bytes())
    with_special_tags(AutoTokenizer.from_pretrained(small_base)).save_pretrained(special)
    words = ["--engine", engine, "--max_steps", "1"]
    plain = run(small_run, *words, name="plain")
    tagged = run(small_run, *words, "--model_name_or_path", str(special), name="tagged")
    found = [
        [(row["completion"], row["reward_format"], row["verdict"]) for row in store.read(folder.path).to_pylist()]
        for folder in (plain, tagged)
    ]
    assert found[0] == found[1]
    assert any(paid for _, paid, _ in found[0]), "else this could not fail"
    assert metric_lines(plain)[0]["rewards/format/mean"] == metric_lines(tagged)[0]["rewards/format/mean"]
