"""The code verifier: which programs pass, what cannot be forged, and bad programs beside good ones."""

import contextlib
import gc
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl import verify
from r1rl.verify import code, code_guest, sandbox
from r1rl.verify.code import program_of
from r1rl.verify.sandbox import Limits

needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
LIMITS = Limits(wall_seconds=60.0, cpu_seconds=10.0, memory_bytes=256 << 20, output_bytes=100_000)


def stdin_tests(*cases):
    return {"tests": {"type": "stdin", "cases": [{"input": given, "output": wanted} for given, wanted in cases]}}


def assert_tests(*lines, **more):
    return {"tests": {"type": "assert", "code": list(lines), **more}}


def judge(program, meta, limits=LIMITS):
    return code.verify_many([(program, "", meta)], limits=limits)[0]


SUMS = stdin_tests(("1 2\n", "3\n"), ("5 6", "11"))
NEXT = assert_tests("assert f(1) == 2", "assert f(41) == 42")


@needs_bwrap
@pytest.mark.parametrize(
    ("program", "status", "value", "reason"),
    [
        pytest.param("print(sum(map(int, input().split())))", "correct", "2/2", "", id="right"),
        pytest.param("print(' ', sum(map(int, input().split())), end='  \\n\\n')", "correct", "2/2", "", id="spaces"),
        pytest.param("print(sum(map(int, input().split())))\nraise SystemExit", "correct", "2/2", "", id="exit 0"),
        pytest.param("print(3)", "wrong", "1/2", "1 of 2 tests passed; first failure: test 2: line 1: expected '11', "
                     "got '3'", id="one of two"),
        pytest.param("print(3, 3, sep='\\n')", "wrong", "0/2", "test 1: expected 1 lines, got 2", id="too many lines"),
        pytest.param("pass", "wrong", "0/2", "test 1: line 1: expected '3', got ''", id="silent"),
        pytest.param("print(3); raise SystemExit(2)", "wrong", "0/2", "test 1: exit status 2", id="fails afterwards"),
        pytest.param("print(1 / 0)", "wrong", "0/2", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param("while True: pass", "timeout", "0/2", "test 1: no result in time", id="never ends"),
        pytest.param("while True: print('x' * 999)", "wrong", "0/2", "more than 100000 bytes of output", id="floods"),
        pytest.param("import os; os._exit(0)", "wrong", "0/2", "got ''", id="leaves silently"),
        pytest.param("print((", "unparseable", None, "SyntaxError: line 1", id="no Python"),
        pytest.param("\x00", "unparseable", None, "null bytes", id="null byte"),
    ],
)  # fmt: skip
def test_stdin_programs(program, status, value, reason):
    verdict = judge(program, SUMS)
    assert (verdict.status, verdict.value) == (status, value)
    assert reason in verdict.reason
    assert (verdict.reason == "") == (status == "correct")


EQUAL_TO_ALL = "class A{base}:\n    def __eq__(self, other): return True\n    def __hash__(self): return 2\n"
FORGERIES = [
    ("exit at once", "import sys; sys.exit(0)"),
    ("leave at once", "import os; os._exit(0)"),
    ("leave when asked", "import os\ndef f(x): os._exit(0)"),
    ("exit when asked", "def f(x): raise SystemExit(0)"),
    ("equal to everything", EQUAL_TO_ALL.format(base="") + "def f(x): return A()"),
    ("an int equal to everything", EQUAL_TO_ALL.format(base="(int)") + "def f(x): return A(7)"),
    ("a list equal to everything", EQUAL_TO_ALL.format(base="(list)") + "def f(x): return A()"),
    ("a string equal to everything", EQUAL_TO_ALL.format(base="(str)") + "def f(x): return A()"),
    ("f is the object itself", EQUAL_TO_ALL.format(base="") + "    def __call__(self, x): return self\nf = A()"),
    ("redefine AssertionError", "import builtins\nclass AssertionError(Exception): pass\n"
     "builtins.AssertionError = AssertionError\ndef f(x): return 0"),
    ("patch builtins", "import builtins\nbuiltins.compile = builtins.exec = lambda *a, **k: None\ndef f(x): return 0"),
    ("raise AssertionError", "def f(x): raise AssertionError"),
    ("raise StopIteration", "def f(x): raise StopIteration"),
    ("raise a BaseException", "class Stop(BaseException): pass\ndef f(x): raise Stop"),
    ("print success", "print('{\"ok\": true, \"why\": \"\"}')\ndef f(x): print('{\"ok\": true}')"),
    ("write success to every descriptor", "import os\nfor fd in range(64):\n    try: os.write(fd, "
     "b'{\"ok\": true, \"why\": \"\"}\\n' * 2)\n    except OSError: pass\ndef f(x): return 0"),
    ("speak the protocol", "import os, json\nm = json.dumps({'value': True}).encode()\nfor fd in range(64):\n"
     "    try: os.write(fd, (len(m).to_bytes(4, 'big') + m) * 9)\n    except OSError: pass\ndef f(x): return True"),
    ("a reply of many gigabytes", "import os\nfor fd in range(64):\n    try: os.write(fd, b'\\xff' * 9)\n"
     "    except OSError: pass"),
    ("a hostile reply", "import os\nm = b'{\"value\": {\"ref\": 0}}'\nfor fd in range(64):\n"
     "    try: os.write(fd, (len(m).to_bytes(4, 'big') + m) * 9)\n    except OSError: pass"),
    ("look for the tests in memory", "import gc, sys\ndef f(x):\n    needle = 'ass' + f'ert f({x}) == '\n"
     "    seen = [o for o in gc.get_objects()] + list(sys.orig_argv)\n    frame = sys._getframe()\n    while frame:\n"
     "        seen += [*frame.f_locals.values(), *frame.f_globals.values()]\n        frame = frame.f_back\n"
     "    return next((int(str(o).split(needle)[1].split()[0]) for o in seen if needle in str(o)), 0)"),
    ("trace every line", "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(print)\ndef f(x): return 0"),
    ("patch the guest", "import sys\nfor m in [*sys.modules.values()]:\n    for n in ('run_tests', 'serve', '_act'):\n"
     "        if hasattr(m, n): setattr(m, n, lambda *a: True)\ndef f(x): return 0"),
    ("shadow everything", "import builtins\nfor n in dir(builtins): globals()[n] = lambda *a, **k: True\n"
     "def f(x): return True"),
    ("the other tests' answers", "def f(x): return {1: 42, 41: 2}[x]"),
    ("nothing there", "pass"),
    ("f is no function", "f = 2"),
    ("end in a crash", "import ctypes\ndef f(x): ctypes.string_at(0)"),
    ("endless list", "def f(x):\n    while True: yield 2"),
    ("nested too deep", "def f(x):\n    y = []\n    for _ in range(10**5): y = [y]\n    return y"),
    ("contains itself", "def f(x):\n    y = []\n    y.append(y)\n    return y"),
    ("more data than allowed", "def f(x): return 'x' * (8 << 20)"),
]  # fmt: skip


@needs_bwrap
@pytest.mark.parametrize("program", [pytest.param(program, id=name) for name, program in FORGERIES])
def test_no_forgery_passes_an_assert(program):
    verdict = judge(program, NEXT)
    assert (verdict.status, verdict.value) == ("wrong", "0/2"), verdict


@needs_bwrap
@pytest.mark.parametrize(
    ("test", "program"),
    [
        pytest.param("assert set(f(1)) == {2}", "def set(x): return True\ndef f(x): return [3]", id="builtin shadowed"),
        pytest.param("import math\nassert math.isclose(f(1), 2)", "class math:\n    isclose = lambda *a: True\n"
                     "def f(x): return 3", id="module shadowed"),
        pytest.param("assert math.isclose(f(1), 2)", "class math:\n    isclose = lambda *a: True\n"
                     "def f(x): return 3", id="module not imported by the test"),
        pytest.param("assert abs(f(1) - 2) < 1e-6", "class A:\n    __sub__ = __abs__ = lambda s, *a: s\n"
                     "    __lt__ = lambda *a: True\ndef f(x): return A()", id="operators"),
        pytest.param("assert f(1) < 3", "def f(x): return float('nan')", id="not a number"),
        pytest.param("assert not f(1) != 2", "class A:\n    __ne__ = lambda *a: False\ndef f(x): return A()",
                     id="inequality"),
        pytest.param("assert 2 in f(1)", "class A:\n    __contains__ = lambda *a: True\n"
                     "    __iter__ = lambda s: iter([3])\ndef f(x): return A()", id="membership"),
        pytest.param("assert f(1) == [2]", "class A(list):\n    __eq__ = lambda *a: True\ndef f(x): return A([A()])",
                     id="inside a list"),
        pytest.param("assert all(map(lambda x: f(x) == x + 1, [1, 2]))", "def f(x): raise StopIteration",
                     id="StopIteration ends all()"),
        pytest.param("try:\n    f(1)\n    assert 0\nexcept Exception:\n    pass", "def f(x): __import__('os')._exit(0)",
                     id="the end of the process is no exception"),
        pytest.param("try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass", "def f(x): raise TypeError",
                     id="the wrong exception"),
        pytest.param("def check(g):\n    assert g(1) == 2\ncheck(f)", "def check(g): pass\ndef f(x): return 3",
                     id="the test's own function shadowed"),
        pytest.param("assert str(f(1)) == '2'", "class A:\n    __str__ = lambda s: S()\nclass S(str):\n"
                     "    __eq__ = lambda *a: True\ndef f(x): return A()", id="str of an object"),
        pytest.param("f(1).x = 2\nassert f(1).x == 2", "class A: pass\na = A()\ndef f(x): return a", id="setting"),
    ],
)  # fmt: skip
def test_the_program_never_judges_itself(test, program):
    assert judge(program, assert_tests(test)).status == "wrong"


@needs_bwrap
@pytest.mark.parametrize(
    ("test", "program"),
    [
        pytest.param("assert f(1) == 2", "def f(x): return x + 1", id="plain"),
        pytest.param("assert f([3, 1]) == [1, 3], 'sorts'", "def f(x): return sorted(x)", id="message"),
        pytest.param("assert f({'a': (1, 2.5, None)}) == {'a': (1, 2.5, None)}", "def f(x): return x", id="nested"),
        pytest.param("assert f(2) == 2 ** 5000", "def f(x): return x ** 5000", id="large int"),
        pytest.param("assert f(b'a', {1}) == (b'a', {1}, 1j)", "def f(x, y): return x, y, 1j", id="bytes and sets"),
        pytest.param("from fractions import Fraction\nassert f(3) == Fraction(1, 3)",
                     "from fractions import Fraction\ndef f(x): return Fraction(1, x)", id="fraction"),
        pytest.param("assert math.isclose(f(1), 3.14159, rel_tol=1e-3)", "def f(x): return 3.1416", id="math"),
        pytest.param("assert list(f(3)) == [0, 1, 2]", "def f(x): yield from range(x)", id="generator"),
        pytest.param("assert f(1) is True and isinstance(f(1), bool)", "def f(x): return True", id="identity"),
        pytest.param("assert Solution().f([2, 7], target=9) == [0, 1]",
                     "class Solution:\n    def f(self, x, target): return [0, 1]", id="method"),
        pytest.param("s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2 and len(s) == 1 and s.x[0] == 1",
                     "class Stack:\n    def __init__(self): self.x = []\n    def push(self, y): self.x.append(y)\n"
                     "    def pop(self): return self.x.pop()\n    def __len__(self): return len(self.x)", id="state"),
        pytest.param("assert g(f(1)) == 2", "class A: pass\nf = lambda x: A()\ndef g(a): return 1 + isinstance(a, A)",
                     id="an object handed back"),
        pytest.param("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
                     "def f(x): raise ValueError('negative')", id="exception"),
        pytest.param("def check(candidate):\n    assert candidate(1) == 2\ncheck(f)", "def f(x): return 2", id="check"),
        pytest.param("assert LIMIT == 3", "LIMIT = 3", id="constant"),
        pytest.param("assert f(1) == 2", "import sys\ndef f(x):\n    print('debug')\n    return 2", id="prints"),
        pytest.param("assert f(1) == 2", "def f(x): return 2\nif __name__ == '__main__': raise ValueError", id="main"),
        pytest.param("assert f(0) == 2", "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
                     "def f(x): return P(2).x", id="dataclass"),
    ],
)  # fmt: skip
def test_honest_programs_pass(test, program):
    verdict = judge(program, assert_tests(test))
    assert verdict.status == "correct", verdict


@needs_bwrap
def test_the_entry_point_may_bear_a_builtin_name():
    program = "def sum(a, b): return a * b"
    assert judge(program, assert_tests("assert sum(2, 3) == 6", entry_point="sum")).status == "correct"
    assert judge(program, assert_tests("assert sum(2, 3) == 6", entry_point="sum")).value == "1/1"
    assert judge(program, assert_tests("assert sum(f([2, 3])) == 5")).status == "wrong"


@needs_bwrap
def test_a_program_that_dies_is_started_again_for_the_other_tests():
    program = "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    return x + 1"
    verdict = judge(program, NEXT)
    assert (verdict.status, verdict.value) == ("wrong", "1/2")
    assert 'test 1: "the solution\'s process ended"' in verdict.reason


@needs_bwrap
@pytest.mark.parametrize("program", ["def f(x):\n    while True: pass", "import time\ntime.sleep(1e6)"])
def test_a_time_out_ends_the_run(program):
    verdict = judge(program, assert_tests(*["assert f(1) == 2"] * 50), Limits(wall_seconds=2.0))
    assert (verdict.status, verdict.value) == ("timeout", "0/50")
    assert verdict.reason.endswith("test 1: no result in time")


BAD = [
    "import os\nwhile True: os.fork()",
    "x = []\nwhile True: x.append(bytes(1 << 20))",
    "open('/x', 'w').write('3')",
    "import socket; socket.create_connection(('127.0.0.1', 80))",
    "import os; print(os.environ['HOME'])",
    "print(open('/etc/passwd').read())",
    "while True: print(3)",
    "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(1e6)",
    "import time; time.sleep(1e6)",
    "import os, time\nif os.fork() == 0: time.sleep(1e6)\nprint(3)",
    "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))",
    "import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)",
    "import ctypes\nif ctypes.CDLL(None).ptrace(16, 1, 0, 0): raise OSError",
    "import threading as t, time\nwhile True: t.Thread(target=time.sleep, args=(1e6,)).start()",
]


def sandboxed():
    """Processes in another pid namespace than this one."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.readlink(entry / "ns/pid") != os.readlink("/proc/self/ns/pid"):
                found.add(entry.name)
    return found


@needs_bwrap
@pytest.mark.parametrize("kind", ["stdin", "assert"])
def test_good_programs_beside_bad_ones_are_unaffected(kind):
    if kind == "stdin":
        good, meta, bad = "print(sum(map(int, input().split())))", SUMS, BAD
    else:
        good, meta = "def f(x): return x + 1", NEXT
        bad = ["def f(x):\n" + "".join(f"    {line}\n" for line in program.splitlines()) for program in BAD]
    items = [(program, "", meta) for pair in zip(bad, [good] * len(bad), strict=True) for program in pair]
    limits = Limits(wall_seconds=10.0, cpu_seconds=10.0, memory_bytes=256 << 20, output_bytes=100_000)
    before = sandboxed()
    started = time.monotonic()
    verdicts = code.verify_many(items, limits=limits, workers=4)
    assert [verdict.status for verdict in verdicts[1::2]] == ["correct"] * len(bad)
    assert {verdict.status for verdict in verdicts[::2]} <= {"wrong", "timeout"}
    assert [verdict.value for verdict in verdicts[::2]] == ["0/2"] * len(bad)
    assert time.monotonic() - started < 400
    left = sandboxed() - before
    while left and time.monotonic() - started < 500:
        time.sleep(0.05)
        left &= sandboxed()  # other sandboxes on this machine come and go
    assert not left


@pytest.mark.parametrize(
    ("answer", "program", "reason"),
    [
        pytest.param("x = 1", "x = 1", "", id="bare"),
        pytest.param("```python\nx = 1\n```", "\nx = 1\n", "", id="fenced"),
        pytest.param("\n```\nx = 1\n```\n", "\nx = 1\n", "", id="fence without a language"),
        pytest.param("```Py\nif 1:\n    x = 1\n```", "\nif 1:\n    x = 1\n", "", id="language in capitals"),
        pytest.param("x = '```'", "x = '```'", "", id="fence inside a line is text"),
        pytest.param("```js\nx\n```", None, "fenced block of 'js': need python", id="another language"),
        pytest.param("```\nx\n```\n```\ny\n```", None, "4 code fences: need one block, or none", id="two blocks"),
        pytest.param("```\nx", None, "1 code fences", id="not closed"),
        pytest.param("Here:\n```\nx\n```", None, "text outside the fenced block", id="text before"),
        pytest.param("```\nx\n```\nDone.", None, "text outside the fenced block", id="text after"),
        pytest.param("```\nx\n```python", None, "need python", id="language at the closing fence"),
        pytest.param("```python\n\n```", None, "program is empty", id="empty block"),
        pytest.param("  ", None, "program is empty", id="empty"),
        pytest.param("x = '\ud800'", None, "lone surrogate", id="surrogate"),
        pytest.param("x" * 70_000, None, "program too long: 70000 characters", id="too long"),
    ],
)
def test_the_program_of_an_answer(answer, program, reason):
    found, why = program_of(answer)
    assert found == program
    assert why.startswith(reason) if program is None and reason != "need python" else True
    assert reason in why


BAD_META = [
    ({}, "'tests' needs type"),
    ({"tests": []}, "'tests' needs type"),
    ({"tests": {"type": "pytest"}}, "'tests' needs type"),
    ({"tests": {"type": "stdin"}}, "'cases' needs a list"),
    ({"tests": {"type": "stdin", "cases": []}}, "'cases' needs a list that is not empty"),
    ({"tests": {"type": "stdin", "cases": ["1"]}}, "test 1: 'input' and 'output' need to be strings"),
    (stdin_tests(("1", "1"), ("1", 1)), "test 2: 'input' and 'output' need to be strings"),
    (stdin_tests(("\ud800", "1")), "need to be strings"),
    (assert_tests(), "'code' needs a list that is not empty"),
    (assert_tests(1), "test 1 is not a string"),
    (assert_tests("assert f(1) == 2", "assert f(1 == 2"), "test 2 does not compile"),
    (assert_tests("f(1)"), "test 1 asserts nothing"),
    (assert_tests("assert 1 == 1"), "test 1 asks nothing of the program"),
    (assert_tests("assert math.pi > 3"), "test 1 asks nothing of the program"),
]


@pytest.mark.parametrize(("meta", "reason"), BAD_META)
def test_unusable_tests_say_what_is_wrong(meta, reason):
    with pytest.raises(ValueError, match="meta: ") as error:
        code.tests_of(meta)
    assert reason in str(error.value)


@needs_bwrap
@pytest.mark.parametrize("answer", ["", "print(1)", "```", "x = ("])
def test_unusable_tests_are_bad_gold_whatever_the_answer(answer):
    verdicts = code.verify_many([(answer, "", meta) for meta, _ in BAD_META])
    assert {verdict.status for verdict in verdicts} == {"bad_gold"}
    assert all(verdict.reason.isascii() and len(verdict.reason) <= 200 for verdict in verdicts)


@pytest.mark.parametrize(
    ("test", "names", "modules"),
    [
        ("assert f(1) == 2", ["f"], []),
        ("assert math.isclose(f(1), 2)", ["f"], ["math"]),
        ("import math\nassert math.isclose(f(1), 2)", ["f"], []),
        ("assert bisect([1], 1) == 1", ["bisect"], []),
        ("assert bisect.bisect(f(1), 1) == 1", ["f"], ["bisect"]),
        ("assert sorted(f(x) for x in range(3)) == [1]", ["f"], []),
        ("assert (lambda y: f(y))(1) == 2", ["f"], []),
        ("def check(g):\n    assert g(1)\ncheck(f)", ["f"], []),
        ("try:\n    f()\nexcept ValueError as e:\n    assert str(e)", ["f"], []),
        ("assert Solution().f(1) == 2", ["Solution"], []),
    ],
)
def test_which_names_are_the_programs(test, names, modules):
    assert code.tests_of(assert_tests(test)).asserts == ({"code": test, "names": names, "modules": modules},)


def test_without_a_sandbox_no_verdict(monkeypatch):
    def refuse():
        raise sandbox.SandboxError("no sandbox: none here")

    monkeypatch.setattr(sandbox, "require", refuse)
    for item in (("x = 1", "", SUMS), ("x = 1", "", {}), ("", "", NEXT)):
        with pytest.raises(RuntimeError, match="no sandbox"):
            verify.get("code")(*item)
    assert code.verify_many([]) == []


@needs_bwrap
def test_what_a_program_says_is_quoted_and_clipped():
    verdict = judge("print('\\x1b[31m' + '\u202e' * 500)", SUMS)
    assert len(verdict.reason) <= 200
    assert verdict.reason.isascii()
    assert verdict.reason.isprintable()


@needs_bwrap
def test_no_descriptor_is_left_open():
    judge("def f(x): return 2", NEXT)
    gc.collect()  # what earlier tests left open is closed now, and not while this counts
    before = len(os.listdir("/proc/self/fd"))
    for program in ("def f(x): return x + 1", "x = (", "import os\ndef f(x): os._exit(0)"):
        judge(program, NEXT)
    assert len(os.listdir("/proc/self/fd")) == before


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.fractions()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)


def same(one, other):
    """Equal, and of equal types all the way down: 1 is not True here."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return one == other


@given(PLAIN)
@settings(max_examples=200, deadline=None)
def test_plain_data_crosses_the_wire_unchanged(value):
    wire = code_guest.Wire.__new__(code_guest.Wire)
    wire.objects = None
    assert same(wire.decode(wire.encode(value)), value)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
@settings(max_examples=200, deadline=None)
def test_any_reply_is_plain_data_or_an_error(reply):
    wire = code_guest.Wire.__new__(code_guest.Wire)
    wire.objects = None
    wire.send = lambda message: None
    wire.receive = lambda: reply
    outcome = None
    try:
        outcome = wire.ask("call", 0)
    except (code_guest.Lost, Exception) as error:
        outcome = error
    assert not isinstance(outcome, (AssertionError, StopIteration))
