"""Python programs judged by running them against the row's tests, in the sandbox. R1's rule for code.

`meta["tests"]` is `{"type": "stdin", "cases": [{"input": text, "output": text}, ...]}`: the standard output must
equal the expected text line by line, white space around lines and around the whole apart, and the exit status must
be 0; or `{"type": "assert", "code": ["assert f(1) == 2", ...], "entry_point": name}`, the last key optional. `gold`
is not used and may be "". Source: rule-based rewards, DeepSeek-R1, arXiv 2501.12948, section 2.2.2; formats as in
APPS (arXiv 2105.09938) and MBPP (arXiv 2108.07732).

The program's own report is never believed:

- stdin: each case runs in a sandbox of its own; the expected output is compared here and never goes in.
- assert: the tests run in one sandbox, the program in another. A name that a test takes from the program is a
  call over a socket: only its arguments go out and only plain data comes back, so `==` is Python's own and the
  expected values are never where the program could read them. Exiting with 0, printing tokens, patching builtins
  or AssertionError, objects that equal everything, reading frames or memory, writing to the socket: each yields
  a wrong value or none. What a test judges with (builtins, its imports, `math.` and other modules of the
  standard library) is never taken from the program, except the `entry_point`.

Not defended: a test that asks the program to judge itself (`assert is_close(f(1), 2)` where no import says whose
`is_close` it is), tests weak enough to pass by guessing (`assert is_prime(7)`), state kept between the tests of a
row. Not supported, such tests fail: arguments changed in place (they go by value), functions passed as arguments,
`==` between the program's own objects, its classes in `isinstance` or `except`. An object of a subclass of list, dict,
str... arrives as a plain one.

A test that times out ends the program's run, and the tests after it count as failed: so a program costs at most
one time-out.
"""

import ast
import builtins
import contextlib
import json
import os
import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from r1rl.ground.machine import cores_of_a_rank
from r1rl.verify import sandbox
from r1rl.verify.sandbox import Box, Limits
from r1rl.verify.verdict import Verdict, clip, quote

LIMITS = Limits()
"""What a test may use, unless the caller says otherwise."""

MAX_PROGRAM_CHARS = 65_536
_FENCE = re.compile(r"^[ \t]*```[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_LANGUAGES = ("", "python", "python3", "py")
_TIMED_OUT = "no result in time"
_COMPARISON_CHARS = 40


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of a row: (input, output) pairs, or assert tests as `code_guest.run_tests` takes them."""

    cases: tuple[tuple[str, str], ...] = ()
    asserts: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.cases) or len(self.asserts)


def require() -> None:
    """Raise `sandbox.SandboxError`, a `RuntimeError` that says what to install, where programs cannot be run."""
    sandbox.require()


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """The verdict on one program; see `verify_many`."""
    return verify_many([(answer, gold, meta)])[0]


def check_gold(gold: str, meta: dict[str, Any]) -> Verdict:
    """`correct` if the tests can be used and the reference solution in `gold`, unless that is blank, passes them."""
    if gold.strip():
        return verify(gold, gold, meta)
    try:
        tests_of(meta)
    except ValueError as error:
        return Verdict("bad_gold", None, clip(str(error)))
    return Verdict("correct", None, "")


def verify_many(
    items: list[tuple[str, str, dict[str, Any]]], *, limits: Limits = LIMITS, workers: int | None = None
) -> list[Verdict]:
    """Verdicts of (answer, gold, meta) triples, in order; programs run side by side, `workers` at a time.

    A verdict's `value` is "passed/total", None if nothing ran. `timeout` if the first failed test timed out,
    `bad_gold` if the tests are unusable, whatever the answer. Raises `SandboxError` where there is no sandbox.
    """
    if not items:
        return []
    require()

    with ThreadPoolExecutor(min(workers or cores_of_a_rank(), len(items)), "r1rl-code") as pool:
        return list(pool.map(lambda item: _judge(item[0], item[2], limits), items))


def program_of(answer: str) -> tuple[str | None, str]:
    """The program in the content of <answer> and "", or None and why: all of it, or its only fenced block."""
    if len(answer) > MAX_PROGRAM_CHARS:
        return None, f"program too long: {len(answer)} characters, at most {MAX_PROGRAM_CHARS}"
    if not answer.strip():
        return None, "program is empty"
    if not _encodes(answer):
        return None, "lone surrogate in the program"
    fences = list(_FENCE.finditer(answer))
    if not fences:
        return answer, ""
    if len(fences) != 2:
        return None, f"{len(fences)} code fences: need one block, or none"
    opening, closing = fences
    if answer[: opening.start()].strip() or answer[closing.end() :].strip():
        return None, "text outside the fenced block"
    if opening[1].lower() not in _LANGUAGES or closing[1]:
        return None, f"fenced block of {quote(opening[1] or closing[1])}: need python"
    program = answer[opening.end() : closing.start()]
    return (program, "") if program.strip() else (None, "program is empty")


def tests_of(meta: dict[str, Any]) -> Tests:
    """The row's tests. Raises `ValueError` saying what is wrong with them; nothing in them is run."""
    tests = meta.get("tests")
    if not isinstance(tests, dict) or tests.get("type") not in ("stdin", "assert"):
        raise ValueError("meta: 'tests' needs type 'stdin' or 'assert'")
    key = "cases" if tests["type"] == "stdin" else "code"
    entries = tests.get(key)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"meta: tests: {key!r} needs a list that is not empty")
    if key == "code":
        entry_point = tests.get("entry_point")
        return Tests(asserts=tuple(_read_assert(n, text, entry_point) for n, text in enumerate(entries, 1)))
    for number, case in enumerate(entries, 1):
        fields = [case.get("input"), case.get("output")] if isinstance(case, dict) else [None]
        if not all(isinstance(field, str) and _encodes(field) for field in fields):
            raise ValueError(f"meta: test {number}: 'input' and 'output' need to be strings")
    return Tests(cases=tuple((case["input"], case["output"]) for case in entries))


def _encodes(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _read_assert(number: int, text: Any, entry_point: str | None) -> dict[str, Any]:
    """A test with the names it takes from the program and the modules it uses without importing them."""
    if not isinstance(text, str) or not _encodes(text):
        raise ValueError(f"meta: test {number} is not a string")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"meta: test {number} does not compile: {error}") from error
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    loaded = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)):
            bound.add(node.name or "")
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    # names that only stand before a dot, as `math` in `math.isclose`, may be modules
    bases = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    plain = {name.id for name in names if name not in bases}
    free = {name for name in loaded - bound if not hasattr(builtins, name)}
    modules = {name for name in free - plain if name in sys.stdlib_module_names}
    if entry_point in loaded - bound:
        free.add(str(entry_point))
        modules.discard(str(entry_point))
    if not free - modules:
        raise ValueError(f"meta: test {number} asks nothing of the program")
    if not any(isinstance(node, ast.Assert) for node in nodes):
        raise ValueError(f"meta: test {number} asserts nothing")
    return {"code": text, "names": sorted(free - modules), "modules": sorted(modules)}


def _judge(answer: str, meta: dict[str, Any], limits: Limits) -> Verdict:
    try:
        tests = tests_of(meta)
    except ValueError as error:
        return Verdict("bad_gold", None, clip(str(error)))
    program, reason = program_of(answer)
    if program is None:
        return Verdict("unparseable", None, clip(reason))
    outcomes = _run_cases(program, tests, limits) if tests.cases else _run_asserts(program, tests, limits)
    if isinstance(outcomes, str):
        return Verdict("unparseable", None, clip(outcomes))
    passed, total = outcomes.count(""), len(tests)
    value = f"{passed}/{total}"
    if passed == total:
        return Verdict("correct", value, "")
    first = next(index for index, why in enumerate(outcomes) if why)
    reason = f"{passed} of {total} tests passed; first failure: test {first + 1}: {outcomes[first]}"
    return Verdict("timeout" if outcomes[first] == _TIMED_OUT else "wrong", value, clip(reason))


def _run_cases(program: str, tests: Tests, limits: Limits) -> list[str] | str:
    """Why each case failed, "" where it passed; cut short by a time-out. A string: the program is no Python."""
    outcomes: list[str] = []
    for given, expected in tests.cases:
        result = sandbox.run(program, given, limits)
        if result.ended == "refused":
            return result.stderr
        outcomes.append(_case_failure(result, expected, limits))
        if result.ended == "timeout":
            break
    return outcomes


def _case_failure(result: sandbox.Result, expected: str, limits: Limits) -> str:
    if result.ended == "timeout":
        return _TIMED_OUT
    if result.ended == "output":
        return f"more than {limits.output_bytes} bytes of output"
    if result.exit_code:
        last = (result.stderr.strip().splitlines() or [""])[-1]
        return f"exit status {result.exit_code}" + (f": {quote(last, 80)}" if last else "")
    got, wanted = _stripped(result.stdout.decode("utf-8", "replace")), _stripped(expected)
    if got == wanted:
        return ""
    for line, (ours, theirs) in enumerate(zip(wanted, got, strict=False), 1):
        if ours != theirs:
            return f"line {line}: expected {quote(ours, _COMPARISON_CHARS)}, got {quote(theirs, _COMPARISON_CHARS)}"
    return f"expected {len(wanted)} lines, got {len(got)}"


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _run_asserts(program: str, tests: Tests, limits: Limits) -> list[str] | str:
    """Why each assert test failed, as `_run_cases` says it; a program that ends is started again for those left."""
    outcomes: list[str] = []
    while len(outcomes) < len(tests):
        left = tests.asserts[len(outcomes) :]
        got = _run_pair(program, left, limits)
        if isinstance(got, str):
            return got
        outcomes += got or ["the tests' process ended"]
        if outcomes[-1] == _TIMED_OUT:
            break
    return outcomes


def _run_pair(program: str, tests: tuple[dict[str, Any], ...], limits: Limits) -> list[str] | str:
    """Outcomes of the first tests, up to the one in which either process ended."""
    outcomes: list[str] = []
    with contextlib.ExitStack() as stack:
        report, write_report = os.pipe()
        stack.callback(os.close, report)
        with contextlib.ExitStack() as passed:
            passed.callback(os.close, write_report)
            asking, answering = (passed.enter_context(end).fileno() for end in socket.socketpair())
            solution = Box("solution", program, limits, fds=(answering,), tests=len(tests))
            stack.enter_context(solution)
            judge = Box("tests", json.dumps(tests), limits, fds=(asking, write_report), tests=len(tests))
            stack.enter_context(judge)
        if problem := solution.ready():
            return problem
        judge.ready()
        try:
            for line in sandbox.lines(report, limits.wall_seconds):
                said = json.loads(line)
                outcomes.append("" if said["ok"] else quote(said["why"], 120))
        except TimeoutError:
            outcomes.append(_TIMED_OUT)
    return outcomes
