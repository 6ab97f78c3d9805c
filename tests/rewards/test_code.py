"""The code reward: what is worth what, options, and no score without a sandbox."""

import json
import pickle
import shutil

import pytest

import rewards
from r1rl.verify import Verdict, sandbox

needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
CASES = [{"input": f"{n}\n", "output": str(n % 3)} for n in range(3)]
STDIN = json.dumps({"tests": {"type": "stdin", "cases": CASES}})
ASSERT = {"tests": {"type": "assert", "code": ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 6"]}}

ROWS = [
    pytest.param("<answer>print(int(input()) % 3)</answer>", STDIN, 1.0, 1.0, id="right"),
    pytest.param("<answer>\n```python\nprint(input())\n```\n</answer>", STDIN, 1.0, 1.0, id="fenced"),
    pytest.param("<answer>print(0)</answer>", STDIN, 0.0, 1 / 3, id="one of three"),
    pytest.param("<answer>def f(n): return n</answer>", ASSERT, 0.0, 2 / 3, id="two of three"),
    pytest.param("<answer>def f(n): return n * (1 + (n > 2))</answer>", ASSERT, 1.0, 1.0, id="all asserts"),
    pytest.param("<answer>print(9)</answer>", STDIN, 0.0, 0.0, id="none"),
    pytest.param("print(input())", STDIN, 0.0, 0.0, id="no answer pair"),
    pytest.param("<answer>print(0)</answer>" * 2, STDIN, 0.0, 0.0, id="two answers"),
    pytest.param("<answer>print((</answer>", STDIN, 0.0, 0.0, id="no Python"),
    pytest.param("<answer>import sys; sys.exit(0)</answer>", ASSERT, 0.0, 0.0, id="exits"),
    pytest.param("<answer>print(0)</answer>", "{}", None, None, id="no tests"),
    pytest.param("no answer", "{}", None, None, id="no tests, no answer"),
    pytest.param("<answer>print(0)</answer>", "nonsense", None, None, id="meta is no JSON"),
    pytest.param("<answer>print(0)</answer>", "[1]", None, None, id="meta is no object"),
]


@needs_bwrap
@pytest.mark.parametrize(("completion", "meta", "whole", "partial"), ROWS)
def test_the_worth_of_a_program(completion, meta, whole, partial):
    assert rewards.get("code")([completion], meta=[meta], gold=[""]) == [whole]
    assert rewards.get("code", partial=True)([completion], meta=[meta], gold=[""]) == [pytest.approx(partial)]


@needs_bwrap
def test_a_batch_is_judged_in_order():
    completions, metas, whole, _ = zip(*(row.values for row in ROWS), strict=True)
    assert rewards.get("code", workers=2)(list(completions), meta=list(metas)) == list(whole)


@needs_bwrap
def test_the_verdicts_say_why():
    completions = ["<answer>print(0)</answer>", "none", "<answer>while True: pass</answer>"]
    reward = rewards.get("code", timeout_seconds=6, cpu_seconds=60)
    verdicts = reward.verdicts(completions, meta=[STDIN] * 3)
    assert verdicts[0] == Verdict(
        "wrong", "1/3", "1 of 3 tests passed; first failure: test 2: line 1: expected '1', got '0'"
    )
    assert verdicts[1] == Verdict("unparseable", None, "no <answer>")
    assert verdicts[2] == Verdict("timeout", "0/3", "0 of 3 tests passed; first failure: test 1: no result in time")


@needs_bwrap
def test_conversations_and_prefill_are_read():
    reward = rewards.get("code")
    chat = [{"role": "assistant", "content": "<answer>print(input())</answer>"}]
    assert reward([chat], meta=[STDIN]) == [1.0]
    assert reward(["print(input())</answer>"], meta=[STDIN], prefill=["<answer>"]) == [1.0]
    assert reward([], meta=[]) == []


@needs_bwrap
def test_columns_are_checked():
    with pytest.raises(ValueError, match="reward='code': column 'meta' is missing"):
        rewards.get("code")(["x"])
    with pytest.raises(ValueError, match="column 'meta' has 1 values for 2 completions"):
        rewards.get("code")(["x", "y"], meta=["{}"])


@needs_bwrap
def test_options_survive_pickling():
    reward = pickle.loads(pickle.dumps(rewards.get("code", partial=True, memory_mib=128)))
    assert reward.limits.memory_bytes == 128 << 20
    assert reward(["<answer>print(0)</answer>"], meta=[STDIN]) == [pytest.approx(1 / 3)]
    assert reward.__name__ == "code"


@needs_bwrap
def test_the_memory_option_holds():
    program = "<answer>x = bytes(150 << 20)\nprint(input())</answer>"
    assert rewards.get("code", memory_mib=128)([program], meta=[STDIN]) == [0.0]
    assert rewards.get("code", memory_mib=256)([program], meta=[STDIN]) == [1.0]


@pytest.mark.parametrize(
    ("option", "value"),
    [("partial", 1), ("partial", "perhaps"), ("timeout_seconds", 0), ("timeout_seconds", "five"), ("cpu_seconds", -1),
     ("timeout_seconds", float("nan")), ("memory_mib", 1), ("memory_mib", 512.5), ("workers", 0), ("workers", 1.5),
     ("workers", True)],
)  # fmt: skip
def test_an_option_out_of_range_is_named(option, value):
    with pytest.raises(ValueError, match=f"{option}="):
        rewards.get("code", **{option: value})


def test_without_a_sandbox_the_reward_cannot_be_made(monkeypatch):
    def refuse():
        raise sandbox.SandboxError("no sandbox: the program 'bwrap' is missing; try: apt install bubblewrap")

    monkeypatch.setattr(sandbox, "require", refuse)
    with pytest.raises(RuntimeError, match="try: apt install bubblewrap"):
        rewards.get("code")
    assert rewards.describe("code")  # listing works everywhere
