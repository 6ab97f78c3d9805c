"""The tiny base: what its corpus says is true where it must be, and its builder refuses a base without skills."""

import dataclasses
import json
import random
import re

import pytest
import torch

from r1rl.models import base
from r1rl.models.base import examine, pretrain, tokenizer
from r1rl.models.base.corpus import (
    LARGEST,
    CorpusConfig,
    calculate,
    checks,
    document,
    expressions,
    fact,
    texts,
    workings,
)
from r1rl.tasks.countdown import is_heldout
from r1rl.verify.countdown import verify
from rewards.format import failure

CONFIG = CorpusConfig()
SMALL = pretrain.PretrainConfig(
    hidden=16, layers=1, heads=2, intermediate=16, steps=3, batch=2, block_tokens=64, warmup_steps=1
)


@pytest.fixture(scope="module")
def tiny():
    return tokenizer.build()


@pytest.fixture(scope="module")
def documents():
    rng = random.Random(0)
    return [document(rng, CONFIG) for _ in range(3000)]


def parts(text):
    numbers, target, reasoning, answer = re.fullmatch(
        r"Use ([\d, ]+) to make (\d+)\. <think> (.+) </think> <answer> (.+) </answer>", text
    ).groups()
    return [int(n) for n in numbers.split(",")], target, reasoning, answer


def test_every_document_is_honest_arithmetic_about_a_training_problem(documents):
    for text in documents:
        numbers, target, reasoning, _ = parts(text)
        assert not is_heldout(numbers, int(target))
        assert failure(text[text.index("<think>") :]) == ""
        for a, operator, b, value in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", reasoning):
            assert calculate(int(a), operator, int(b)) == int(value)
        for restated, got, verdict in re.findall(r"target (\d+) got (\d+) (yes|no)", reasoning):
            assert restated == target
            assert (got == target) == (verdict == "yes")


def test_the_answer_is_the_last_attempt(documents):
    for text in documents:
        numbers, target, reasoning, answer = parts(text)
        last = re.findall(r"= (\d+)", reasoning)[-1]
        assert (verify(answer, target, {"numbers": numbers}).status == "correct") == (last == target)


def test_most_documents_guess_once_and_few_try_again(documents):
    attempts = [len(re.findall(r", \d+ [-+*] \d+ = ", text)) for text in documents]
    checked = ["target" in text for text in documents]
    assert attempts.count(1) / len(attempts) > 0.6
    assert 0.05 < sum(n > 1 for n in attempts) / len(attempts) < 0.2
    assert abs(checked.count(False) / len(checked) - CONFIG.unchecked) < 0.04
    stopped_after_a_no = sum(bool(re.search(r"no </think>", text)) for text in documents)
    assert stopped_after_a_no > 0.1 * len(documents), "a no is mostly not followed by another attempt"


def test_no_document_repeats_an_attempt(documents):
    for text in documents:
        results = re.findall(r"\d+ [-+*] \d+ = \d+ , \d+ [-+*] \d+ = (\d+)", text)
        assert len(results) == len(set(results))


def test_expressions_are_complete():
    """Every value of a brute-force search over both tree shapes is found, and no other."""
    numbers, slow = (2, 3, 9), set()
    for a, b, c in [(2, 3, 9), (2, 9, 3), (3, 2, 9), (3, 9, 2), (9, 2, 3), (9, 3, 2)]:
        for first in "+-*":
            x = calculate(a, first, b)
            for second in "+-*":
                for left, right in ((x, c), (c, x)):
                    if x is not None and (y := calculate(left, second, right)) is not None:
                        slow.add(y)
    found = [second[3] for _, second, _ in expressions(numbers, "+-*")]
    assert set(found) == slow
    assert len(found) == len(slow), "one way to each"


def test_fact_drills_are_true():
    rng = random.Random(1)
    for _ in range(2000):
        a, operator, b, equals, value = fact(rng, CONFIG).split()
        assert (calculate(int(a), operator, int(b)), equals) == (int(value), "=")


def test_goal_test_drills_are_true_and_balanced():
    rng = random.Random(1)
    found = [pair for _ in range(300) for pair in re.findall(r"target (\d+) got (\d+) (yes|no)", checks(rng, CONFIG))]
    assert len(found) == 300 * 12
    assert all((target == got) == (verdict == "yes") for target, got, verdict in found)
    assert 0.45 < sum(verdict == "yes" for _, _, verdict in found) / len(found) < 0.55


def test_workings_use_every_given_number_once_and_say_nothing_about_a_target():
    rng = random.Random(1)
    for _ in range(300):
        given, listed = re.fullmatch(r"Use ([\d, ]+) : (.+)", workings(rng, CONFIG)).groups()
        numbers = sorted(int(n) for n in given.split(","))
        lines = listed.split(" . ")
        assert len({line.rpartition(" ")[2] for line in lines}) == len(lines) <= 10
        for line in lines:
            a, first, b, x, c, second, d, y = re.fullmatch(
                r"(\d+) (.) (\d+) = (\d+) , (\d+) (.) (\d+) = (\d+)", line
            ).groups()
            assert calculate(int(a), first, int(b)) == int(x)
            assert calculate(int(c), second, int(d)) == int(y)
            assert any(sorted([int(a), int(b), int(rest)]) == numbers for rest, used in ((c, d), (d, c)) if used == x)


def test_the_tokenizer_knows_every_word_and_gives_text_back(tiny, documents):
    rng = random.Random(2)
    stream = texts(rng, CONFIG, {"facts": 0.3, "workings": 0.2, "checks": 0.3})
    for text in [next(stream)[1] for _ in range(500)]:
        ids = tiny(text)["input_ids"]
        assert tiny.unk_token_id not in ids
        assert tiny(tiny.decode(ids, skip_special_tokens=True))["input_ids"] == ids
    assert len(tiny("99")["input_ids"]) == 1
    assert tiny("(3*5)+7")["input_ids"] == tiny("( 3 * 5 ) + 7")["input_ids"]
    assert tiny(str(LARGEST + 1))["input_ids"] == [tiny.unk_token_id]


def test_labels_are_only_what_can_be_predicted(tiny):
    inputs, labels = pretrain.blocks(pretrain.PretrainConfig(batch=8), 1000, tiny)
    assert inputs.shape == labels.shape == (8, pretrain.PretrainConfig().block_tokens)
    known = labels != -100
    assert torch.equal(labels[:, :-1][known[:, :-1]], inputs[:, 1:][known[:, :-1]]), "labels are the next inputs"
    assert 0.4 < known.float().mean() < 0.95
    question_words = set(tiny.convert_tokens_to_ids(["Use", "to", "make"]))
    assert not question_words & set(labels[known].tolist())


def test_the_same_seed_gives_the_same_weights():
    first, second = pretrain.pretrain(SMALL)[0], pretrain.pretrain(SMALL)[0]
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_untrained_base_is_refused_and_nothing_is_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    monkeypatch.setattr(examine, "SAMPLES", 1)
    with pytest.raises(RuntimeError, match="the base is refused"):
        base.path("countdown", SMALL)
    assert not [entry for entry in tmp_path.iterdir() if entry.is_dir()]


def test_a_base_that_is_not_ready_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    good = examine.Skills(1.0, 9, 1.0, 9, 1.0, 9, 1.0)
    found = [dataclasses.replace(good, no_after_miss=0.5), dataclasses.replace(good, facts=0.94), good]
    monkeypatch.setattr(examine, "examine", lambda *args: found.pop(0))
    config = dataclasses.replace(SMALL, steps=8)
    folder = base.path("countdown", config)
    assert json.loads((folder / "base.json").read_text())["steps"] == 8 + 2 + 2
    assert not found


def test_a_good_base_is_built_once(tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path))
    monkeypatch.setattr(examine, "SAMPLES", 1)
    monkeypatch.setattr(examine, "REQUIRED", 0.0)
    folder = base.path("countdown", SMALL)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert base.path("countdown", SMALL) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert (folder / "base.json").is_file()


def test_the_hash_covers_the_corpus():
    other = pretrain.PretrainConfig(corpus=CorpusConfig(give_up=0.5))
    assert base.config_hash(other) != base.config_hash(pretrain.PretrainConfig())


def test_examination_counts_by_hand(tiny, monkeypatch):
    """Three scripted completions: 5 equations of which 4 right, one hit (yes), two misses of which one says yes."""
    from r1rl.rollout import engine

    config = pretrain.PretrainConfig()
    row = config.corpus.task.rows("heldout", 1)[0]
    miss = str(int(row.gold) % 50 + 1)
    scripted = [
        f"1 + 1 = 2 , 2 + 2 = 4 target {row.gold} got {row.gold} yes",
        f"1 + 1 = 3 , 2 + 2 = 4 target {row.gold} got {miss} yes",
        f"2 * 3 = 6 target {row.gold} got {miss} no",
    ]
    monkeypatch.setattr(examine, "PROBLEMS", 1)
    monkeypatch.setattr(examine, "SAMPLES", 3)
    monkeypatch.setattr(
        engine.Engine,
        "generate",
        lambda *args: [engine.Completion(tiny(text)["input_ids"], [], "eos") for text in scripted],
    )
    skills = examine.examine(None, tiny, config)
    assert (skills.facts, skills.facts_count) == (4 / 5, 5)
    assert (skills.yes_after_hit, skills.hits) == (1.0, 1)
    assert (skills.no_after_miss, skills.misses) == (0.5, 2)
    assert skills.restated == 1.0
    assert not skills.sufficient
    with pytest.raises(RuntimeError, match="refused"):
        skills.require()
