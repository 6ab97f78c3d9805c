"""The killable process: time-outs, deaths, respawns, and no orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1rl.verify import math_process
from r1rl.verify.math_process import MathProcess

SLOW = "((9^{9999})^{9999})^{9999}"
GENEROUS_SECONDS = 30.0


@pytest.fixture
def process():
    started = MathProcess(timeout_seconds=1.0)
    yield started
    started.close()


def alive(pid):
    """Whether the process runs; a zombie that nobody reaps does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # no /proc at all: the signal's answer stands


def wait_for_death(pid):
    deadline = time.monotonic() + GENEROUS_SECONDS
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_it_starts_at_first_use_and_serves_many(process):
    assert process.pid is None
    verdicts = process.verify_many([("12", "12"), ("13", "12"), ("?", "12"), ("12", "?")])
    assert [verdict.status for verdict in verdicts] == ["correct", "wrong", "unparseable", "bad_gold"]
    assert process.starts == 1


def test_a_slow_item_is_killed_and_its_neighbours_are_judged(process):
    process.verify_many([("1", "1")])
    pid = process.pid
    before, slow, after = process.verify_many([("12", "12"), (SLOW, "9"), ("12", "12")])
    assert (before.status, after.status) == ("correct", "correct")
    assert (slow.status, slow.value, slow.reason) == ("timeout", None, "no result within 1 s")
    assert process.starts == 2
    assert wait_for_death(pid)


def test_a_process_that_died_while_idle_is_replaced_unnoticed(process):
    process.verify_many([("1", "1")])
    os.kill(process.pid, signal.SIGKILL)
    assert process.verify_many([("12", "12")])[0].status == "correct"
    assert process.starts == 2


def test_a_process_that_dies_on_an_item_times_out_that_item_only(process, monkeypatch):
    boot = (
        "import sys; sys.path.insert(0, sys.argv[1]); from r1rl.verify import math_process as p; import os;"
        "compare = p._compare; p._compare = lambda a, g: os._exit(1) if a == 'die' else compare(a, g);"
        "p.serve()"
    )
    monkeypatch.setattr(math_process, "_BOOT", boot)
    verdicts = process.verify_many([("die", "12"), ("12", "12")])
    assert [verdict.status for verdict in verdicts] == ["timeout", "correct"]
    assert verdicts[0].reason == "the process died on this item"


def test_a_process_that_cannot_start_is_an_error_not_a_score(process, monkeypatch):
    boot = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['math_verify'] = None;"
        "from r1rl.verify.math_process import serve; serve()"
    )
    monkeypatch.setattr(math_process, "_BOOT", boot)
    with pytest.raises(RuntimeError, match=r"math_verify.*pip install math-verify"):
        process.verify_many([("12", "12")])
    assert process.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="checked on Linux only")
def test_memory_is_limited(process, monkeypatch):
    boot = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); from r1rl.verify import math_process as p;"
        "limit = lambda: str(resource.getrlimit(resource.RLIMIT_AS)[0]);"
        "p._compare = lambda a, g: {'status': 'wrong', 'value': limit(), 'reason': ''}; p.serve()"
    )
    monkeypatch.setattr(math_process, "_BOOT", boot)
    assert process.verify_many([("12", "12")])[0].value == str(math_process.MEMORY_LIMIT_BYTES)


def test_closing_ends_the_process_and_the_next_item_starts_another(process):
    process.verify_many([("1", "1")])
    pid = process.pid
    process.close()
    assert wait_for_death(pid)
    assert process.verify_many([("12", "12")])[0].status == "correct"


PARENT = """
import sys, time
from r1rl.verify.math_process import MathProcess
process = MathProcess(timeout_seconds=2.0)
process.verify_many([("1", "1")])
print(process.pid, flush=True)
{}
"""


@pytest.mark.parametrize(
    ("then", "kill"),
    [
        pytest.param("", False, id="parent ends"),
        pytest.param("time.sleep(60)", True, id="parent killed while idle"),
        pytest.param(f"process.verify_many([({SLOW!r}, '9')])", True, id="parent killed while computing"),
    ],
)
def test_no_orphan_is_left(then, kill):
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(then)], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        if kill:
            time.sleep(0.3)  # let it get into the item
            parent.kill()
        parent.wait(GENEROUS_SECONDS)
    finally:
        parent.kill()
        parent.stdout.close()
    assert wait_for_death(pid)


def test_a_forked_child_starts_its_own_process(process):
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    process.verify_many([("1", "1")])
    pid = process.pid
    child = os.fork()
    if child == 0:
        right = process.verify_many([("12", "12")])[0].status == "correct" and process.pid != pid
        process.close()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert process.pid == pid
    assert process.verify_many([("12", "12")])[0].status == "correct"
    assert process.starts == 1
