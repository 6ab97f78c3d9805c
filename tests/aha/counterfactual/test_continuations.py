"""Sampling on from inside a rollout, with markers banned and without."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from r1rl.aha.counterfactual import arms as counterfactual
from r1rl.aha.counterfactual import continuations
from r1rl.aha.counterfactual.checkpoints import Policy
from r1rl.aha.counterfactual.continuations import Branch, first_marker
from r1rl.aha.counterfactual.local import Local
from r1rl.aha.counterfactual.tokens import TokenCuts
from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout.engine import Engine
from r1rl.rollout.prefix import common
from r1rl.rollout.sampling import Sampling
from r1rl.tasks import prompts
from tests.aha.annotated_runs import rollout

FAVOURED = ("wait", "try", "again", ",")


def policy(temperature: float = 1.0) -> Policy:
    """A random model that is fond of reflective words."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer.build()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    favoured = torch.tensor([tokenizer.convert_tokens_to_ids(word) for word in FAVOURED])
    head = model.get_output_embeddings()
    bonus = torch.zeros(len(tokenizer)).index_fill(0, favoured, 4.0)
    head.register_forward_hook(lambda _module, _inputs, logits: logits + bonus)
    sampling = Sampling(temperature=temperature, max_completion_length=40)
    return Policy(model, tokenizer, Engine(tokenizer, [1]), sampling, "answer-tag", prompts.get("none"))


def branches(policy: Policy, count: int = 12, *, banned: bool, room: int = 20) -> list[Branch]:
    ids = policy.tokenizer("<think> 1 + 2 = 3 , 3 + 3 = 6 no", add_special_tokens=False)["input_ids"]
    return [Branch(rollout(f"p{i}", i), "free", i, 0, tuple(ids[: 4 + i]), 4 + i, room, banned) for i in range(count)]


def test_no_marker_is_written_where_they_are_banned() -> None:
    free, kept = (
        continuations.sample(Local(made := policy()), branches(made, banned=banned), seed=0) for banned in (False, True)
    )
    assert sum(first_marker(one.completion, one.start, "", "strict") is not None for one in free) >= 6
    assert not any(first_marker(one.completion, one.start, "", "strict") for one in kept)
    assert all(1 <= len(one.token_ids) <= 20 for one in [*free, *kept])


def test_banned_greedy_decoding_takes_the_best_token_that_ends_in_no_marker() -> None:
    made = policy(temperature=0.0)
    tokens = TokenCuts(made.tokenizer)
    for branch, found in zip(
        (wanted := branches(made, 4, banned=True, room=8)),
        continuations.sample(Local(made), wanted, seed=0),
        strict=True,
    ):
        prompt, ids = made.tokenizer(branch.row["prompt"])["input_ids"], list(branch.ids)
        start = len(tokens.text(ids))
        bans: dict[int, set[int]] = {}  # by position
        while len(ids) - len(branch.ids) < 8 and ids[-1] != 1:
            with torch.no_grad():
                logits = made.model(torch.tensor([prompt + ids])).logits[0, -1]
            logits[list(bans.get(len(ids), ()))] = float("-inf")
            ids.append(int(logits.argmax()))
            hit = first_marker(tokens.text(ids), start, "", "strict")
            if hit is not None:
                at = len(tokens.until(ids, hit.start))
                bans = {other: banned for other, banned in bans.items() if other <= at}
                bans.setdefault(at, set()).add(ids[at])
                ids = ids[:at]
        assert list(found.token_ids) == ids[len(branch.ids) :]


@pytest.mark.parametrize("banned", [False, True])
def test_a_continuation_does_not_depend_on_the_others(banned: bool) -> None:
    made = policy()
    wanted = branches(made, 5, banned=banned)
    together = continuations.sample(Local(made), wanted, seed=3)
    alone = [continuations.sample(Local(made), [branch], seed=3)[0] for branch in wanted]
    assert [one.completion for one in together] == [one.completion for one in alone]
    assert [one.completion for one in continuations.sample(Local(made), wanted, seed=4)] != [
        o.completion for o in together
    ]


def test_each_has_its_own_cap_and_verdict() -> None:
    made = policy()
    ids = tuple(made.tokenizer("<think> 1 </think> <answer> 1 + 2 + 3", add_special_tokens=False)["input_ids"])
    close = made.tokenizer("</answer>", add_special_tokens=False)["input_ids"]
    row = rollout("p", 0)
    wanted = [Branch(row, "free", 0, 0, (*ids, *close), 0, 3), Branch(row, "free", 1, 0, ids[:-1], 0, 17)]
    found = continuations.sample(Local(made), wanted, seed=0)
    assert [len(one.token_ids) for one in found] == [3, 17]
    assert [one.finish_reason for one in found] == ["length", "length"]
    assert [one.verdict.status for one in found] == ["correct", "unparseable"]


def test_token_cuts_are_the_longest_beginnings() -> None:
    tokens = TokenCuts(tiny_tokenizer.build())
    text = "<think> 12 + 7 = 19 , no </think>"
    row = {"token_ids": tokens.tokenizer(text, add_special_tokens=False)["input_ids"]}
    for char in range(len(text) + 1):
        kept = tokens.until(row["token_ids"], char)
        assert len(tokens.text(kept)) <= char
        assert len(kept) == len(row["token_ids"]) or len(tokens.text(row["token_ids"][: len(kept) + 1])) > char


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        pytest.param("no", "wait ,", "no wait ,", id="a space between words"),
        pytest.param("no", ", wait ,", "no , wait ,", id="punctuation needs none"),
        pytest.param("", "wait ,", "wait ,", id="at the start"),
        pytest.param("no", "", "no", id="nothing"),
    ],
)
def test_added_text(before: str, text: str, expected: str) -> None:
    tokens = TokenCuts(tiny_tokenizer.build())
    encode = partial(tokens.tokenizer, add_special_tokens=False)
    ids = encode(before)["input_ids"] if before else []
    assert tokens.text([*ids, *tokens.added(ids, text)]) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [pytest.param(None, "wait ,", id="as the vocabulary has it"), pytest.param("try again", "try again", id="wanted")],
)
def test_what_is_injected(wanted: str | None, expected: str) -> None:
    assert counterfactual.injected(TokenCuts(tiny_tokenizer.build()), wanted) == expected


def test_unknown_words_are_not_injected() -> None:
    with pytest.raises(ValueError, match="inject='Hmm': not in the model's vocabulary"):
        counterfactual.injected(TokenCuts(tiny_tokenizer.build()), "Hmm")


@pytest.mark.parametrize("beginning", ["", "Use 1, 2, 3 to make 6. "], ids=["nothing in common", "a common beginning"])
def test_log_probabilities_of_several_texts_are_those_of_each_alone(beginning: str) -> None:
    writer = Local(policy())
    texts = [writer.prompt(beginning + text) for text in ("1 + 2 = 3", "<think> 3 + 3", "2")]
    wanted = [writer.tokens.of(text) for text in (", 3 + 3 = 6", "= 6", "+ 2 = 4 no")]
    assert (common([tuple(text) for text in texts]) > 0) == bool(beginning)
    together = writer.logprobs(texts, wanted)
    for text, rest, found in zip(texts, wanted, together, strict=True):
        with torch.no_grad():
            logs = writer.policy.model(torch.tensor([text + rest])).logits[0].log_softmax(-1)
        each = [float(logs[len(text) + i - 1, token]) for i, token in enumerate(rest)]
        assert found == pytest.approx(sum(each), abs=1e-4)
