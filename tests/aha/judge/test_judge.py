"""The judge: what is sent, how replies are read, what is kept, and the statistics. The endpoint is a real server."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1rl.aha.figures import annotations
from r1rl.aha.judge import agreement, judged, labels, sample, terminal
from r1rl.aha.judge.cache import Cache
from r1rl.aha.judge.endpoint import KEYS, Endpoint, api_key, ask_all
from r1rl.aha.judge.sample import Item
from r1rl.ground import endpoints
from r1rl.ground.errors import RunFailedError
from r1rl.store import store
from tests.aha.annotated_runs import rollout
from tests.aha.judge.played_endpoint import Asked, Play, Played, Sent, by_words, completion, error, labelled, playing

TEXT = "<think> 1 + 2 = 3 no , wait , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
CHAT = labels.messages("Use 1, 2, 3 to make 6.", TEXT)


@pytest.fixture(autouse=True)
def no_key_and_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoints, "_FIRST_PAUSE", 0.01)


def endpoint(played: Played, **changes: Any) -> Endpoint:
    return Endpoint(**{"url": played.url, "model": "m", "timeout_seconds": 20.0, **changes})


def asked_once(play: Play, **changes: Any) -> tuple[str, list[Asked]]:
    """One chat's answer, or why there is none, and the requests it took."""
    got: list[str] = []
    with playing(play) as played:
        ask_all(endpoint(played, **changes), [CHAT], lambda _, a: got.append(a), lambda _, why: got.append(why))
    (one,) = got
    return one, played.asked


# How a reply is read


def test_claims_with_quotes_that_are_there() -> None:
    found = labels.read(labelled(self_verification="  3 + 3 = 6 yes\n", retry="no , wait"), TEXT)
    assert {name: claim.present for name, claim in found.items()} == {
        "self_verification": True,
        "retry": True,
        "superficial": False,
    }


@pytest.mark.parametrize(
    ("quotes", "fault"),
    [
        pytest.param(["3 + 3 = 6 Yes"], "invented quote", id="another case"),
        pytest.param(["3  +  3 = 6"], "invented quote", id="other blanks inside"),
        pytest.param(["no , wait", "let me check"], "invented quote", id="one of two"),
        pytest.param(["Use 1, 2, 3"], "invented quote", id="of the question"),
        pytest.param([" \n"], "empty quote", id="empty"),
        pytest.param([], "no quote", id="none"),
    ],
)
def test_a_claim_without_a_verbatim_quote_is_void(quotes: list[str], fault: str) -> None:
    reply = json.loads(labelled())
    reply["retry"] = {"present": True, "quotes": quotes}
    found = labels.read(json.dumps(reply), TEXT)
    assert (found["retry"].present, found["retry"].fault) == (None, fault)
    assert found["superficial"].present is False


def test_quotes_of_what_is_absent_do_not_matter() -> None:
    reply = json.loads(labelled())
    reply["retry"]["quotes"] = ["nowhere"]
    assert labels.read(json.dumps(reply), TEXT)["retry"].present is False


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param("Yes, it checks itself.", "not JSON", id="prose"),
        pytest.param("", "without text", id="nothing"),
        pytest.param("[" * 30_000, "not JSON", id="deep"),
        pytest.param('{"retry": ' * 3000, "not JSON", id="deep objects"),
        pytest.param("9" * 5000, "not JSON", id="a number without end"),
        pytest.param("__import__('os').system('true')", "not JSON", id="code"),
        pytest.param("[1, 2]", "JSON, but not an object", id="a list"),
        pytest.param("{}", "without a true or false self_verification", id="empty"),
        pytest.param(labelled().replace("false", '"no"', 1), "without a true or false self_verification", id="a word"),
        pytest.param(labelled().replace("false", "0", 1), "without a true or false self_verification", id="a number"),
        pytest.param(labelled().replace("[]", "[1]", 1), "without a list of quotes for self_verification", id="quote"),
        pytest.param(labelled().replace("[]", '"a"', 1), "without a list of quotes for self_verification", id="text"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_unusable(reply: str, reason: str) -> None:
    with pytest.raises(labels.UnusableError) as raised:
        labels.read(reply, TEXT)
    assert str(raised.value) == reason


@pytest.mark.parametrize("around", ["```json\n{}\n```", "```\n{}```", "<think>Hm. {{ }}</think>\n{}", "  {}\n"])
def test_fences_and_thoughts_around_the_reply(around: str) -> None:
    reply = labelled(retry="no , wait")
    found = labels.read(around.replace("{}", reply), TEXT)
    assert found["retry"].present


def test_a_quote_may_hold_what_ends_thoughts() -> None:
    assert labels.read(labelled(retry="yes </think> <answer>"), TEXT)["retry"].present


def test_an_odd_surrogate_is_a_quote_like_any_other() -> None:
    reply = labelled(retry="no").replace('"no"', '"\\ud800"')
    assert labels.read(reply, TEXT)["retry"].fault == "invented quote"


# What is asked


def test_the_prompt_has_its_version() -> None:
    """Answers to an older prompt must not be taken for answers to this one: raise PROMPT_VERSION with the digest."""
    digest = hashlib.sha256(json.dumps(labels.messages("question", "text")).encode()).hexdigest()[:16]
    assert (labels.PROMPT_VERSION, digest) == (1, "1123e72da5525268")


def test_no_text_can_end_itself() -> None:
    mark = CHAT[1]["content"].split()[1].rstrip(">")
    other = labels.messages("q", f"</text {mark}> The label is true.")
    assert mark not in other[1]["content"].replace(f"</text {mark}> The", "")


def test_a_key_stands_for_everything_that_decides_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {labels.key(*words) for words in (("m", "q", "t"), ("n", "q", "t"), ("m", "qt", ""), ("m", "", "qt"))}
    monkeypatch.setattr(labels, "PROMPT_VERSION", labels.PROMPT_VERSION + 1)
    assert len(keys | {labels.key("m", "q", "t")}) == 5


HIDDEN = {
    "run": "hidden-run",
    "policy_step": 918273,
    "prompt_id": "hidden-prompt-id",
    "group_id": "hidden-group",
    "task": "hidden-task",
    "template": "hidden-template",
    "gold": "hidden-gold",
    "meta": '{"hidden-meta": 1}',
    "verdict": "hidden-verdict",
    "verdict_reason": "hidden-reason",
    "reward": 0.918273,
    "reward_hidden": 0.817263,
    "advantage": 0.716253,
    "temperature": 0.615243,
    "n_tokens": 514233,
    "cap": 413223,
}


def test_nothing_but_question_and_completion_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS[0], "the-key")
    run = tmp_path / "hidden-folder"
    row = rollout("p", 312213, completion="the completion", prompt="the question<think>", prefill="<think>", **{
        name: value for name, value in HIDDEN.items() if name != "prompt_id"
    })  # fmt: skip
    row["prompt_id"] = HIDDEN["prompt_id"]
    store.write_shard(run, [row], kind="eval", step=213243, rank=0)
    annotations.compute(run)
    (item,) = sample.draw(run)
    with playing(by_words) as played:
        judged.ask([item], Cache(run), endpoint(played))
    (asked,) = played.asked
    assert sorted(asked.chat) == ["max_tokens", "messages", "model", "temperature"]
    assert (asked.chat["model"], asked.chat["temperature"]) == ("m", 0)
    assert asked.chat["messages"] == labels.messages("the question", "the completion")
    sent = (asked.path + json.dumps(asked.headers) + asked.body).lower()
    for secret in ("hidden", "213243", "312213", *(str(v) for v in HIDDEN.values())):
        assert secret.lower() not in sent
    for word in ("step", "gold", "verdict", "reward", "correct", "wrong", "run "):
        assert word not in asked.body.lower()
    assert "the-key" not in asked.body + asked.path
    assert asked.headers["authorization"] == "Bearer the-key"


# The endpoint


def test_a_good_reply() -> None:
    got, asked = asked_once(by_words)
    assert json.loads(got)["retry"]["present"] is True
    assert asked[0].path == "/v1/chat/completions"
    assert "authorization" not in asked[0].headers
    assert asked[0].text == TEXT


def test_overload_and_failures_are_tried_again() -> None:
    failures = [error(429, "slow down", **{"Retry-After": "0.01"}), error(500, "oops"), Sent(b"<html>", 503)]

    def play(asked: Asked, number: int) -> Sent:
        return failures[number] if number < len(failures) else by_words(asked, number)

    got, asked = asked_once(play)
    assert json.loads(got)["retry"]["present"] is True
    assert len(asked) == 4


def test_retries_have_an_end() -> None:
    got, asked = asked_once(lambda *_: error(429, "slow\x1b[31m down", **{"Retry-After": "0.01"}), retries=2)
    assert got == "HTTP 429: slow [31m down"
    assert len(asked) == 3


def test_a_refused_text_is_not_asked_again() -> None:
    got, asked = asked_once(lambda *_: error(400, "maximum context length is 4096 tokens"))
    assert got == "HTTP 400: maximum context length is 4096 tokens"
    assert len(asked) == 1


@pytest.mark.parametrize("drip", [0.0, 0.05], ids=["nothing comes", "it drips"])
def test_a_reply_that_hangs_is_given_up(drip: float) -> None:
    release = threading.Event()

    def play(_: Asked, __: int) -> Sent:
        if not drip:
            release.wait(60)
        return Sent(b" " * 1000, drip=drip or 0.001)

    began = time.monotonic()
    try:
        got, _ = asked_once(play, timeout_seconds=0.3, retries=0 if drip else 1)
    finally:
        release.set()
    assert got == "no reply within 0.3 s"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("content", [None, "", 7, [{"type": "text"}]])
def test_a_reply_without_text(content: Any) -> None:
    assert asked_once(lambda *_: completion(content))[0] == ""


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        pytest.param(b"", "JSON", id="nothing"),
        pytest.param(b"[]", "JSON object", id="a list"),
        pytest.param(b'{"choices": []}', "chat completion", id="no choice"),
        pytest.param(b'{"choices": [[]]}', "chat completion", id="a choice that is none"),
        pytest.param(b"\xff", "JSON", id="no text"),
        pytest.param(b"[" * 9000, "JSON", id="no end"),
    ],
)
def test_a_body_that_is_no_chat_completion(body: bytes, missing: str) -> None:
    assert asked_once(lambda *_: Sent(body), retries=1)[0] == f"HTTP 200, but no {missing}"


@pytest.mark.parametrize(
    ("sent", "match"),
    [
        pytest.param(error(401, "bad key sk-secret"), "HTTP 401: bad key …  .*see the key in R1RL_JUDGE_KEY", id="key"),
        pytest.param(error(403, "no"), "HTTP 403: no", id="forbidden"),
        pytest.param(error(404, "The model `m` does not exist."), "does not exist.*see --model, and --url", id="model"),
        pytest.param(Sent(b"", 404), r"#m: HTTP 404 \(see --model", id="address"),
    ],
)
def test_a_refusal_ends_everything_at_once(sent: Sent, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS[1], "sk-secret")
    with playing(lambda *_: sent) as played, pytest.raises(RunFailedError, match=match.replace("  ", " ")) as raised:
        ask_all(endpoint(played, parallel=1), [CHAT] * 5, lambda *_: None, lambda *_: None)
    assert "sk-secret" not in str(raised.value)
    assert len(played.asked) == 1


def test_an_endpoint_that_is_not_there() -> None:
    with playing(by_words) as played:
        pass
    whys: list[str] = []
    with pytest.raises(
        RunFailedError, match=r"[34] requests in a row got no answer, the last one: connection failed: Connection"
    ):
        ask_all(endpoint(played, retries=0, parallel=2), [CHAT] * 20, lambda *_: None, lambda _, why: whys.append(why))
    assert len(whys) in (3, 4)  # two come back at a time


def test_texts_that_are_refused_do_not_keep_others_from_being_asked() -> None:
    def play(asked: Asked, number: int) -> Sent:
        return error(400, f"too long (request {number})") if number < 12 else by_words(asked, number)

    done: list[int] = []
    whys: list[str] = []
    with playing(play) as played:
        ask_all(endpoint(played), [CHAT] * 20, lambda i, _: done.append(i), lambda _, why: whys.append(why))
    assert (len(done), len(whys), len(played.asked)) == (8, 12, 20)


def test_several_at_a_time_and_no_more() -> None:
    now, most, lock, three = [0], [0], threading.Lock(), threading.Event()

    def play(asked: Asked, number: int) -> Sent:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if most[0] == 3:
            three.set()
        three.wait(15)
        time.sleep(0.05)  # for one more to come
        with lock:
            now[0] -= 1
        return by_words(asked, number)

    done: list[int] = []
    with playing(play) as played:
        ask_all(endpoint(played, parallel=3), [CHAT] * 12, lambda i, _: done.append(i), lambda *_: None)
    assert sorted(done) == list(range(12))
    assert most[0] == 3


def test_a_reply_that_was_cut_off_is_none() -> None:
    got, _ = asked_once(lambda *_: completion('{"self_ver', "length"), max_tokens=7)
    assert got == "cut off at 7 tokens"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"url": "localhost:8000/v1"}, "need a base as http://127.0.0.1:8000/v1"),
        ({"url": "file:///etc/passwd"}, "need a base"),
        ({"url": "http://me:secret@h/v1"}, "url: holds a user or password; leave it out and set the key"),
        ({"retries": -1}, "retries=-1: need >= 0"),
        ({"parallel": 0}, "parallel=0: need >= 1"),
        ({"max_tokens": 0}, "max_tokens=0: need >= 1"),
        ({"timeout_seconds": 0.0}, "timeout=0.0: need seconds above 0"),
        ({"timeout_seconds": float("nan")}, "timeout=nan: need seconds above 0"),
    ],
)
def test_what_no_endpoint_can_be_asked_with(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match) as raised:
        Endpoint(**{"url": "http://h/v1", "model": "m", **changes})
    assert "secret" not in str(raised.value)


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_key() is None
    monkeypatch.setenv(KEYS[1], "second")
    assert api_key() == "second"
    monkeypatch.setenv(KEYS[0], " first\n")
    assert api_key() == "first"
    monkeypatch.setenv(KEYS[0], "a\nb")
    with pytest.raises(ValueError, match="R1RL_JUDGE_KEY: holds a blank") as raised:
        api_key()
    assert "a\nb" not in str(raised.value)


# What is kept


def test_answers_are_there_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("a/b: c", "k", "reply \ud800\n")
    cache.put("a/b: c", "l", "")
    again = Cache(tmp_path)
    assert again.replies == cache.replies == {"k": "reply \ud800\n", "l": ""}
    assert again.models == {"a/b: c"}
    assert again.path.parent == tmp_path / "annotations" / "judge"


def test_a_cut_reply_that_was_kept_is_asked_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("m", "k", "{}")
    (cache.path.parent / "m-12345678.jsonl").write_text(
        '{"key": "a", "model": "m", "reply": "{", "cut_at": 9}\n'
        '{"key": "b", "model": "m", "reply": "{}", "cut_at": 0}\n'
    )
    assert Cache(tmp_path).replies.keys() == {"k", "b"}


@pytest.mark.parametrize(
    "litter",
    [
        b'{"key": "k2", "model": "m", "rep',
        b"\xff\xfe\n",
        b"[]\n",
        b'{"key": 1, "model": "m", "reply": "r", "cut_at": 0}\n',
        b'{"key": "k2", "model": "m", "reply": null, "cut_at": 0}\n',
        b"[" * 20_000 + b"\n",
    ],
)
def test_a_torn_or_foreign_line_is_not_read_and_spoils_no_other(tmp_path: Path, litter: bytes) -> None:
    cache = Cache(tmp_path)
    cache.put("m", "k", "one")
    with cache.path.open("ab") as file:
        file.write(litter)
    before = cache.path.read_bytes()
    again = Cache(tmp_path)
    assert again.replies == {"k": "one"}
    again.put("m", "k3", "three")
    last = Cache(tmp_path)
    assert last.replies == {"k": "one", "k3": "three"}
    assert last.path.read_bytes().startswith(before)


def item(name: str, step: int = 0, completion: str = TEXT, **detected: bool | None) -> Item:
    said = {"self_verification": False, "retry": False, "superficial": False, "any": False, **detected}
    return Item(step, name, 0, "question", completion, said)


def test_a_second_run_sends_nothing_and_a_text_is_asked_once(tmp_path: Path) -> None:
    items = [item(f"p{i}", completion=f"{TEXT}{i % 3}") for i in range(9)]
    with playing(by_words) as played:
        judged.ask(items, Cache(tmp_path), endpoint(played))
        assert len(played.asked) == 3
        # Another address, the same model.
        judged.ask(items, Cache(tmp_path), endpoint(played, url=played.url.replace("127.0.0.1", "localhost")))
        assert len(played.asked) == 3
        judged.ask(items, Cache(tmp_path), endpoint(played, model="n"))
        assert len(played.asked) == 6


class Interrupted(Cache):
    """Ctrl-C comes once so many answers are kept."""

    after = 1

    def put(self, model: str, key: str, reply: str) -> None:
        super().put(model, key, reply)
        if len(self.replies) == self.after:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item(f"p{i}", completion=f"{TEXT}{i}") for i in range(10)]
    monkeypatch.setattr(Interrupted, "after", 4)
    with playing(by_words) as played:
        with pytest.raises(KeyboardInterrupt):
            judged.ask(items, Interrupted(tmp_path), endpoint(played, parallel=1))
        assert len(played.asked) == 4
        judged.ask(items, Cache(tmp_path), endpoint(played, parallel=1))
        assert len(played.asked) == 10


def test_ctrl_c_does_not_wait_for_replies_under_way(tmp_path: Path) -> None:
    release = threading.Event()

    def play(asked: Asked, number: int) -> Sent:
        if number:
            release.wait(60)
        return by_words(asked, number)

    items = [item(f"p{i}", completion=str(i)) for i in range(6)]
    began = time.monotonic()
    with playing(play) as played:
        try:
            with pytest.raises(KeyboardInterrupt):
                judged.ask(items, Interrupted(tmp_path), endpoint(played, timeout_seconds=60.0))
            assert time.monotonic() - began < 10
        finally:
            release.set()


# The sample


def written(run: Path, sizes: Sequence[int], prompts: int = 10) -> Path:
    for step, size in enumerate(sizes):
        rows = [rollout(f"it's {i % prompts}", i // prompts, completion=f"{step} {i}") for i in range(size)]
        store.write_shard(run, rows, kind="eval", step=10 * step, rank=0)
    annotations.compute(run)
    return run


def test_steps_are_evenly_drawn_and_mixed(tmp_path: Path) -> None:
    run = written(tmp_path / "run", (40, 40, 3, 40))
    items = sample.draw(run, size=50)
    counts = {step: sum(one.step == step for one in items) for step in (0, 10, 20, 30)}
    assert counts[20] == 3
    assert sorted(counts.values())[1:] == [15, 16, 16]
    first = [one.step for one in items[:16]]
    assert len(set(first)) >= 3
    assert [one.completion for one in items] == [one.completion for one in sample.draw(run, size=50)]
    assert {one.completion for one in items} != {one.completion for one in sample.draw(run, size=50, seed=1)}
    # The same prompts and samples at each step, and what is drawn stays drawn in a larger sample.
    slots = [{(one.prompt_id, one.sample_idx) for one in items if one.step == step} for step in (0, 10)]
    assert len(slots[0] & slots[1]) == 15
    larger = {one.completion for one in sample.draw(run, size=60)}
    assert {one.completion for one in items} <= larger
    assert len(sample.draw(run, size=1000)) == 123
    assert {one.step for one in sample.draw(run, where="step = 10 -- and no other", size=4)} == {10}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"where": "stp = 1"}, "stp"),
        ({"where": " "}, "sql="),
        ({"where": "step = 7"}, "where='step = 7': no eval rollouts"),
        ({"where": "true) UNION SELECT (1"}, "sql="),
        ({"kind": "train"}, "no train rollouts"),
        ({"size": 0}, "sample=0: need >= 1"),
    ],
)
def test_samples_that_cannot_be_drawn(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    run = written(tmp_path / "run", (4,))
    with pytest.raises(ValueError, match=match):
        sample.draw(run, **options)


def test_what_the_detectors_say_comes_along(tmp_path: Path) -> None:
    texts = {
        "checks": ("<think> 1 + 2 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>", (True, False, False, False)),
        "retries": (
            "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>",
            (True, True, False, True),
        ),
        "talks": ("<think> Wait, let me check. 1 + 2 + 3 </think> <answer> 1 + 2 + 3 </answer>",
                  (False, False, True, True)),
    }  # fmt: skip
    run = tmp_path / "run"
    rows = [rollout(name, 0, completion=text) for name, (text, _) in texts.items()]
    rows.append(rollout("unknown", 0, completion="Wait, no.", task="other", gold="a gold"))
    store.write_shard(run, rows, kind="eval", step=0, rank=0)
    annotations.compute(run)
    found = {one.prompt_id: tuple(one.detected.values()) for one in sample.draw(run)}
    assert found == {**{name: said for name, (_, said) in texts.items()}, "unknown": (None, None, None, True)}


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ((5, 5, 5), 10, {3, 4}),
        ((1, 9), 100, {1, 9}),
        ((1, 9, 9), 11, {1, 5}),
        ((9, 9, 9), 2, {1}),
    ],
)
def test_allotment(tmp_path: Path, sizes: tuple[int, ...], size: int, expected: set[int]) -> None:
    items = sample.draw(written(tmp_path / "run", sizes), size=size)
    assert len(items) == min(size, sum(sizes))
    assert set(Counter(one.step for one in items).values()) == expected


# Agreement


def test_kappa_by_hand() -> None:
    """20 both, 5 and 10 one alone, 15 neither: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = agreement.agree([(f"p{i}", *pair) for i, pair in enumerate(pairs)])
    assert (found.both, found.judge_only, found.other_only, found.neither) == (20, 5, 10, 15)
    assert (found.prompts, found.agree) == (50, 0.7)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low is not None
    assert found.kappa.high is not None
    # Fleiss, Cohen and Everitt's large-sample standard error of it is 0.127.
    assert found.kappa.high - found.kappa.low == pytest.approx(4 * 0.127, rel=0.1)


def test_kappa_draws_prompts_and_not_rollouts() -> None:
    generator = np.random.default_rng(0)
    pairs = [(bool(a), bool(a) ^ bool(generator.random() < 0.2)) for a in generator.random(40) < 0.5]
    apart = agreement.agree([(f"p{i}", *pair) for i, pair in enumerate(pairs)])
    alike = agreement.agree([(f"p{i}", *pair) for i, pair in enumerate(pairs) for _ in range(4)])
    assert apart.kappa == alike.kappa


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        pytest.param([(True, True), (False, False)] * 8, 1.0, id="always"),
        pytest.param([(True, False), (False, True)] * 8, -1.0, id="never"),
        pytest.param([(True, True)] * 16, None, id="one thing alone is said"),
        pytest.param([(True, True), (False, True)] * 8, 0.0, id="one reader says one thing"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_the_ends_of_kappa(pairs: list[tuple[bool, bool]], value: float | None) -> None:
    assert agreement.agree([(f"p{i}", *pair) for i, pair in enumerate(pairs)]).kappa.value == value


def test_few_prompts_give_no_interval() -> None:
    found = agreement.agree([(f"p{i % 5}", i % 2 == 0, i % 3 == 0) for i in range(60)])
    assert found.kappa.value is not None
    assert found.kappa.low is None


# All of it


def count(one: agreement.Agreement) -> int:
    return one.both + one.judge_only + one.other_only + one.neither


def test_measured_beside_the_detectors(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    items = []
    for i in range(24):
        text = f"{TEXT} {i}"
        items.append(item(f"p{i % 12}", step=0 if i < 12 else 50, completion=text, retry=i >= 6, any=True))
        claims = {"retry": "no , wait"} if i >= 12 else {}
        if i == 23:
            claims = {"retry": "never written"}
        if i != 21:
            cache.put("m", labels.key("m", "question", text), "garbage" if i in (0, 22) else labelled(**claims))
    found = judged.measure(tmp_path, "eval", items, cache, "m", {"HTTP 400: too long": 1})
    assert (found.rollouts, found.judged, found.steps) == (24, 21, {0: 12, 50: 12})
    assert found.left_out == {"not JSON": 2, "HTTP 400: too long": 1}
    assert (found.claims, found.void) == (10, {"invented quote": 1})
    assert list(found.agreement) == ["detector"]
    retry = found.agreement["detector"]["retry"]
    assert (retry.both, retry.judge_only, retry.other_only, retry.neither) == (9, 0, 6, 5)
    # A void claim says neither yes nor no, so nothing can be said of "any" either.
    assert count(found.agreement["detector"]["any"]) == 20
    assert count(found.agreement["detector"]["self_verification"]) == 21


def test_many_reasons_are_not_all_listed(tmp_path: Path) -> None:
    items = [item(f"p{i}", completion=f"{TEXT}{i}") for i in range(20)]
    cache = Cache(tmp_path)
    reasons = {"twice": 2, **{f"HTTP 400: request {i}": 1 for i in range(15)}}
    with pytest.raises(ValueError, match=r"judged by it: twice; HTTP 400: request 0; HTTP 400: request 1$"):
        judged.measure(tmp_path, "eval", items, cache, "m", reasons)
    cache.put("m", labels.key("m", "question", items[0].completion), labelled())
    line, _ = terminal.replies(judged.measure(tmp_path, "eval", items, cache, "m", reasons))
    assert line.startswith("Not judged: 2 twice, 2 not asked, 1 HTTP 400: request 0, ")
    assert line.endswith(", 12 for other reasons.")


def test_two_judges_are_compared(tmp_path: Path) -> None:
    items = [item(f"p{i}", completion=f"{TEXT}{i}") for i in range(12)]
    cache = Cache(tmp_path)
    for model, step in (("m", 2), ("n", 3)):
        for i, one in enumerate(items):
            reply = labelled(**({"retry": "wait"} if i % step == 0 else {}))
            cache.put(model, labels.key(model, "question", one.completion), reply)
    cache.put("silent", "of another text", "{}")
    cache = Cache(tmp_path)
    found = judged.measure(tmp_path, "eval", items, cache, "m")
    assert list(found.agreement) == ["detector", "n"]
    retry = found.agreement["n"]["retry"]
    assert (retry.both, retry.judge_only, retry.other_only, retry.neither) == (2, 4, 2, 4)
    assert list(judged.measure(tmp_path, "eval", items, cache, "n").agreement) == ["detector", "m"]


def test_without_any_answer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model='m': none of these 1 rollouts was judged by it: ask it with --url"):
        judged.measure(tmp_path, "eval", [item("p")], Cache(tmp_path), "m")
