"""Run a model's Python program where it can do no harm: bubblewrap, resource limits, a system-call filter.

What holds what:

- No network, no other processes in sight, no host name: new user, pid, net, ipc, uts and cgroup namespaces, no
  capabilities. The filter refuses `socket` too.
- No files: a read-only root that holds Python's executable, its standard library (without site-packages), the
  folders of the shared libraries it loads and /dev/null; a scratch tmpfs of `scratch_bytes` at /tmp. No /proc,
  /etc, home, shell. The environment is empty.
- One process: the filter refuses fork, vfork and clone without CLONE_THREAD, so there is no fork bomb and no
  daemon. RLIMIT_NPROC bounds the threads. It does not bind root's user id, in whatever namespace, so as root the
  sandbox runs under user id 65534 (by `setpriv`). Before Linux 5.14 it counts the user's processes outside too.
- Memory: RLIMIT_AS of the one process; memfd, System V and POSIX queue memory are refused.
- Time: RLIMIT_CPU, and the wall clock from outside, which kills the program. It is process 1 of its pid namespace,
  so nothing in there outlives it, and `Box.close` waits until the kernel is done.
- Output: read up to `output_bytes`, then killed. RLIMIT_FSIZE, RLIMIT_NOFILE, no core dumps.
- No orphans: bwrap dies with the thread that started it and the program with bwrap; the filter keeps it so.

Not held: the number of empty files in the scratch folder, which CPU time alone bounds (about 75,000 a second, 1 KB
of kernel memory each); the load on caches and memory bandwidth; holes in the kernel.
"""

import contextlib
import fcntl
import json
import math
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from r1rl.verify import sandbox_layout, seccomp
from r1rl.verify.verdict import clip

START_TIMEOUT_SECONDS = 60.0
"""Until bwrap and Python are up; a start on a loaded machine is not the program's fault."""

STDERR_BYTES = 2000
"""How much of the end of the standard error is kept."""

_GUEST = (Path(__file__).parent / "code_guest.py").read_text(encoding="utf-8")
_SELF_TEST = "import threading as t; t.Thread(target=print, args=(6 * 7,)).start()"
_F_ADD_SEALS = 1033  # Python's fcntl has its name only where it was built against new headers
_SEALS = 0xF  # F_SEAL_SEAL | SHRINK | GROW | WRITE
_lock = threading.Lock()
_ready_command: list[str] = []


class SandboxError(RuntimeError):
    """The sandbox cannot be set up here; nothing was run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process in the sandbox may use; the seconds are per test, from when Python is up.

    Raises `ValueError` for limits that no program could keep.
    """

    wall_seconds: float = 10.0
    cpu_seconds: float = 5.0
    memory_bytes: int = 512 << 20
    scratch_bytes: int = 16 << 20
    output_bytes: int = 1 << 20
    threads: int = 32
    open_files: int = 64

    def __post_init__(self) -> None:
        least = {"wall_seconds": 0.1, "cpu_seconds": 0.1, "memory_bytes": 64 << 20, "scratch_bytes": 4096}
        for name, value in {**least, "output_bytes": 1, "threads": 1, "open_files": 16}.items():
            if not value <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: need at least {value:g} and a finite number")

    def as_rlimits(self, tests: int = 1) -> dict[str, int]:
        """Values by the names of RLIMIT_*; CPU time, in whole seconds, for `tests` tests in one process."""
        return {
            "CPU": math.ceil(self.cpu_seconds) * tests,
            "AS": self.memory_bytes,
            "STACK": min(64 << 20, self.memory_bytes // 4),
            "NPROC": self.threads + 1,
            "NOFILE": self.open_files,
            "FSIZE": self.scratch_bytes,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
            "SIGPENDING": 64,
        }


class Result(NamedTuple):
    """How a program ended. "refused": it never ran because it is no Python, `stderr` says why."""

    ended: Literal["exited", "timeout", "output", "refused"]
    exit_code: int | None
    stdout: bytes
    stderr: str


def require() -> None:
    """Raise `SandboxError`, saying what to do, where programs cannot be sandboxed. Cheap once it has passed."""
    with _lock:
        if _ready_command:
            return
        try:
            before = sandbox_layout.programs()
        except RuntimeError as error:
            raise SandboxError(f"no sandbox: {error}") from error
        problems = []
        for python in sandbox_layout.pythons():
            try:
                command = [*sandbox_layout.command(before, python), python]
                result = _run(command, _SELF_TEST, "", Limits(wall_seconds=START_TIMEOUT_SECONDS, cpu_seconds=30.0))
            except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
                problems.append(f"with {python}: {error}")
                continue
            if (result.exit_code, result.stdout) == (0, b"42\n"):
                _ready_command[:] = command
                return
            problems.append(f"with {python}: {result.ended}, exit status {result.exit_code}: {result.stderr[-300:]}")
        hint = "try bubblewrap 0.8 or later, a Python outside closed folders, and user namespaces "
        hint += "(sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
        raise SandboxError(f"no sandbox: {'; '.join(problems)}; {hint}")


def run(source: str, stdin: str = "", limits: Limits | None = None) -> Result:
    """Run `source` as a program with `stdin`. Raises `SandboxError`; never runs it outside."""
    require()
    return _run(_ready_command, source, stdin, limits or Limits())


def _run(command: list[str], source: str, stdin: str, limits: Limits) -> Result:
    with Box("program", source, limits, stdin=stdin, command=command) as box:
        if problem := box.ready():
            return Result("refused", None, b"", problem)
        started = time.monotonic()
        ended = box.pump(started + limits.wall_seconds)
        code = box.exit_code() if ended == "exited" else None
        if code == 128 + signal.SIGKILL and time.monotonic() - started >= 0.9 * limits.cpu_seconds:
            ended = "timeout"  # by RLIMIT_CPU
        return Result(ended, code, bytes(box.stdout), box.stderr.decode("utf-8", "replace"))


class Box(contextlib.AbstractContextManager["Box"]):
    """One running sandbox, a context manager that leaves no process behind.

    Roles as in `code_guest`. `fds` are passed on under their own numbers, and their numbers to the guest. `tests`
    is how many tests share the process and so add up in its CPU time. Raises `SandboxError` if it cannot start.
    """

    def __init__(
        self,
        role: Literal["program", "solution", "tests"],
        source: str,
        limits: Limits,
        *,
        stdin: str = "",
        fds: tuple[int, ...] = (),
        tests: int = 1,
        command: list[str] | None = None,
    ) -> None:
        if command is None:
            require()
        *before, python = command or _ready_command
        self.limits = limits
        self.stdout, self.stderr = bytearray(), bytearray()
        self._open = contextlib.ExitStack()  # what stays open until `close`
        with contextlib.ExitStack() as passed:
            ends = [_pipe(self._open, passed) for _ in range(4)]
            (self._out, self._error, self._status, info), (out, error, write_status, write_info) = zip(
                *ends, strict=True
            )
            bpf = _sealed(seccomp.filter_program(), passed)
            program, given = _sealed(source.encode(), passed), _sealed(stdin.encode(), passed)
            options = [*before, "--size", limits.scratch_bytes, "--tmpfs", "/tmp", "--chdir", "/tmp"]
            options += ["--remount-ro", "/", "--seccomp", bpf, "--info-fd", write_info]
            options += ["--", python, "-I", "-S", "-B", "-X", "utf8"]
            guest = ["-c", _GUEST, role, json.dumps(limits.as_rlimits(tests)), program, write_status, *fds]
            try:
                self._process = subprocess.Popen(
                    [str(word) for word in options + guest],
                    stdin=given,
                    stdout=out,
                    stderr=error,
                    env={},
                    pass_fds=(bpf, program, write_status, write_info, *fds),
                )
            except OSError as problem:
                self._open.close()
                raise SandboxError(f"no sandbox: {problem}") from problem
        self._ends = [_pidfd(self._process.pid, self._open)]
        try:
            if first := re.search(rb'"child-pid": (\d+)', _read_some(info)):
                self._ends.append(_pidfd(int(first[1]), self._open))
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: Any) -> None:
        self.close()

    def ready(self) -> str:
        """Wait until the guest is about to run the source: "", or why it is no Python. Raises `SandboxError`."""
        said = _read_some(self._status)
        if said == b"ready":
            return ""
        if not said:
            self.kill()
            self.pump(time.monotonic() + START_TIMEOUT_SECONDS)
            raise SandboxError(f"no sandbox: {clip(self.stderr.decode('utf-8', 'replace').strip()) or 'no start'}")
        return clip(said.decode("utf-8", "replace"))

    def pump(self, deadline: float) -> Literal["exited", "timeout", "output"]:
        """Read the outputs until the program ends; kill it at the `deadline` (monotonic) or past the limit."""
        end, total = self._ends[0], 0
        waiting = {self._out, self._error, end}
        while True:
            ready = _poll(waiting, deadline)
            if not ready:
                self.kill()
                return "timeout"
            for fd in ready - {end}:
                data = os.read(fd, 1 << 16)
                total += len(data)
                if not data:
                    waiting.discard(fd)
                elif fd == self._out:
                    self.stdout += data
                else:
                    self.stderr = (self.stderr + data)[-STDERR_BYTES:]
            if total > self.limits.output_bytes:
                self.kill()
                return "output"
            if ready == {end}:
                return "exited"  # and nothing is left to read

    def exit_code(self) -> int:
        """The program's exit status; 128 + the signal that killed it. Only after it ended."""
        code = self._process.wait(START_TIMEOUT_SECONDS)
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """Kill the program; bwrap ends after it. Without a known program, bwrap, and with it the program."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._ends[-1], signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs and wait until the kernel has removed it all."""
        self.kill()
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        for pidfd in reversed(self._ends):
            if not _poll({pidfd}, deadline):
                self._process.kill()
                raise SandboxError("a killed sandbox does not end")
        self._process.wait()
        self._open.close()


def lines(fd: int, seconds: float) -> Iterator[bytes]:
    """Lines read from `fd` until it ends; raises `TimeoutError` where one takes longer than `seconds`."""
    rest, deadline = b"", time.monotonic() + seconds
    while _poll({fd}, deadline):
        data = os.read(fd, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
            deadline = time.monotonic() + seconds
    raise TimeoutError


def _poll(fds: set[int], deadline: float) -> set[int]:
    """The descriptors that have something to say, none past the deadline. `select` would fail above 1023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}


def _read_some(fd: int) -> bytes:
    """The first words on a pipe, b"" if it is closed without any or silent for too long."""
    return os.read(fd, 4096) if _poll({fd}, time.monotonic() + START_TIMEOUT_SECONDS) else b""


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def _pidfd(pid: int, stack: contextlib.ExitStack) -> int:
    """A handle that cannot come to mean another process; of one that is gone, that of an ended pipe."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        pidfd, gone = os.pipe()
        os.close(gone)
    stack.callback(os.close, pidfd)
    return pidfd


def _sealed(data: bytes, stack: contextlib.ExitStack) -> int:
    """An unchangeable file in memory: no pipe to feed, nothing on disk, nothing for the program to grow."""
    fd = os.memfd_create("r1rl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    return fd
