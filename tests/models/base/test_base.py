"""The tiny base: its corpus is true where it must be, what ships is whole, and no base without skills is built."""

import dataclasses
import json
import os
import random
import re
import shutil

import pytest
import torch

from r1rl.ground.errors import RecipeError
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
    assert abs(checked.count(False) / len(checked) - (1 - CONFIG.checks)) < 0.04
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


def test_workings_use_every_given_number_once_and_test_each_result_in_half_of_the_lists():
    rng = random.Random(1)
    tested = 0
    for _ in range(300):
        given, target, listed = re.fullmatch(
            r"Use ([\d, ]+?)(?: to make (\d+))? : (.+)", workings(rng, CONFIG)
        ).groups()
        numbers = sorted(int(n) for n in given.split(","))
        lines = [line.partition(" target ") for line in listed.split(" . ")]
        assert len({equations.rpartition(" ")[2] for equations, _, _ in lines}) == len(lines) <= 10
        tested += target is not None
        for equations, _, check in lines:
            a, first, b, x, c, second, d, y = re.fullmatch(
                r"(\d+) (.) (\d+) = (\d+) , (\d+) (.) (\d+) = (\d+)", equations
            ).groups()
            assert calculate(int(a), first, int(b)) == int(x)
            assert calculate(int(c), second, int(d)) == int(y)
            assert any(sorted([int(a), int(b), int(rest)]) == numbers for rest, used in ((c, d), (d, c)) if used == x)
            assert check == (f"{target} got {y} {'yes' if y == target else 'no'}" if target else "")
        assert target is None or not is_heldout(numbers, int(target))
    assert 0.4 < tested / 300 < 0.6


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


def test_what_ships_is_whole_and_built_from_this_corpus():
    assert base.path("countdown") == base.shipped("countdown")
    content = base.manifest(base.shipped("countdown"))
    rebuild = "the corpus or its options changed: run `r1rl base build`"
    assert content["config"] == json.loads(json.dumps(dataclasses.asdict(base.BASES["countdown"]))), rebuild
    assert content["corpus_sha256"] == pretrain.corpus_sha256(base.BASES["countdown"]), rebuild
    assert examine.Skills(**content["skills"]).sufficient
    assert sum(file.stat().st_size for file in base.path("countdown").iterdir()) < 4e6


def test_what_ships_loads_as_the_model_and_tokenizer_of_its_config(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = base.path("countdown")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.num_parameters() == base.manifest(folder)["parameters"]
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tiny.get_vocab()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "is damaged", id="other weights"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), "install r1rl again", id="no weights"),
        pytest.param(lambda folder: (folder / "base.json").write_text("{"), "holds no base", id="half a manifest"),
        pytest.param(lambda folder: (folder / "base.json").unlink(), "holds no base", id="no manifest"),
    ],
)
def test_a_damaged_base_is_refused(damage, message, tmp_path, monkeypatch):
    folder = tmp_path / "countdown"
    shutil.copytree(base.shipped("countdown"), folder)
    monkeypatch.setattr(base, "shipped", lambda name: folder)
    assert base.path() == folder
    damage(folder)
    with pytest.raises(RecipeError, match=message):
        base.path()


def test_a_base_without_skills_is_refused_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "SAMPLES", 1)
    with pytest.raises(RuntimeError, match="the base is refused"):
        base.build("countdown", tmp_path / "new", SMALL)
    assert not list(tmp_path.iterdir())


def test_what_is_built_can_be_built_over_and_verified(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "SAMPLES", 1)
    monkeypatch.setattr(examine, "REQUIRED", 0.0)
    folder = base.build("countdown", tmp_path / "new", SMALL)
    first = base.manifest(folder)
    assert base.manifest(base.build("countdown", folder, SMALL)) == first
    monkeypatch.setattr(base, "shipped", lambda name: folder)
    assert base.path() == folder
    assert first["corpus_sha256"] == pretrain.corpus_sha256(SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_nothing_but_a_base_is_built_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RecipeError, match="something else"):
        base.build("countdown", tmp_path, SMALL)


def test_the_hash_covers_the_corpus():
    other = dataclasses.replace(SMALL, corpus=CorpusConfig(checks=0.9))
    assert pretrain.corpus_sha256(other) != pretrain.corpus_sha256(SMALL)


@pytest.mark.skipif(not os.environ.get("R1RL_TEST_BASE"), reason="set R1RL_TEST_BASE=1: builds the base, 20 minutes")
def test_a_base_built_again_has_the_skills_of_what_ships(tmp_path):
    """Processors round differently, so the weights may differ; what the base can do must not."""
    shipped = base.manifest(base.shipped("countdown"))["skills"]
    again = base.manifest(base.build("countdown", tmp_path / "again"))["skills"]
    for skill in ("facts", "yes_after_hit", "no_after_miss", "restated", "new"):
        assert abs(again[skill] - shipped[skill]) < 0.02, skill


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_arithmetic_slips_as_often_as_it_is_asked_to(share):
    rng, config = random.Random(3), CorpusConfig(arithmetic=share, retries=0.5)
    equations = [fact(rng, config).replace("=", "").split() for _ in range(1000)]
    equations += [one for _ in range(500) for one in re.findall(r"(\d+) ([-+]) (\d+) = (\d+)", document(rng, config))]
    right = [calculate(int(a), operator, int(b)) == int(value) for a, operator, b, value in equations]
    assert abs(sum(right) / len(right) - share) < 0.04


def test_an_attempt_goes_on_with_its_slip_and_answers_what_it_wrote():
    rng, config, went_on = random.Random(3), CorpusConfig(arithmetic=0.5, retries=0.0), 0
    for _ in range(500):
        numbers, _, reasoning, answer = parts(document(rng, config))
        a, first, b, x, c, second, d = re.match(r"(\d+) (.) (\d+) = (\d+) , (\d+) (.) (\d+)", reasoning).groups()
        true = str(calculate(int(a), first, int(b)))
        assert sorted(map(int, re.findall(r"\d+", answer))) == sorted(numbers)
        if x != true and true not in (c, d):
            assert x in (c, d)
            went_on += 1
            other = d if c == x else c
            assert answer in (f"( {a} {first} {b} ) {second} {other}", f"{other} {second} ( {a} {first} {b} )")
    assert went_on > 100


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_goal_tests_say_the_right_word_as_often_as_they_are_asked_to(share):
    rng, config = random.Random(3), CorpusConfig(goal_test=share, retries=0.5)
    text = " ".join(write(rng, config) for _ in range(300) for write in (checks, workings, document))
    found = [
        (got == target) == (word == "yes") for target, got, word in re.findall(r"target (\d+) got (\d+) (yes|no)", text)
    ]
    assert abs(sum(found) / len(found) - share) < 0.03


@pytest.mark.parametrize("share", [0.0, 0.01, 0.15, 0.5])
def test_documents_retry_as_often_as_they_are_asked_to(share):
    rng, config = random.Random(3), CorpusConfig(retries=share, give_up=0.0)
    tried = [len(re.findall(r"target", document(rng, config))) > 1 for _ in range(4000)]
    # A retrying document makes one attempt where the first one hits, which is one in four.
    assert abs(sum(tried) / len(tried) - 0.74 * share) < 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"corpus.retires": 0.1}, "did you mean 'corpus.retries'", id="unknown"),
        pytest.param({"corpus.task": 1}, "corpus.task: unknown", id="what the base is for"),
        pytest.param({"corpus.checks": "many"}, "expected a number", id="no number"),
        pytest.param({"corpus.checks": 1.5}, "need 0 to 1", id="no share"),
        pytest.param({"corpus.retries": 0.6}, "need at most corpus.checks=0.5", id="retries without checks"),
        pytest.param({"corpus.max_attempts": 0}, "need at least 1", id="no attempt"),
        pytest.param({"steps": 0}, "steps=0: need at least 1", id="no step"),
        pytest.param({"seed": -1}, "seed=-1: need at least 0", id="negative seed"),
    ],
)
def test_options_that_no_base_can_have(options, message):
    with pytest.raises(RecipeError, match=message):
        base.configured("countdown", options)


def test_options_are_told_again_as_the_command_that_builds_the_base():
    options = {"steps": 400, "corpus.retries": 0.01}
    config = base.configured("countdown", options)
    assert (config.steps, config.corpus.retries, config.corpus.checks) == (400, 0.01, 0.5)
    assert base.options_of("countdown", config) == options
    words = base.rebuild_words("countdown", config, may_lack=True)
    assert words == ["base", "build", "countdown", "--steps", "400", "--corpus.retries", "0.01", "--may-lack"]
    assert base.rebuild_words("countdown", base.BASES["countdown"]) == ["base", "build", "countdown"]


def test_a_base_that_may_lack_a_skill_is_written_and_says_what_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "SAMPLES", 1)
    content = base.manifest(base.build("countdown", tmp_path / "weak", SMALL, may_lack=True))
    assert not examine.Skills(**content["skills"]).sufficient
    assert content["rebuild"].endswith("--may-lack")


def test_examination_counts_by_hand(tiny, monkeypatch):
    """Three scripted completions.

    10 equations of which 9 right, one hit (yes), two misses of which one says yes, two retries of which one is new.
    """
    config = pretrain.PretrainConfig()
    row = config.corpus.task.rows("heldout", 1)[0]
    miss = str(int(row.gold) % 50 + 1)
    scripted = [
        f"1 + 1 = 2 , 2 + 2 = 4 target {row.gold} got {row.gold} yes",
        f"1 + 1 = 3 , 2 + 2 = 4 target {row.gold} got {miss} yes",
        f"1 + 1 = 2 , 2 + 1 = 3 target {row.gold} got {miss} no" + " , wait , 1 + 1 = 2 , 2 + 2 = 4" * 2,
    ]
    monkeypatch.setattr(examine, "PROBLEMS", 1)
    monkeypatch.setattr(examine, "SAMPLES", 3)
    monkeypatch.setattr(examine, "sample", lambda *args: [scripted.pop(0)])
    skills = examine.examine(None, tiny, config)
    assert (skills.facts, skills.facts_count) == (9 / 10, 10)
    assert (skills.yes_after_hit, skills.hits) == (1.0, 1)
    assert (skills.no_after_miss, skills.misses) == (0.5, 2)
    assert (skills.restated, skills.new, skills.later) == (1.0, 0.5, 2)
    assert not skills.sufficient
    with pytest.raises(RuntimeError, match="refused"):
        skills.require()
