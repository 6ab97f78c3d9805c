"""The sandbox: what a hostile program may not do, and that nothing of it is left afterwards."""

import gc
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from r1rl.verify import sandbox, sandbox_layout, seccomp
from r1rl.verify.sandbox import Limits, SandboxError

needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
SMALL = Limits(wall_seconds=10.0, cpu_seconds=2.0, memory_bytes=256 << 20, output_bytes=100_000)
GENEROUS_SECONDS = 240.0


def in_other_pid_namespaces():
    """Processes outside this one's pid namespace: of a machine's, those that sandboxes hold."""
    ours, found = os.readlink("/proc/self/ns/pid"), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.readlink(entry / "ns/pid") != ours:
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def nothing_left():
    before = in_other_pid_namespaces()
    yield
    deadline = time.monotonic() + GENEROUS_SECONDS
    left = in_other_pid_namespaces() - before
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left &= in_other_pid_namespaces()  # sandboxes of other tests on this machine come and go
    assert not left


def attempt(statement):
    """A program that prints "open" if the statement works and "shut" if it raises."""
    return f"try:\n    {statement}\n    print('open')\nexcept BaseException:\n    print('shut')\n"


CONTAINED = [
    ("fork", "import os; os.fork()"),
    ("vfork and exec", "import subprocess; subprocess.run(['/usr/bin/python3'])"),
    ("posix_spawn", "import os, sys; os.posix_spawn(sys.executable, ['python'], {})"),
    ("multiprocessing", "import multiprocessing as m; p = m.Process(target=print); p.start(); assert p.pid"),
    ("a shell", "import os; assert os.system('true') == 0"),
    ("internet socket", "import socket; socket.socket()"),
    ("unix socket", "import socket; socket.socket(socket.AF_UNIX)"),
    ("netlink socket", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    ("name look-up", "import socket; socket.getaddrinfo('example.org', 80)"),
    ("environment", "import os; assert os.environ or os.environb"),
    (
        "the C library's environment",
        "import ctypes; assert ctypes.c_void_p.in_dll(ctypes.CDLL(None), 'environ').value "
        "and ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')[0]",
    ),
    ("home", "import os; os.listdir('/root') or os.listdir('/home')"),
    ("expanded home", "import os; assert os.path.isdir(os.path.expanduser('~'))"),
    ("/etc/passwd", "open('/etc/passwd').read()"),
    ("user database", "import pwd; pwd.getpwuid(0)"),
    ("/proc", "open('/proc/self/status').read()"),
    ("/sys", "import os; os.listdir('/sys')"),
    ("/dev/shm", "open('/dev/shm/x', 'w')"),
    ("a disk", "import os; os.open('/dev/sda', os.O_RDONLY)"),
    ("installed packages", "import pip"),
    ("the project", "import r1rl"),
    ("writing at the root", "open('/x', 'w')"),
    ("writing a folder at the root", "import os; os.mkdir('/x')"),
    ("writing into the library", "import os; open(os.path.dirname(os.__file__) + '/x.py', 'w')"),
    ("writing over the interpreter", "import sys; open(sys.executable, 'r+b')"),
    ("growing its own source", "import os; [os.write(fd, b'x') for fd in range(3, 60)]"),
    ("growing its input", "import os; os.ftruncate(0, 10**9)"),
    ("chroot", "import os; os.chroot('/tmp')"),
    ("new user namespace", "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0"),
    ("mount", "import ctypes; assert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0"),
    ("ptrace of its parent", "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0"),
    ("ptrace of itself", "import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0"),
    ("outliving its parent", "import ctypes; assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0"),
    ("reading another's memory", "import ctypes; assert ctypes.CDLL(None).process_vm_readv(1, 0, 0, 0, 0, 0) >= 0"),
    ("memory files", "import os; os.memfd_create('x')"),
    ("shared memory", "import ctypes; assert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0"),
    ("becoming root", "import os; os.setuid(0)"),
    ("more memory", "import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1))"),
    ("core dumps", "import resource as r; assert r.getrlimit(r.RLIMIT_CORE) != (0, 0)"),
    ("the host's name", "import os, sys; assert os.uname().nodename != 'sandbox'"),
    ("other processes", "import os; os.kill(next(pid for pid in range(2, 99) if pid != os.getpid()), 0)"),
    ("descriptors of the host", "import os; os.fstat(next(fd for fd in range(3, 60) if not os.fstat(fd) is None))"),
    ("filling the scratch folder", "open('/tmp/x', 'wb').write(bytes(17 << 20))"),
    ("filling it in parts", "[open(f'/tmp/{n}', 'wb').write(bytes(1 << 20)) for n in range(17)]"),
    ("many open files", "files = [open('/dev/null') for _ in range(80)]"),
    (
        "many threads",
        "import threading as t, time; t.stack_size(65536); "
        "[t.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(60)]",
    ),
]


@needs_bwrap
@pytest.mark.parametrize("statement", [pytest.param(code, id=name) for name, code in CONTAINED])
def test_it_is_shut(statement, nothing_left):
    result = sandbox.run(attempt(statement), limits=SMALL)
    assert (result.ended, result.stdout) == ("exited", b"shut\n"), result.stderr


@needs_bwrap
@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("open('/tmp/x', 'w').write('1'); assert open('x').read() == '1'", id="scratch files"),
        pytest.param("import tempfile; tempfile.TemporaryFile().write(b'1')", id="temporary files"),
        pytest.param("import decimal, heapq, itertools, re, numbers, bisect, sqlite3, ssl, lzma", id="library"),
        pytest.param("import asyncio; asyncio.run(asyncio.sleep(0))", id="asyncio, which needs a socket pair"),
        pytest.param("import threading as t; x = t.Thread(target=print); x.start(); x.join()", id="threads"),
        pytest.param("import os; assert os.urandom(4)", id="randomness"),
        pytest.param("assert len(bytes(100 << 20)) == 100 << 20", id="memory within the limit"),
        pytest.param("import sys; assert sys.stdin.encoding == 'utf-8'", id="UTF-8"),
        pytest.param("assert __name__ == '__main__'; import sys; assert sys.argv == ['solution.py']", id="main"),
    ],
)
def test_what_honest_programs_need_is_open(statement):
    result = sandbox.run(attempt(statement), limits=SMALL)
    assert result.stdout.endswith(b"open\n"), result


IGNORE = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
"""
STUBBORN = [
    ("ignoring signals", IGNORE + "import time\nwhile True: time.sleep(1)", {"timeout"}),
    ("ignoring signals, busy", IGNORE + "while True: pass", {"timeout"}),
    ("sleeping for ever", "import time; time.sleep(1e6)", {"timeout"}),
    ("computing for ever", "while True: pass", {"timeout"}),
    ("one endless C call", "10 ** 10 ** 9", {"timeout", "exited"}),
    ("closing its outputs and sleeping", "import os, time; os.close(1); os.close(2); time.sleep(1e6)", {"timeout"}),
    ("a thread that never ends", "import threading, time; threading.Thread(target=time.sleep, args=(1e6,)).start()",
     {"timeout"}),
    ("printing without end", "while True: print('x' * 1000)", {"output"}),
    ("complaining without end", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)", {"output"}),
    ("allocating without end", "x = []\nwhile True: x.append(bytes(1 << 20))", {"exited"}),
    ("a fork bomb", "import os\nwhile True: os.fork()", {"exited"}),
    ("a stubborn fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", {"timeout"}),
    ("a daemon", "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1e6)", {"exited"}),
    ("a thread bomb", "import threading as t, time\nwhile True: t.Thread(target=time.sleep, args=(1e6,)).start()",
     {"exited", "timeout"}),
    ("killing its parent", "import os, time\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\ntime.sleep(1e6)",
     {"timeout", "exited"}),
    ("killing everyone", "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(0, signal.SIGKILL)", {"exited"}),
    ("filling the disk for ever", "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))",
     {"exited"}),
    ("crashing the interpreter", "import ctypes; ctypes.string_at(0)", {"exited"}),
    ("endless recursion", "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", {"exited", "timeout"}),
]  # fmt: skip


@needs_bwrap
@pytest.mark.parametrize(
    ("program", "ends"), [pytest.param(program, ends, id=name) for name, program, ends in STUBBORN]
)
def test_it_ends_and_leaves_nothing(program, ends, nothing_left):
    # What ends by itself has all the time for that.
    wall_seconds = 1.5 if "timeout" in ends else 60.0
    limits = Limits(wall_seconds=wall_seconds, cpu_seconds=30.0, memory_bytes=256 << 20, output_bytes=100_000)
    started = time.monotonic()
    result = sandbox.run(program, limits=limits)
    assert result.ended in ends, result
    assert result.ended != "exited" or result.exit_code != 0
    assert len(result.stdout) <= limits.output_bytes + (1 << 16)
    assert len(result.stderr) <= sandbox.STDERR_BYTES
    assert time.monotonic() - started < GENEROUS_SECONDS


@needs_bwrap
def test_a_program_meets_its_input_and_its_exit_status_is_known():
    result = sandbox.run("import sys; print(input()); print('no', file=sys.stderr); sys.exit(3)", "hé\n")
    assert result == sandbox.Result("exited", 3, "hé\n".encode(), "no\n")
    assert sandbox.run("import ctypes; ctypes.string_at(0)").exit_code == 128 + signal.SIGSEGV


@needs_bwrap
@pytest.mark.parametrize("source", ["x = (", "\x00", "return 1", "(" * 5000, "x = 'unfinished", "-" * 60_000 + "1"])
def test_what_is_no_python_is_refused_inside(source):
    result = sandbox.run(source)
    assert result.ended == "refused"
    assert "Error" in result.stderr


PARENT = """
import sys, time
from r1rl.verify import sandbox
sandbox.require()
print("ready", flush=True)
sandbox.run("while True: pass", limits=sandbox.Limits(wall_seconds=500, cpu_seconds=500))
"""


@needs_bwrap
def test_no_orphan_is_left_by_a_killed_trainer(nothing_left):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])

    def sandboxed():
        """Of this parent: other tests have sandboxes too."""
        return in_other_pid_namespaces() & {child.pid for child in psutil.Process(parent.pid).children(recursive=True)}

    try:
        assert parent.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + GENEROUS_SECONDS
        while not sandboxed() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # let it get into the program
        assert sandboxed()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@needs_bwrap
def test_no_descriptor_is_left_open():
    sandbox.run("print(1)")
    gc.collect()  # what earlier tests left open is closed now, and not while this counts
    before = len(os.listdir("/proc/self/fd"))
    for program in ("print(1)", "x = (", "while True: print('x' * 1000)"):
        sandbox.run(program, limits=SMALL)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def unprepared(monkeypatch):
    """As in a new process, whatever was found here before."""
    monkeypatch.setattr(sandbox, "_ready_command", [])


@pytest.mark.parametrize("missing", ["bwrap", "setpriv"])
def test_without_the_binary_nothing_runs(missing, unprepared, monkeypatch, tmp_path):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else which(name) or f"/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ran = tmp_path / "ran"
    for attempt_it in (sandbox.require, lambda: sandbox.run(f"open({str(ran)!r}, 'w')")):
        with pytest.raises(SandboxError, match=rf"no sandbox: .*'{missing}'.*try: apt install"):
            attempt_it()
    assert not ran.exists()


@pytest.mark.parametrize("fault", ["exit 1", "echo no permission >&2; exit 1", "sleep 0", "echo 42"])
def test_a_binary_that_cannot_sandbox_is_an_error(fault, unprepared, monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{fault}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sandbox_layout, "programs", lambda: [str(fake)])
    with pytest.raises(SandboxError, match=r"no sandbox: .*user namespaces"):
        sandbox.require()


def test_another_system_is_an_error(monkeypatch, unprepared):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="on Linux on aarch64 or x86_64; this is darwin"):
        sandbox.require()


@pytest.mark.parametrize(
    ("name", "value"),
    [("wall_seconds", 0), ("cpu_seconds", -1), ("memory_bytes", 1000), ("threads", 0), ("wall_seconds", float("nan")),
     ("cpu_seconds", float("inf"))],
)  # fmt: skip
def test_limits_that_no_program_could_keep_are_errors(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        Limits(**{name: value})


def run_filter(program, arch, number, argument=0):
    """What the kernel would answer, by interpreting the filter: the oracle knows classic BPF only."""
    data = struct.pack("<IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, operand)[0]
        else:
            test = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            at += if_true if test[code] else if_false


ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


@pytest.mark.parametrize(
    ("machine", "arch", "number", "argument", "answer"),
    [
        pytest.param("x86_64", 0xC000003E, 0, 0, ALLOW, id="read"),
        pytest.param("x86_64", 0xC000003E, 57, 0, EPERM, id="fork"),
        pytest.param("x86_64", 0xC000003E, 56, 17, EPERM, id="clone of a process"),
        pytest.param("x86_64", 0xC000003E, 56, 0x3D0F00, ALLOW, id="clone of a thread"),
        pytest.param("x86_64", 0xC000003E, 435, 0, ENOSYS, id="clone3"),
        pytest.param("x86_64", 0xC000003E, 0x40000000, 0, KILL, id="x32"),
        pytest.param("x86_64", 0xC000003E, 157, 1, EPERM, id="prctl of the parent's death"),
        pytest.param("x86_64", 0xC000003E, 157, 15, ALLOW, id="prctl of the name"),
        pytest.param("aarch64", 0xC00000B7, 167, 1, EPERM, id="arm prctl of the parent's death"),
        pytest.param("x86_64", 0x40000003, 2, 0, KILL, id="32-bit fork"),
        pytest.param("aarch64", 0xC00000B7, 220, 17, EPERM, id="arm clone of a process"),
        pytest.param("aarch64", 0xC00000B7, 220, 0x3D0F00, ALLOW, id="arm clone of a thread"),
        pytest.param("aarch64", 0xC00000B7, 63, 0, ALLOW, id="arm read"),
        pytest.param("aarch64", 0xC00000B7, 198, 0, EPERM, id="arm socket"),
    ],
)
def test_the_filter(machine, arch, number, argument, answer):
    assert run_filter(seccomp.filter_program(machine), arch, number, argument) == answer


def test_the_numbers_are_those_of_the_kernels_headers():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    defined = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    for name, (number, _) in seccomp._REFUSED.items():
        assert defined.get(f"__NR_{name}", str(number)) == str(number), name


def test_a_machine_without_numbers_is_an_error():
    with pytest.raises(ValueError, match=r"machine='riscv64'.*allowed: aarch64, x86_64"):
        seccomp.filter_program("riscv64")


def test_the_limits_travel_as_json():
    assert json.loads(json.dumps(Limits().as_rlimits(3)))["CPU"] == 15
