"""The grader pool's worker processes: a nursery that imports once and forks them, and what runs in each.

The nursery imports sympy once (a second or more) and then only forks, kills and reaps, so a worker that hung is
replaced in milliseconds. It is started by `subprocess` rather than `multiprocessing`: a spawned child would import
the caller's main module again, and with it torch. It has one thread, so forking it is safe, and each worker judges
in its main thread.

No orphan: the nursery ends its workers and itself when its socket closes or its parent changes; a worker ends when
its own socket closes, when the nursery dies (Linux) and, while it computes, by an alarm whose default action is
death by the kernel.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from r1rl.verify.verdict import Verdict, clip

START_TIMEOUT_SECONDS = 120.0
"""sympy's import from a cold network disk takes long; a start is not an item."""

SOCKET_BYTES = 256 << 10
"""Asked for as a worker's send buffers."""

_COMMAND = struct.Struct("<cI")  # what the nursery is told, and the pool's number for the worker
_FORK, _KILL = b"F", b"K"
_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0  # how often the nursery looks whether its parent still lives
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_BOOT = """
import json, sys
judge, root, parent, limits = json.loads(sys.argv[1])
sys.path.insert(0, root)
from r1rl.verify.nursery import WorkerLimits, serve
serve(judge, parent, WorkerLimits(*limits))
"""

Judge = Callable[..., Verdict]


def starved_seconds(pid: int) -> float:
    """How long a process was ready to run and had no core; 0 where the platform does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def encode(message: Any) -> bytes:
    """JSON that keeps lone surrogates as they are; escaped, two in a row would be read as one character."""
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(message: bytes) -> Any:
    """What `encode` was given."""
    return json.loads(message.decode("utf-8", "surrogatepass"))


class WorkerLimits(NamedTuple):
    """What a worker keeps by itself: address space and resident memory in bytes, items, seconds an item."""

    memory_bytes: int
    resident_bytes: int
    items: int
    alarm_seconds: float


class Nursery:
    """The pool's handle on a nursery for `judge` ("module:function").

    Raises `RuntimeError` where it cannot be started.
    """

    def __init__(self, judge: str, limits: WorkerLimits) -> None:
        if not hasattr(os, "fork"):
            raise RuntimeError(f"{judge}: the grader pool needs a POSIX system; try Linux, macOS or WSL")
        self._control, theirs = socket.socketpair()
        with theirs:
            # -c and an explicit path: a script in this folder would put its math.py before the standard library's
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps([judge, _PACKAGE_ROOT, os.getpid(), limits])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # the LaTeX parser prints every syntax error of the model
                # sympy orders by hash: same verdict in every process; nothing imported from the current folder
                env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C is for the trainer, which closes the pool itself
            )
        self.pid = self._process.pid
        problem = f"no sign of life within {START_TIMEOUT_SECONDS:g} s"
        hello = Connection(os.dup(self._control.fileno()))
        with contextlib.closing(hello), contextlib.suppress(EOFError, OSError):
            if hello.poll(START_TIMEOUT_SECONDS):
                problem = decode(hello.recv_bytes())["problem"]
        if problem:
            self.end()
            raise RuntimeError(f"{judge} cannot be started: {problem}; try: pip install math-verify")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def fork(self, number: int) -> Connection:
        """A new worker's end of its connection; it closes if the fork fails. Raises `OSError` without a nursery."""
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            socket.send_fds(self._control, [_COMMAND.pack(_FORK, number)], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Connection(ours.detach())

    def kill(self, number: int) -> None:
        """Kill a worker, if it still runs."""
        with contextlib.suppress(OSError):
            self._control.sendall(_COMMAND.pack(_KILL, number))

    def end(self) -> None:
        """End the nursery and its workers."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # it kills its workers, then itself
        self._control.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """Close the socket in a forked child, or the parent's death would go unnoticed by the nursery."""
        self._control.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for


def serve(judge_name: str, parent_pid: int, limits: WorkerLimits) -> None:
    """The nursery, on the socket that is its standard input; returns when the pool is gone.

    `judge_name` is "module:function"; the module may have a `warm_up()` that pays lazy imports before any clock.
    """
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        _limit_process(limits.memory_bytes)
        module_name, _, function_name = judge_name.partition(":")
        module = import_module(module_name)
        judge: Judge = getattr(module, function_name)
        getattr(module, "warm_up", lambda: None)()
        problem = ""
    except Exception as error:  # reported to the pool, which raises
        problem = clip(f"{type(error).__name__}: {error}")
    hello = Connection(os.dup(control.fileno()))
    hello.send_bytes(encode({"problem": problem}))
    hello.close()
    if problem:
        return
    gc.collect()
    gc.freeze()  # the forks share these pages for as long as no collector writes to them
    children: dict[int, int] = {}
    try:
        while os.getppid() == parent_pid:
            ready = select.select([control], [], [], _WATCH_SECONDS)[0]
            _reap(children)
            if ready and not _obey(control, children, judge, limits):
                return
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)


def _limit_process(memory_bytes: int) -> None:
    """Limits that the forks inherit, where the platform has them."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # out of memory, the kernel should take a grader, never the trainer


def _obey(control: socket.socket, children: dict[int, int], judge: Judge, limits: WorkerLimits) -> bool:
    """Carry out one command; False when the pool is gone."""
    try:
        message, descriptors, _, _ = socket.recv_fds(control, _COMMAND.size, 1, socket.MSG_WAITALL)
    except OSError:
        return False
    if len(message) < _COMMAND.size:
        return False
    command, number = _COMMAND.unpack(message)
    if command == _KILL:
        if number in children:  # not reaped yet, so the id is still this worker's
            os.kill(children[number], signal.SIGKILL)
        return True
    nursery_pid = os.getpid()
    with contextlib.suppress(OSError):  # no fork: the pool sees the socket close
        children[number] = os.fork()
        if not children[number]:
            status = 1
            try:
                control.close()
                _die_with(nursery_pid)
                _work(Connection(descriptors[0]), judge, limits)
                status = 0
            finally:
                os._exit(status)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _reap(children: dict[int, int]) -> None:
    for number, pid in list(children.items()):
        if os.waitpid(pid, os.WNOHANG)[0]:
            del children[number]


def _die_with(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies. Sound only because the parent has one thread."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent_pid:  # it died before the call
            os._exit(1)


def _work(pool: Connection, judge: Judge, limits: WorkerLimits) -> None:
    """One worker: messages are lists of items, each answered at once, until the pool is gone or it is recycled."""
    served = 0
    with contextlib.suppress(EOFError, OSError):
        pool.send_bytes(encode({"pid": os.getpid()}))
        while True:
            for item in decode(pool.recv_bytes()):
                signal.setitimer(signal.ITIMER_REAL, limits.alarm_seconds)
                reply, spoiled = _judge(judge, item)
                signal.setitimer(signal.ITIMER_REAL, 0)
                served += 1
                reply["last"] = spoiled or served >= limits.items or _peak_bytes() > limits.resident_bytes
                pool.send_bytes(encode(reply))
                if reply["last"]:
                    return


def _judge(judge: Judge, item: list[Any]) -> tuple[dict[str, Any], bool]:
    """The reply to one item, and whether the process should not be trusted with another."""
    try:
        verdict = judge(*item)
    except MemoryError:
        verdict = Verdict("timeout", None, "out of memory")
    except RecursionError:
        verdict = Verdict("timeout", None, "nested too deep")
    except Exception as error:  # a bug of the judge: the pool raises it
        return {"error": clip(f"{type(error).__name__}: {error}")}, True
    spoiled = verdict.status == "timeout"
    return {"status": verdict.status, "value": verdict.value, "reason": verdict.reason}, spoiled


def _peak_bytes() -> int:
    """Most memory that this process has had resident."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
