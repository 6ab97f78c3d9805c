"""An endpoint that answers, fails and plays dead: a real HTTP server on this machine, and limits that hold."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from r1rl.eval import endpoint
from r1rl.eval.protocol import INSTRUCTION, Ask, Asking, Reply
from r1rl.ground import api_keys, endpoints, requests
from r1rl.ground.endpoints import Limits
from r1rl.ground.errors import RecipeError, RunFailedError
from tests.aha.judge.played_endpoint import Asked, Sent, completion, error, playing

ANSWER = completion("It is \\boxed{4}.")
LIMITS = {"timeout": 60, "parallel": 2}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(endpoints, "_FIRST_PAUSE", 0.01)
    for name in api_keys.OF_MODELS:
        monkeypatch.delenv(name, raising=False)


def asks(count: int) -> list[Ask]:
    return [Ask({"prompt": f"What is {n} + 1?", "prompt_id": f"q{n}"}, n, 0, 1000 + n) for n in range(count)]


def ask(url: str, count: int = 4, asking: Asking | None = None, **limits: Any):
    """What came, what failed and the endpoint, after asking so many questions."""
    made = endpoint.of_url(f"{url}#m", asking or Asking(), Limits(**LIMITS | limits))
    came: dict[int, Reply] = {}
    failed: dict[int, str] = {}
    made.answer(asks(count), lambda a, r: came.update({a.number: r}), lambda a, why: failed.update({a.number: why}))
    return came, failed, made


def now_and_then(fault: Sent, every: int = 3):
    """Every third request meets the fault."""
    return lambda asked, number: fault if number % every == 1 else ANSWER


HALF = Sent(ANSWER.body[:40], headers={"Content-Length": str(len(ANSWER.body)), "Connection": "close"})
FAULTS = {
    "HTTP 429: slow down": error(429, "slow down"),
    "HTTP 500: oh no": error(500, "oh no"),
    "half a reply: the connection ended": HALF,
    "reply of more than 4 MB": Sent(b"[" + b" " * 10_000_000 + b"]"),
    "no reply within 1.5 s": Sent(ANSWER.body, drip=3.0),
    "HTTP 200, but no JSON": Sent(b"<html>busy</html>"),
    "HTTP 200, but no completion": Sent(b'{"choices": []}'),
}


def patience(reason: str) -> dict[str, float]:
    """Little, where that is the fault; else a busy machine would be one as well."""
    return {"timeout": 1.5} if reason.startswith("no reply") else {}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_now_and_then_is_tried_again_and_named(reason: str) -> None:
    with playing(now_and_then(FAULTS[reason])) as server:
        came, failed, made = ask(server.url, **patience(reason))
    assert {number: reply.text for number, reply in came.items()} == dict.fromkeys(range(4), "It is \\boxed{4}.")
    assert failed == {}
    assert set(made.line.ledger.again) == {reason}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_that_stays_ends_in_time_and_is_named(reason: str) -> None:
    with playing(lambda *_: FAULTS[reason]) as server, pytest.raises(RunFailedError, match=r"3 requests in a row") as e:
        ask(server.url, count=50, retries=1, **patience(reason))
    assert reason in str(e.value)


def test_a_question_that_always_fails_is_reported_and_the_others_go_on() -> None:
    def play(asked: Asked, _: int) -> Sent:
        return error(500, "cannot") if "What is 2" in asked.body else ANSWER

    with playing(play) as server:
        came, failed, _ = ask(server.url, retries=2)
        assert sum("What is 2" in asked.body for asked in server.asked) == 3
    assert set(came) == {0, 1, 3}
    assert failed == {2: "HTTP 500: cannot"}


def test_what_is_refused_for_itself_is_not_asked_again() -> None:
    play = lambda asked, _: error(400, "too long") if "What is 2" in asked.body else ANSWER  # noqa: E731
    with playing(play) as server:
        _, failed, _ = ask(server.url)
        assert len(server.asked) == 4
    assert failed == {2: "HTTP 400: too long"}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_everything_at_once(status: int, monkeypatch) -> None:
    monkeypatch.setenv("R1RL_EVAL_KEY", "sk-secret")
    with playing(lambda *_: error(status, "no sk-secret here")) as server, pytest.raises(RunFailedError) as e:
        ask(server.url, count=50)
    assert len(server.asked) <= 2
    assert "sk-secret" not in str(e.value)
    assert server.asked[0].headers["authorization"] == "Bearer sk-secret"


def test_nobody_there() -> None:
    with pytest.raises(RunFailedError, match="connection failed"):
        ask("http://127.0.0.1:9/v1", retries=0)


def test_a_server_that_takes_no_notice_of_the_request_is_given_up() -> None:
    over = threading.Event()
    with playing(lambda *_: (over.wait(30), ANSWER)[1]) as server, pytest.raises(RunFailedError, match="no reply"):
        ask(server.url, retries=0, timeout=0.3)
    over.set()


def test_as_many_requests_at_a_time_as_allowed() -> None:
    lock, under_way, most, three = threading.Lock(), 0, 0, threading.Event()

    def play(*_: Any) -> Sent:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if most == 3:
            three.set()
        three.wait(30)
        time.sleep(0.05)  # for one more to come
        with lock:
            under_way -= 1
        return ANSWER

    with playing(play) as server:
        ask(server.url, count=12, parallel=3)
    assert most == 3


def test_ctrl_c_ends_the_requests_under_way() -> None:
    over, ended = threading.Event(), []

    def play(asked: Asked, number: int) -> Sent:
        if number:
            ended.append(over.wait(30))
        return ANSWER

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with playing(play) as server:
        made = endpoint.of_url(f"{server.url}#m", Asking(), Limits(parallel=3, timeout=25))
        with pytest.raises(KeyboardInterrupt):
            made.answer(asks(10), interrupt, interrupt)
        assert ended == [], "nothing of what was under way is waited for"
        over.set()


def usage(read: int, written: int) -> Sent:
    body = json.loads(ANSWER.body) | {"usage": {"prompt_tokens": read, "completion_tokens": written}}
    return Sent(json.dumps(body).encode())


def test_never_more_is_spent_than_allowed() -> None:
    """Each reply costs 0.5, at most 1.0: with 3.2 to spend and two at a time, five or six are asked."""
    with playing(lambda *_: usage(0, 500_000)) as server:
        asking = Asking(max_completion_length=1_000_000)
        came, failed, made = ask(server.url, 50, asking, price=(0.0, 1.0), most=3.2, parallel=2)
    assert len(server.asked) == len(came) == 5
    assert made.line.ledger.spent == pytest.approx(2.5)
    assert made.line.stopped == "the limit on cost is reached"
    assert set(failed.values()) == {"not asked, the limit on cost is reached"}


def test_what_did_not_arrive_may_have_been_paid_for() -> None:
    with playing(lambda *_: HALF) as server:
        limits = Limits(price=(0.0, 1e6), retries=0, parallel=1)
        made = endpoint.of_url(f"{server.url}#m", Asking(max_completion_length=100), limits)
        with pytest.raises(RunFailedError):
            made.answer(asks(9), lambda *_: None, lambda *_: None)
    assert made.line.ledger.spent == pytest.approx(300)


def test_the_request_says_what_the_protocol_says() -> None:
    with playing(lambda *_: ANSWER) as server:
        ask(server.url, 1, Asking(max_completion_length=77), body={"temperature": None, "top_k": 5})
        (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.chat["messages"] == [{"role": "user", "content": "What is 0 + 1?"}]
    del asked.chat["messages"]
    assert {key: value for key, value in asked.chat.items() if key != "messages"} == {
        "model": "m", "max_tokens": 77, "top_p": 0.95, "seed": 1000, "top_k": 5,
    }  # fmt: skip


def test_a_base_model_is_asked_for_a_completion_up_to_its_stop_string() -> None:
    body = {"choices": [{"text": " 4 </answer> User: And then?", "finish_reason": "length"}]}
    with playing(lambda *_: Sent(json.dumps(body).encode())) as server:
        came, _, made = ask(server.url, 1, Asking(prompt_template="r1-zero"))
        assert server.asked[0].path == "/v1/completions"
    assert came[0] == Reply(" 4 </answer>", "stop")
    assert made.extraction == "answer-tag"


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        pytest.param({"content": "4", "reasoning_content": "Hm"}, "stop", ("<think>Hm</think>4", "eos"), id="thoughts"),
        pytest.param({"content": None, "reasoning": "Hm"}, "length", ("<think>Hm", "length"), id="cut off in thought"),
        pytest.param({"content": [{"type": "text", "text": "4"}]}, "stop", ("4", "eos"), id="parts"),
        pytest.param({"content": None}, "content_filter", ("", "eos"), id="nothing said"),
    ],
)
def test_replies_are_read(message: dict[str, Any], finish: str, expected: tuple[str, str]) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()
    with playing(lambda *_: Sent(body)) as server:
        came, _, _ = ask(server.url, 1)
    assert (came[0].text, came[0].finish_reason) == expected


def test_in_a_chat_a_boxed_answer_is_asked_for() -> None:
    made = endpoint.of_url("http://127.0.0.1:1/v1#m", Asking(), Limits())
    assert made.prompt.render("What?") == f"What?\n{INSTRUCTION}"
    assert (
        endpoint.of_url("http://127.0.0.1:1/v1#m", Asking(instruction=""), Limits()).prompt.render("What?") == "What?"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("http://127.0.0.1:1/v1", "say which model", id="no model"),
        pytest.param("http://me:pass@127.0.0.1/v1#m", "holds a user or password", id="password"),
        pytest.param("http://127.0.0.1:99999/v1#m", "need a base", id="port"),
        pytest.param("https:///v1#m", "need a base", id="no host"),
    ],
)
def test_bad_addresses(url: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as e:
        endpoint.of_url(url, Asking(), Limits())
    assert "pass@" not in str(e.value)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        pytest.param({"parallel": 0}, "parallel=0", id="none at a time"),
        pytest.param({"timeout": 0}, "timeout=0", id="no time"),
        pytest.param({"most": 5.0}, "--price", id="a limit without a price"),
        pytest.param({"price": (-1.0, 1.0)}, "price=", id="paid for asking"),
    ],
)
def test_bad_limits(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Limits(**limits)


def test_a_key_that_no_header_can_hold(monkeypatch) -> None:
    monkeypatch.setenv("R1RL_EVAL_KEY", "sk secret")
    with pytest.raises(RecipeError, match="R1RL_EVAL_KEY: holds a blank") as e:
        endpoint.of_url("http://127.0.0.1:1/v1#m", Asking(), Limits())
    assert "secret" not in str(e.value)


def test_a_redirect_is_not_followed() -> None:
    with playing(lambda *_: Sent(b"", 302, {"Location": "http://127.0.0.1:9/"})) as server:
        _, failed, _ = ask(server.url, 1)
    assert failed == {0: "HTTP 302"}


@pytest.mark.parametrize(
    ("stated", "wait"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", None, id="a date is not read"),
        pytest.param("-1", None, id="nonsense"),
    ],
)
def test_retry_after_is_heeded(stated: str, wait: float | None) -> None:
    with playing(lambda *_: error(429, "later", **{"Retry-After": stated})) as server:
        with pytest.raises(requests.NoReplyError) as e:
            requests.Address(server.url).post("/chat/completions", {}, 60)
        assert (e.value.status, e.value.wait) == (429, wait)


def test_limits_are_for_one_reply(monkeypatch) -> None:
    monkeypatch.setattr(requests, "MAX_BODY_BYTES", len(ANSWER.body))
    with playing(lambda *_: ANSWER) as server:
        assert len(ask(server.url)[0]) == 4, "a reply of just the limit is read"
