"""The grader pool's worker processes: a nursery that imports once and forks them, and what runs in each of them.

The nursery imports what the judge needs once (sympy: a second or more) and then only forks, kills and reaps, so a
worker that hung is replaced in milliseconds. It is started by `subprocess` rather than `multiprocessing`: a spawned
child would import the caller's main module again, and with it torch. It has one thread, so forking it is safe, and
each worker judges in its main thread.

No process is orphaned: the nursery ends its workers and itself when its connection closes or its parent changes. A
worker ends when its own connection closes, when the nursery dies (Linux) and, while it computes, by an alarm whose
default action is death by the kernel.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from importlib import import_module
from multiprocessing import Pipe, reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from r1rl.ground.errors import RunFailedError
from r1rl.verify.verdict import Verdict, clip

START_TIMEOUT_SECONDS = 120.0
"""The import of sympy from a cold network disk takes long; a start is not an item."""

SOCKET_BYTES = 256 << 10
"""Asked for as send buffers: they hold what is in flight, so sending to a worker that hangs does not hang."""

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0  # how often the nursery looks whether its parent still lives
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_BOOT = """
import json, sys
judge, root, parent, limits = json.loads(sys.argv[1])
sys.path.insert(0, root)
from r1rl.verify.nursery import Limits, serve
serve(judge, parent, Limits(*limits))
"""

Judge = Callable[..., Verdict]
Prepare = Callable[..., object]


@dataclass(frozen=True)
class Limits:
    """Wall-clock seconds of an item and of a batch's late items; memory in bytes; items until a worker is replaced.

    `prepare_seconds` is not 0 where the judge's module has `prepare(*item)`: what an item needs that has nothing to do
    with its answer. It has that time before the item's clock starts.
    """

    item_seconds: float = 3.0
    batch_seconds: float = 4.0
    memory_bytes: int = 1 << 30
    resident_bytes: int = 512 << 20
    items_per_worker: int = 1000
    prepare_seconds: float = 0.0


def encode(message: Any) -> bytes:
    """JSON that keeps lone surrogates as they are; escaped, two in a row would be read as one character."""
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(message: bytes) -> Any:
    """The message that `encode` was given."""
    return json.loads(message.decode("utf-8", "surrogatepass"))


class Nursery:
    """The pool's handle on a nursery for `judge` ("module:function").

    Raises `RunFailedError` where the nursery cannot be started.
    """

    def __init__(self, judge: str, limits: Limits) -> None:
        if not hasattr(os, "fork"):
            raise RunFailedError(f"{judge}: the grader pool needs a POSIX system; try Linux, macOS or WSL")
        self._control, theirs = Pipe()
        with theirs:
            # -c and an explicit path: a script in this folder would put its math.py before the standard library's
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps([judge, _PACKAGE_ROOT, os.getpid(), astuple(limits)])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # the LaTeX parser prints every syntax error of the model
                # sympy orders by hash: same verdict in every process; nothing imported from the current folder
                env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C is for the trainer, which closes the pool itself
            )
        self.pid = self._process.pid
        try:
            problem = self._reply()
        except (EOFError, OSError) as error:
            problem = f"no sign of life: {error}"
        if problem:
            self.end()
            raise RunFailedError(f"{judge} cannot be started: {problem}")

    def fork(self) -> tuple[int, Connection]:
        """The process id of a new worker and the connection to it. Raises `EOFError` or `OSError` if there is none."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            self._control.send(None)
            reduction.send_handle(self._control, theirs.fileno(), self.pid)
            if pid := self._reply():
                return pid, Connection(ours.detach())
        raise OSError("the system forks no process")

    def _reply(self) -> Any:
        if not self._control.poll(START_TIMEOUT_SECONDS):
            raise TimeoutError(f"no answer within {START_TIMEOUT_SECONDS:g} s")
        return self._control.recv()

    def kill(self, pid: int) -> None:
        """Kill a worker, if it still runs."""
        with contextlib.suppress(OSError):
            self._control.send(pid)

    def end(self) -> None:
        """End the nursery and its workers."""
        self._control.close()  # it kills its workers, then itself
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """Close the connection in a forked child, or the nursery would not notice the death of the parent."""
        self._control.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for


def serve(judge_name: str, parent_pid: int, limits: Limits) -> None:
    """The nursery, with its connection as standard input; returns when the pool is gone.

    `judge_name` is "module:function"; the module may have a `warm_up()` that pays lazy imports before any clock.
    What the pool sends is the process id of a worker to kill, or None and a connection for a new worker; the answer
    to the latter is its process id, 0 if the fork failed.
    """
    control = Connection(os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        _limit_process(limits.memory_bytes)
        module_name, _, function_name = judge_name.partition(":")
        module = import_module(module_name)
        judge: Judge = getattr(module, function_name)
        prepare = module.prepare if limits.prepare_seconds else None
        getattr(module, "warm_up", lambda: None)()
    except Exception as error:  # reported to the pool, which raises
        control.send(clip(f"{type(error).__name__}: {error}"))
        return
    control.send("")
    gc.collect()
    gc.freeze()  # the forks share these pages for as long as no collector writes to them
    children: set[int] = set()
    try:
        while os.getppid() == parent_pid:
            told = control.poll(_WATCH_SECONDS)
            # only a worker that was not reaped is killed: the id of another may be some other process's by now
            children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}
            if not told:
                continue
            if (doomed := control.recv()) is None:
                pid = _fork(control, judge, prepare, limits)
                children |= {pid} - {0}
                control.send(pid)
            elif doomed in children:
                os.kill(doomed, signal.SIGKILL)
    except (EOFError, OSError):
        pass  # the pool is gone
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _limit_process(memory_bytes: int) -> None:
    """Limits that the forks inherit, where the platform has them."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # out of memory, the kernel should take a grader, never the trainer


def _fork(control: Connection, judge: Judge, prepare: Prepare | None, limits: Limits) -> int:
    """A new worker on the connection that the pool sends: its process id, 0 if the system forks none."""
    descriptor, nursery_pid = reduction.recv_handle(control), os.getpid()
    with contextlib.closing(Connection(descriptor)) as pool:
        try:
            pid = os.fork()
        except OSError:
            return 0
        if pid:
            return pid
        try:
            control.close()
            _die_with(nursery_pid)
            _work(pool, judge, prepare, limits)
        finally:
            os._exit(0)


def _die_with(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies. Sound only because the parent has one thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent_pid:  # it died before the call
            os._exit(1)


def _work(pool: Connection, judge: Judge, prepare: Prepare | None, limits: Limits) -> None:
    """One worker: each message is an item, answered at once, until the pool is gone or the worker is worn out."""
    served, last = 0, False
    with contextlib.suppress(EOFError, OSError):
        while not last:
            item = decode(pool.recv_bytes())
            if prepare:
                signal.setitimer(signal.ITIMER_REAL, limits.prepare_seconds + 1.0)
                with contextlib.suppress(Exception):  # the judge meets it again, and says so
                    prepare(*item)
                pool.send_bytes(encode({"prepared": True}))
            signal.setitimer(signal.ITIMER_REAL, limits.item_seconds + 1.0)
            reply = _judge(judge, item)
            signal.setitimer(signal.ITIMER_REAL, 0)
            served += 1
            # after an error or a time-out the process is not to be trusted with another item
            spoiled = reply.get("status", "timeout") == "timeout"
            last = spoiled or served >= limits.items_per_worker or _peak_bytes() > limits.resident_bytes
            pool.send_bytes(encode(reply | {"last": last}))


def _judge(judge: Judge, item: list[Any]) -> dict[str, Any]:
    """The reply to one item."""
    try:
        verdict = judge(*item)
    except MemoryError:
        verdict = Verdict("timeout", None, "out of memory")
    except RecursionError:
        verdict = Verdict("timeout", None, "nested too deep")
    except Exception as error:  # a bug of the judge: the pool raises it
        return {"error": clip(f"{type(error).__name__}: {error}")}
    return {"status": verdict.status, "value": verdict.value, "reason": verdict.reason}


def _peak_bytes() -> int:
    """Most memory that this process has had resident."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
