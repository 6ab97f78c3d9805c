"""Grading while others decode: the same verdicts as afterwards, and nothing left running."""

import threading
import time

import pytest

from r1rl import verify
from r1rl.rollout.engine import Completion
from r1rl.train.grading_ahead import MAX_LOST_SECONDS, Ahead
from r1rl.verify import Verdict
from rewards.accuracy import Accuracy

HANG_SECONDS = 60


def rows(count, verifier="math", gold="12"):
    return [{"verifier": verifier, "gold": gold, "meta": "{}"} for _ in range(count)]


def completion(text):
    return Completion([ord(char) for char in text], [], "eos")


def decode(token_ids):
    return "".join(map(chr, token_ids))


class Judge:
    """Verdicts by the text, and who asked for what."""

    def __init__(self, answer=lambda text: Verdict("correct", text, "")):
        self.answer = answer
        self.asked = []
        self.in_thread = threading.Event()

    def __call__(self, texts, given):
        ahead = threading.current_thread() is not threading.main_thread()
        self.asked.append((ahead, list(texts)))
        if ahead:
            self.in_thread.set()
        return [self.answer(text) for text in texts]


def judged_ahead(judge):
    return [text for ahead, texts in judge.asked if ahead for text in texts]


def grading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "r1rl-grading"]


def test_rollouts_are_judged_in_a_thread_and_come_back_in_order():
    judge = Judge()
    grading = Ahead(judge, decode, rows(4))
    for index in (2, 0, 3):
        judge.in_thread.clear()
        grading.finished(index, completion(f"text {index}"))
        assert judge.in_thread.wait(HANG_SECONDS)
    verdicts = grading.verdicts([f"text {i}" for i in range(4)])
    assert [verdict.value for verdict in verdicts] == [f"text {i}" for i in range(4)]
    assert judge.asked == [(True, ["text 2"]), (True, ["text 0"]), (True, ["text 3"]), (False, ["text 1"])]
    assert grading.judged_ahead == 3
    assert not grading_threads()


@pytest.mark.parametrize(
    ("verifier", "overlap"),
    [("countdown", True), ("exact", True), ("choice", True), ("math", False), ("nobody's", True)],
)
def test_what_would_keep_the_interpreter_is_judged_afterwards(verifier, overlap):
    judge = Judge()
    grading = Ahead(judge, decode, rows(2, verifier), overlap=overlap)
    for index in range(2):
        grading.finished(index, completion("text"))
    assert not grading_threads()
    grading.verdicts(["text", "text"])
    assert judge.asked == [(False, ["text", "text"])]


def test_every_verifier_is_registered_as_one_or_the_other():
    pooled = {name for name in verify.names() if verify.in_processes(name)}
    assert pooled == {"code", "gym", "math"}


def test_a_text_that_is_not_the_one_judged_ahead_is_judged_again():
    judge = Judge()
    grading = Ahead(judge, decode, rows(1))
    grading.finished(0, completion("before"))
    assert judge.in_thread.wait(HANG_SECONDS)
    assert grading.verdicts(["after"])[0].value == "after"


def test_a_time_out_is_tried_again_with_what_is_left():
    calls = []

    def answer(text):
        calls.append(text)
        late = text == "slow" and calls.count("slow") == 1
        return Verdict("timeout" if late else "wrong", text, "")

    judge = Judge(answer)
    grading = Ahead(judge, decode, rows(2))
    grading.finished(0, completion("slow"))
    assert judge.in_thread.wait(HANG_SECONDS)
    assert [verdict.status for verdict in grading.verdicts(["slow", "other"])] == ["wrong", "wrong"]
    assert judge.asked[-1] == (False, ["slow", "other"]), "one batch, one budget of time"


def test_batches_with_time_outs_stop_the_judging_ahead(monkeypatch):
    """Each batch may lose its own budget, so many small ones must not."""
    now = [0.0]
    monkeypatch.setattr("r1rl.train.grading_ahead.time.monotonic", lambda: now[0])

    def answer(text):
        now[0] += 0.6 * MAX_LOST_SECONDS
        return Verdict("timeout", None, "")

    judge = Judge(answer)
    grading = Ahead(judge, decode, rows(5))
    for index in range(3):
        judge.in_thread.clear()
        grading.finished(index, completion(f"{index}"))
        if index < 2:
            assert judge.in_thread.wait(HANG_SECONDS)
    thread = grading._thread
    thread.join(HANG_SECONDS)
    assert not thread.is_alive()
    grading.verdicts([f"{i}" for i in range(5)])
    assert judged_ahead(judge) == ["0", "1"]
    assert judge.asked[-1] == (False, [f"{i}" for i in range(5)])


def test_an_error_of_the_judge_surfaces_at_the_end_and_ends_the_thread():
    def answer(text):
        raise RuntimeError("no worker process can be started")

    judge = Judge(answer)
    grading = Ahead(judge, decode, rows(2))
    grading.finished(0, completion("text"))
    assert judge.in_thread.wait(HANG_SECONDS)
    grading.finished(1, completion("text"))  # decoding goes on
    with pytest.raises(RuntimeError, match="no worker process"):
        grading.verdicts(["text", "text"])
    assert not grading_threads()


def test_closing_waits_for_the_item_under_way_and_drops_what_waits():
    release = threading.Event()

    def answer(text):
        release.wait(HANG_SECONDS)
        return Verdict("correct", text, "")

    judge = Judge(answer)
    grading = Ahead(judge, decode, rows(3))
    grading.finished(0, completion("first"))
    assert judge.in_thread.wait(HANG_SECONDS)
    for index in (1, 2):
        grading.finished(index, completion("later"))
    threading.Thread(target=lambda: grading._stop.wait(HANG_SECONDS) and release.set()).start()
    grading.close()
    assert not grading_threads()
    assert judged_ahead(judge) == ["first"]
    grading.close()  # twice is nothing


ANSWERS = [
    "<think>x</think> <answer>12</answer>",
    "<answer>\\frac{24}{2}</answer>",
    "<answer>13</answer>",
    "<answer>\\sqrt{144}</answer>",
    "<answer>x^2 - 1</answer>",
    "no answer at all",
    "<answer>twelve</answer>",
    "<answer>12</answer>",
    "<answer>{</answer>",
    "<answer>\\sqrt{143}</answer>",
]


def test_verdicts_equal_those_of_grading_afterwards(monkeypatch):
    """The real verifier, processes and all; the cache of one way must not answer for the other."""
    from r1rl.verify import math

    golds = ["12"] * 7 + ["1 2 x", "\\sqrt{144}", "x"]
    given = [{"verifier": "math", "gold": gold, "meta": "{}"} for gold in golds]

    def judge(texts, given):
        columns = {key: [row[key] for row in given] for key in ("gold", "meta", "verifier")}
        return Accuracy().verdicts(texts, **columns)

    grading = Ahead(judge, decode, given)
    try:
        for index in (7, 3, 9, 1, 0, 8, 2, 6):
            grading.finished(index, completion(ANSWERS[index]))
            time.sleep(0.01)
        overlapped = grading.verdicts(ANSWERS)
        math._pool.clear_cache()
        assert overlapped == judge(ANSWERS, given)
        assert {verdict.status for verdict in overlapped} == {"correct", "wrong", "unparseable", "bad_gold"}
    finally:
        math._pool.close()
    assert not math._pool.pids
    assert not grading_threads()
