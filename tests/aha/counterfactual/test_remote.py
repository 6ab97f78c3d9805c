"""A completions endpoint says what the same model says in memory. The endpoint is a real server on this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from r1rl.aha.counterfactual import continuations, remote
from r1rl.aha.counterfactual.continuations import Branch, first_marker
from r1rl.aha.counterfactual.local import Local
from r1rl.aha.counterfactual.remote import Remote
from r1rl.aha.counterfactual.tokens import TextCuts
from r1rl.ground import api_keys, endpoints
from r1rl.ground.endpoints import Limits
from r1rl.ground.errors import RunFailedError
from r1rl.rollout.sampling import Sampling
from tests.aha.annotated_runs import rollout
from tests.aha.counterfactual.completions_server import serving
from tests.aha.counterfactual.test_continuations import policy
from tests.aha.judge.played_endpoint import Sent, playing

TEXT = "<think> 1 + 2 = 3 , 3 + 3 = 6 no , 1 + 2"
LIMITS = Limits(parallel=2, timeout=60, retries=0)


def writer(url: str, **sampling: Any) -> Remote:
    return Remote(
        endpoints.line(f"{url}#m", api_keys.OF_MODELS, LIMITS), Sampling(**sampling), "answer-tag", top=10_000
    )


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Local, str]]:
    made = policy()
    with playing(serving(made.model, made.tokenizer)) as server:
        yield Local(made), server.url


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in api_keys.OF_MODELS:
        monkeypatch.delenv(name, raising=False)


def test_entropies_and_log_probabilities_are_those_of_the_model(served: tuple[Local, str]) -> None:
    local, far = served[0], writer(served[1])
    prompt, words = "Use 1, 2, 3 to make 6. ", TEXT.split(" ")
    for count in (3, 9, 14):
        text = prompt + " ".join(words[:count])
        ids = local.prompt(text)
        here = local.entropies(local.prompt(prompt + TEXT), [len(ids)])
        there = far.entropies(far.prompt(prompt + TEXT), [len(far.prompt(text))])
        assert there == pytest.approx(here, rel=1e-4)
        wanted = " " + " ".join(words[count : count + 2])
        here = local.logprobs([ids], [local.tokens.of(wanted)])
        there = far.logprobs([far.prompt(text)], [far.tokens.of(wanted)])
        assert there == pytest.approx(here, rel=1e-4)


def test_no_marker_is_written_where_they_are_banned(served: tuple[Local, str]) -> None:
    far = writer(served[1])
    branches = [
        Branch(rollout(f"p{i}", i), "banned", i, 0, tuple(far.tokens.of("<think> 1 + 2")), 4, 12, banned=banned)
        for i in range(4)
        for banned in (False, True)
    ]
    found = continuations.sample(far, branches, seed=0)
    marked = [first_marker(one.completion, one.start, "", "strict") is not None for one in found]
    assert any(marked[::2]), "this model is fond of markers"
    assert not any(marked[1::2])


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        pytest.param("a </answer> b", ("</answer>",), ("a </answer>", "stop"), id="up to what ends an answer"),
        pytest.param("a b", ("</answer>",), ("a b", "length"), id="cut off"),
        pytest.param(None, (), ("", "length"), id="no text"),
    ],
)
def test_what_was_written(said: str | None, stop: tuple[str, ...], expected: tuple[str, str]) -> None:
    body = json.dumps({"choices": [{"text": said, "finish_reason": "length"}]}).encode()
    with playing(lambda *_: Sent(body)) as server:
        (done,) = writer(server.url, stop=stop).write([["a"]], [1], [7])
        assert json.loads(server.asked[0].body) == {
            "model": "m", "prompt": "a", "max_tokens": 7, "temperature": 1.0, "top_p": 1.0, "seed": 1,
        }  # fmt: skip
    assert (TextCuts().text(done.token_ids), done.finish_reason) == expected


@pytest.mark.parametrize("what", ["entropies", "logprobs", "next_tokens"])
def test_an_endpoint_without_log_probabilities_is_named(what: str) -> None:
    body = json.dumps({"choices": [{"text": "a", "finish_reason": "length", "logprobs": None}]}).encode()
    with playing(lambda *_: Sent(body)) as server:
        far = writer(server.url)
        ask: Any = {
            "entropies": lambda: far.entropies(["a", "b"], [1]),
            "logprobs": lambda: far.logprobs([["a"]], [["b"]]),
            "next_tokens": lambda: far.next_tokens([["a"]], [1], [set()]),
        }[what]
        with pytest.raises(RunFailedError, match=r"#m: the endpoint .* log-probabilities .*; vLLM does; what was"):
            ask()


@pytest.mark.parametrize(
    ("banned", "expected"),
    [
        pytest.param(set(), " wait", id="the likeliest"),
        pytest.param({" wait"}, " so", id="not that one"),
        pytest.param({" wait", " so"}, "", id="an end is no text"),
        pytest.param({" wait", " so", "<|endoftext|>"}, None, id="nothing else is known"),
    ],
)
def test_the_next_token_is_none_of_those_banned(banned: set[str], expected: str | None) -> None:
    likely = {" wait": -0.1, " w": -2.0, " so": -3.0, "<|endoftext|>": -4.0}
    told = {"choices": [{"text": "", "logprobs": {"top_logprobs": [likely]}}]}
    with playing(lambda *_: Sent(json.dumps(told).encode())) as server:
        assert writer(server.url, temperature=0.0).next_tokens([["a"]], [1], [banned]) == [expected]


def test_entropy_by_hand() -> None:
    """Half, a quarter, and the rest as one: 1.5 bits."""
    assert remote.entropy({"a": math.log(0.5), "b": math.log(0.25)}) == pytest.approx(1.5 * math.log(2))


def test_pieces_of_text_make_up_the_text() -> None:
    text = "<think>Wait, 12 + 3_4 = é²?\n\n 5</think> \t!"
    pieces = TextCuts().of(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) < 9
