"""The grader pool: time, deaths, memory, order, the cache, and no orphans."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from r1rl.ground.errors import RunFailedError
from r1rl.verify import pool as pool_module
from r1rl.verify.pool import GraderPool, Limits
from r1rl.verify.pool_batch import MAX_ITEM_BYTES

GENEROUS_SECONDS = 30.0
QUICK = Limits(item_seconds=0.5, batch_seconds=2.0)

JUDGE = """
import os, pathlib, resource, sys, threading, time
from r1rl.verify.verdict import Verdict

hoard = []
warm = []

def prepare(answer, gold):
    if answer.startswith("hang"):
        time.sleep(60)
    if answer == "die at once":
        os._exit(1)
    if answer == "unfit":
        raise KeyError
    if not warm:
        time.sleep(1)
        warm.append(True)

def judge(answer, gold):
    command, _, rest = answer.partition(" ")
    value = answer
    if command == "sleep":
        time.sleep(float(rest))
    elif command == "spin":
        9 ** (9 ** 9)  # one C call
    elif command == "die":
        os._exit(1)
    elif command == "die-once":
        try:
            pathlib.Path(rest).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os._exit(1)
    elif command == "allocate":
        bytearray(1 << 34)
    elif command == "grow":
        hoard.append(b"x" * (int(rest) << 20))
    elif command == "recurse":
        judge(answer, gold)
    elif command == "raise":
        raise KeyError("boom " * 100)
    elif command == "print":
        print("noise", flush=True)
        sys.stdin.read()
    elif command == "pid":
        value = str(os.getpid())
    elif command == "where":
        value = f"{threading.current_thread() is threading.main_thread()} {resource.getrlimit(resource.RLIMIT_AS)[0]}"
    return Verdict("correct" if answer == gold else "wrong", value, "")
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Pools of the judge above; closed at the end."""
    (tmp_path / "odd_judge.py").write_text(JUDGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = []

    def build(workers=2, limits=QUICK, judge="odd_judge:judge", **options):
        made.append(GraderPool(judge, name="odd", workers=workers, limits=limits, **options))
        return made[-1]

    yield build
    for pool in made:
        pool.close()


def ask(pool, *answers):
    """Statuses, with gold "good"."""
    return [verdict.status for verdict in pool.verify_many([(answer, "good") for answer in answers])]


def alive(pid):
    """Whether the process runs; a zombie that nobody reaps does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # no /proc at all: the signal's answer stands


def wait_for_death(*pids):
    deadline = time.monotonic() + GENEROUS_SECONDS
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_workers_start_at_first_use_and_only_as_many_as_needed(make):
    pool = make(workers=3)
    assert (pool.pids, pool.nursery_pid) == ([], None)
    assert ask(pool) == []
    assert pool.nursery_pid is None
    assert ask(pool, "good") == ["correct"]
    assert len(pool.pids) == 1
    assert ask(pool, *(f"sleep 0.0{digit}" for digit in range(1, 10))) == ["wrong"] * 9
    assert (len(pool.pids), pool.starts) == (3, 3)


def test_order_is_kept_over_many_messages(make):
    items = [(f"answer {number}", f"answer {number - number % 2}") for number in range(3000)]
    verdicts = make().verify_many(items)
    assert [verdict.value for verdict in verdicts] == [answer for answer, _ in items]
    assert [verdict.status for verdict in verdicts] == ["correct", "wrong"] * 1500


def test_it_judges_in_the_main_thread_under_a_memory_limit(make):
    verdict = make().verify_many([("where", "")])[0]
    expected = QUICK.memory_bytes if sys.platform == "linux" else verdict.value.split()[1]
    assert verdict.value == f"True {expected}"


def test_what_a_judge_prints_or_reads_touches_no_socket(make):
    assert ask(make(workers=1), "print", "good") == ["wrong", "correct"]


@pytest.mark.parametrize("slow", ["sleep 60", "spin"])
def test_a_slow_item_is_killed_and_its_neighbours_are_judged(make, slow):
    pool = make(workers=1, limits=Limits(item_seconds=0.5, batch_seconds=60))
    ask(pool, "good")
    (pid,) = pool.pids
    answers = [str(number) for number in range(20)]
    verdicts = pool.verify_many([(answer, answer) for answer in [*answers[:10], slow, *answers[10:]]])
    assert [verdict.status for verdict in verdicts] == ["correct"] * 10 + ["timeout"] + ["correct"] * 10
    assert (verdicts[10].value, verdicts[10].reason) == (None, "no result within 0.5 s")
    assert pool.starts == 2
    assert wait_for_death(pid)


def test_an_item_that_kills_its_worker_is_tried_twice_and_costs_no_other(make):
    pool = make(workers=1)
    verdicts = pool.verify_many([(answer, answer) for answer in ["a", "b", "die", "c", "d", "e", "f"]])
    assert [verdict.status for verdict in verdicts] == ["correct", "correct", "timeout", *["correct"] * 4]
    assert verdicts[2].reason == "the worker died on this item"
    assert pool.starts == 3


def test_an_item_whose_worker_was_killed_by_chance_is_judged(make, tmp_path):
    assert ask(make(), f"die-once {tmp_path}/there", "good") == ["wrong", "correct"]
    assert (tmp_path / "there").exists()


@pytest.mark.parametrize("victim", ["worker", "nursery"])
def test_a_process_that_died_while_idle_is_replaced_unnoticed(make, victim):
    pool = make(workers=1)
    ask(pool, "good")
    old = [*pool.pids, pool.nursery_pid]
    os.kill(pool.pids[0] if victim == "worker" else pool.nursery_pid, signal.SIGKILL)
    assert ask(pool, "other", "good two") == ["wrong", "wrong"]
    if victim == "nursery" and sys.platform == "linux":
        assert wait_for_death(*old)


def test_a_nursery_killed_at_work_costs_nothing(make):
    pool = make(limits=Limits(item_seconds=5))
    ask(pool, "good")
    killer = threading.Timer(0.3, os.kill, (pool.nursery_pid, signal.SIGKILL))
    killer.start()
    assert ask(pool, *(f"sleep 0.{number}" for number in range(11, 21)), "good") == ["wrong"] * 10 + ["correct"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("allocate", "out of memory"), ("recurse", "nested too deep")],
    ids=["memory", "recursion"],
)
def test_an_item_that_exhausts_its_process_is_a_timeout_and_the_worker_goes(make, answer, reason):
    pool = make(workers=1)
    before, bad, after = pool.verify_many([("1", "1"), (answer, "2"), ("3", "3")])
    assert (before.status, bad.status, bad.reason, after.status) == ("correct", "timeout", reason, "correct")
    assert pool.starts == 2


def test_a_worker_is_recycled_after_its_items(make):
    pool = make(workers=1, limits=Limits(items_per_worker=10))
    pids = [verdict.value for verdict in pool.verify_many([(f"pid {number}", "") for number in range(35)])]
    assert len(set(pids)) == pool.starts == 4
    assert max(map(pids.count, pids)) == 10


def test_a_worker_that_grew_is_recycled(make):
    pool = make(workers=1, limits=Limits(resident_bytes=150 << 20))
    assert ask(pool, "grow 1", "grow 200", "good", "grow 2", "x") == ["wrong", "wrong", "correct", "wrong", "wrong"]
    assert pool.starts == 2


def test_a_bug_of_the_judge_raises_and_the_pool_goes_on(make):
    pool = make()
    with pytest.raises(RuntimeError, match=r"verifier='odd': odd_judge:judge raised KeyError: 'boom") as caught:
        ask(pool, "good", "raise")
    assert len(str(caught.value)) < 300
    assert ask(pool, "good") == ["correct"]


def test_a_judge_that_cannot_be_imported_is_an_error_not_a_score(make):
    pool = make(judge="no_such_module:judge")
    with pytest.raises(RunFailedError, match=r"no_such_module:judge cannot be started: ModuleNotFoundError"):
        ask(pool, "good")
    assert pool.nursery_pid is None


def test_an_interrupted_batch_leaves_no_answers_behind(make, monkeypatch):
    pool = make(workers=1)
    ask(pool, "good")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pool_module, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(pool, "sleep 0.1", "b", "c")
    assert pool.pids == []
    assert ask(pool, "good", "x", "y") == ["correct", "wrong", "wrong"]


def test_an_item_too_long_for_a_message_is_refused(make):
    assert ask(make(), "x" * MAX_ITEM_BYTES, "good") == ["unparseable", "correct"]
    long = "x" * (MAX_ITEM_BYTES - 100)
    assert ask(make(workers=1), *(long + str(number) for number in range(9)), "good") == ["wrong"] * 9 + ["correct"]


@pytest.mark.parametrize("text", ["\x00", "\ud800\udfff", "\u202e", "'; \"", "\n" * 99], ids=ascii)
def test_every_text_arrives_as_it_is(make, text):
    verdict = make().verify_many([(text, text)])[0]
    assert (verdict.status, verdict.value) == ("correct", text)


# -- time --------------------------------------------------------------------------------------------------------


def test_sixty_four_hostile_items_cost_a_bounded_time_and_are_not_remembered(make):
    pool = make(limits=Limits())
    ask(pool, "good")
    started = time.monotonic()
    verdicts = pool.verify_many([(f"sleep 60.{number}", "") for number in range(64)])
    assert time.monotonic() - started < 10.0
    assert {verdict.status for verdict in verdicts} == {"timeout"}
    assert all(verdict.reason.endswith("and the batch's time is spent") for verdict in verdicts)
    assert len(pool._cache) == 1


def test_hostile_items_do_not_take_the_time_of_others(make):
    pool = make(limits=Limits(item_seconds=1.0, batch_seconds=1.0))
    statuses = ask(pool, *(f"sleep 60.{number}" for number in range(30)), *map(str, range(200)), "good")
    assert statuses == ["timeout"] * 30 + ["wrong"] * 200 + ["correct"]


def test_an_item_slower_than_its_first_limit_gets_the_time_that_is_left(make):
    pool = make(workers=1, limits=Limits(item_seconds=5.0, batch_seconds=4.0))
    assert ask(pool, *map(str, range(63)), "sleep 0.7") == ["wrong"] * 64
    assert pool.starts == 2  # its first limit was 0.25 s


COLD = Limits(item_seconds=0.5, batch_seconds=2.0, prepare_seconds=10.0)


def test_what_prepares_an_item_does_not_count_against_its_clock(make):
    pool = make(limits=COLD)
    assert ask(pool, *map(str, range(62)), "unfit", "good") == ["wrong"] * 63 + ["correct"]
    assert pool.starts == 2


def test_a_prepared_item_has_no_more_time_than_others(make):
    verdicts = make(workers=1, limits=COLD).verify_many([("sleep 60", ""), ("good", "good")])
    assert [verdict.status for verdict in verdicts] == ["timeout", "correct"]
    assert verdicts[0].reason.startswith("no result within 0.")


def test_of_items_that_never_get_ready_few_have_the_whole_time_for_that(make):
    pool = make(limits=Limits(item_seconds=0.5, batch_seconds=2.0, prepare_seconds=2.0))
    verdicts = pool.verify_many([(f"hang {number}", "") for number in range(64)])
    assert {verdict.status for verdict in verdicts} == {"timeout"}
    unready = [verdict.reason for verdict in verdicts if verdict.reason.startswith("not ready to be judged within")]
    assert 2 <= len(unready) <= 4  # twice the time for each worker, and then as for any item
    assert not pool._cache


def test_an_item_that_kills_its_worker_before_its_clock_started_costs_no_other(make):
    verdicts = make(workers=1, limits=COLD).verify_many([("a", "a"), ("die at once", ""), ("b", "b")])
    assert [verdict.status for verdict in verdicts] == ["correct", "timeout", "correct"]


def test_a_full_time_out_is_remembered(make):
    pool = make(workers=1)
    assert ask(pool, "sleep 60") == ["timeout"]
    starts = pool.starts
    assert ask(pool, "sleep 60") == ["timeout"]
    assert pool.starts == starts


# -- cache -------------------------------------------------------------------------------------------------------


def test_equal_items_are_judged_once(make):
    pool = make(workers=1)
    first, second = (pool.verify_many([("pid", "g"), ("pid", "other"), ("pid", "g")]) for _ in range(2))
    assert first == second
    assert set(pool._cache) == {("pid", "g"), ("pid", "other")}


def test_the_cache_is_bounded_and_forgets_what_was_longest_unused(make):
    pool = make(workers=1, cache_size=3)
    ask(pool, "a", "b", "c")
    ask(pool, "a")
    ask(pool, "d")
    assert [answer for answer, _ in pool._cache] == ["c", "a", "d"]
    assert ask(pool, *"abcdefgood") == ["wrong"] * 10  # a batch larger than the cache
    assert len(pool._cache) == 3
    pool.clear_cache()
    assert not pool._cache


# -- threads, forks, the end -------------------------------------------------------------------------------------


def test_threads_share_it(make):
    pool, failures = make(), []

    def work(thread):
        for batch in range(5):
            items = [(f"{thread} {batch} {number}", "") for number in range(30)]
            if [verdict.value for verdict in pool.verify_many(items)] != [answer for answer, _ in items]:
                failures.append(thread)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GENEROUS_SECONDS)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    assert pool.starts == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while a thread holds it"])
def test_a_forked_child_starts_its_own_workers(make, busy):
    pool = make(workers=1, limits=Limits(item_seconds=10))
    ask(pool, "good")
    pids, got = pool.pids, []
    thread = threading.Thread(target=lambda: got.extend(ask(pool, "sleep 1.5") if busy else []))
    thread.start()
    time.sleep(0.3)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            right = ask(pool, "good", "child") == ["correct", "wrong"] and pool.pids != pids
            pool.close()
            status = 0 if right else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    thread.join(GENEROUS_SECONDS)
    assert got == (["wrong"] if busy else [])
    assert pool.pids == pids
    assert ask(pool, "more") == ["wrong"]
    assert pool.starts == 1


def test_closing_ends_every_process_and_the_next_item_starts_others(make):
    pool = make()
    ask(pool, *(f"sleep 0.1{digit}" for digit in range(4)))
    pids = [*pool.pids, pool.nursery_pid]
    assert len(pids) == 3
    pool.close()
    assert wait_for_death(*pids)
    assert ask(pool, "good!") == ["wrong"]


PARENT = """
import json, os, sys, threading, time
from r1rl.verify.pool import GraderPool, Limits
pool = GraderPool("odd_judge:judge", name="odd", workers=2, limits=Limits(item_seconds=50, batch_seconds=500))
pool.verify_many([("sleep 0.2", "1"), ("sleep 0.21", "1")])
print(json.dumps([*pool.pids, pool.nursery_pid]), flush=True)
busy = [("spin", "9"), ("sleep 49", "9")]
{}
"""
FORK_FIRST = "if os.fork() == 0: time.sleep(60)\n"


@pytest.mark.parametrize(
    ("then", "kill"),
    [
        pytest.param("", None, id="parent ends"),
        pytest.param("raise SystemError", None, id="parent raises"),
        pytest.param(
            "threading.Thread(target=pool.verify_many, args=(busy,), daemon=True).start(); time.sleep(0.3)",
            None,
            id="parent ends while a thread grades",
        ),
        pytest.param("time.sleep(60)", signal.SIGKILL, id="killed while idle"),
        pytest.param("pool.verify_many(busy)", signal.SIGKILL, id="killed while grading"),
        pytest.param("pool.verify_many(busy)", signal.SIGTERM, id="terminated while grading"),
        pytest.param("pool.verify_many(busy)", signal.SIGINT, id="interrupted while grading"),
        pytest.param(FORK_FIRST + "pool.verify_many(busy)", signal.SIGKILL, id="killed, a forked child lives on"),
    ],
)
def test_no_orphan_is_left(make, then, kill):
    make()  # the judge's module and path
    root = Path(pool_module.__file__).parents[2]
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(root)])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 3
        if kill:
            assert all(map(alive, pids))
            time.sleep(0.5)  # let it get into the items
            parent.send_signal(kill)
        parent.wait(GENEROUS_SECONDS)
        assert wait_for_death(*pids)
    finally:
        os.killpg(parent.pid, signal.SIGKILL) if then.startswith(FORK_FIRST) else parent.kill()
        parent.stdout.close()


def test_no_workers_is_an_error():
    with pytest.raises(ValueError, match="workers=0: need at least 1"):
        GraderPool("odd_judge:judge", name="odd", workers=0)
