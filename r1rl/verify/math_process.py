"""math-verify in one killable process, started at first use.

sympy can run for ever, or for minutes inside one C call where no signal handler of Python's runs. So the time
limit is kept from outside: the process is killed, a new one serves the next item. `subprocess` rather than
`multiprocessing`: a spawned child would import the caller's main module again, and with it torch.

No orphan: the process ends when its pipe is closed, and an item's own alarm (default action: death by the
kernel) ends it while it computes after its parent was killed.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from r1rl.verify.verdict import Verdict, clip

START_TIMEOUT_SECONDS = 120.0
"""sympy's import from a cold network disk takes long; a start is not an item."""

MEMORY_LIMIT_BYTES = 2 << 30
"""Address space of the process, where the platform has RLIMIT_AS."""

_PACKAGE_ROOT = str(Path(__file__).parents[2])
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from r1rl.verify.math_process import serve; serve()"


class MathProcess:
    """A lazily started process that compares (answer, gold) pairs of LaTeX, one at a time.

    Safe to use from several threads (they queue) and after a fork (the child starts its own process).
    """

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.starts = 0  # how often a process was started: 1 + the number of deaths
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Connection | None = None
        self._replies: Connection | None = None
        self._owner = 0
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Process id, None if none runs."""
        return self._process.pid if self._process else None

    def verify_many(self, pairs: list[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (answer, gold), in order. Raises `RuntimeError` if no process can be started."""
        with self._lock:
            return [self._verify(answer, gold) for answer, gold in pairs]

    def close(self) -> None:
        """Kill the process, if this one started it."""
        if self._process and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        for connection in (self._requests, self._replies):
            if connection:
                with contextlib.suppress(OSError):
                    connection.close()
        self._process = self._requests = self._replies = None

    def _verify(self, answer: str, gold: str) -> Verdict:
        item = {"answer": answer, "gold": gold, "timeout_seconds": self.timeout_seconds}
        request = json.dumps(item).encode()
        for _ in range(2):  # a process that was killed from outside is no fault of this item; twice is
            self._ensure_started()
            assert self._requests is not None
            assert self._replies is not None
            try:
                self._requests.send_bytes(request)
                if self._replies.poll(self.timeout_seconds):
                    reply = json.loads(self._replies.recv_bytes())
                    return Verdict(reply["status"], reply["value"], reply["reason"])
            except (EOFError, OSError):
                self.close()
            else:
                self.close()
                return Verdict("timeout", None, f"no result within {self.timeout_seconds:g} s")
        return Verdict("timeout", None, "the process died on this item")

    def _ensure_started(self) -> None:
        if self._process and self._owner == os.getpid() and self._process.poll() is None:
            return
        self.close()
        # -c and an explicit path: a script in this folder would put its math.py before the standard library's
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, _PACKAGE_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the LaTeX parser prints every syntax error of the model
            bufsize=0,
            # sympy orders by hash: same verdict in every process; nothing imported from the current folder
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # Ctrl-C is for the trainer, which closes this process itself
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._owner = os.getpid()
        self.starts += 1
        self._requests = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._replies = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()
        problem = f"no sign of life within {START_TIMEOUT_SECONDS:g} s"
        with contextlib.suppress(EOFError, OSError):
            if self._replies.poll(START_TIMEOUT_SECONDS):
                problem = json.loads(self._replies.recv_bytes())["problem"]
        if problem:
            self.close()
            raise RuntimeError(f"math-verify cannot be started: {problem}; try: pip install math-verify")


def serve() -> None:
    """The process: read requests until the pipe is closed. Runs in its main thread."""
    requests = Connection(os.dup(0), writable=False)
    replies = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # nothing that a library prints may reach the pipe
    try:
        import logging
        import signal

        with contextlib.suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _compare("\\frac{1}{2}", "0.5")  # pay sympy's lazy imports before the first item's clock starts
        logging.disable(logging.CRITICAL)
    except Exception as error:  # reported to the parent, which raises
        replies.send_bytes(json.dumps({"problem": clip(f"{type(error).__name__}: {error}")}).encode())
        return
    replies.send_bytes(json.dumps({"problem": ""}).encode())
    while True:
        try:
            request = json.loads(requests.recv_bytes())
        except (EOFError, OSError):
            return
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, request["timeout_seconds"] + 1.0)
        reply = _compare(request["answer"], request["gold"])
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        replies.send_bytes(json.dumps(reply).encode())


def _compare(answer: str, gold: str) -> dict[str, Any]:
    r"""Parse both as the content of one `\boxed{}`, so that no part of the text can be picked as the answer.

    Tracks math-verify 0.9: time-outs off (`None`), the parent keeps the clock; `parse` returns [] where it
    fails.
    """
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import nan, zoo

    config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]

    def read(text: str) -> list[Any]:
        found: list[Any] = parse(
            f"\\boxed{{{text}}}", extraction_config=config, fallback_mode="no_fallback", parsing_timeout=None
        )
        return found

    wanted = read(gold)
    if not wanted or wanted[0] in (nan, zoo):  # 1/0 parses
        return {"status": "bad_gold", "value": None, "reason": "gold: math-verify cannot read it"}
    given = read(answer)
    if not given:
        return {"status": "unparseable", "value": None, "reason": "math-verify cannot read it"}
    same = verify(wanted, given, timeout_seconds=None)
    value = clip(str(given[0]))
    reason = "" if same else clip(f"{value[:80]} is not {str(wanted[0])[:80]}")
    return {"status": "correct" if same else "wrong", "value": value, "reason": reason}
