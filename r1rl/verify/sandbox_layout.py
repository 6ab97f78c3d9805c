"""The sandbox's namespaces and its small file system, as a command line of bubblewrap."""

import glob
import json
import os
import platform
import shutil
import subprocess
import sys

from r1rl.verify import seccomp

NOBODY = 65534
LAYOUT_TIMEOUT_SECONDS = 60.0

_ISOLATION = [f"--unshare-{name}" for name in ("user", "ipc", "pid", "net", "uts", "cgroup")]
_ISOLATION += ["--as-pid-1"]  # else bwrap leaves a zombie, which where process 1 is no init nobody removes
_ISOLATION += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"]
_ASK_PYTHON = """
import importlib, json, os, sys, sysconfig
for name in "_bz2 _ctypes _decimal _hashlib _lzma _socket _sqlite3 _ssl _uuid math zlib".split():
    try:
        importlib.import_module(name)
    except ImportError:
        pass
with open("/proc/self/maps") as maps:
    libraries = {line.split(None, 5)[5].strip() for line in maps if ".so" in line}
print(json.dumps({
    "python": os.path.realpath(sys.executable),
    "stdlib": sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}),
    "folders": sorted({os.path.dirname(path) for path in libraries}),
    "version": sys.version_info[:2],
}))
"""
_MASKED = ("site-packages", "dist-packages", "test")


def programs() -> list[str]:
    """bwrap and what must stand before it. Raises `RuntimeError` naming what is missing and what to do."""
    if sys.platform != "linux" or platform.machine() not in seccomp.machines():
        here = f"{sys.platform} on {platform.machine()}"
        raise RuntimeError(f"programs can be sandboxed on Linux on {' or '.join(seccomp.machines())}; this is {here}")
    bwrap = shutil.which("bwrap")
    if not bwrap:
        raise RuntimeError("the program 'bwrap' is missing; try: apt install bubblewrap (0.8 or later)")
    if os.geteuid() != 0:
        return [bwrap]
    setpriv = shutil.which("setpriv")  # as root no limit on processes holds, and an escape would be root
    if not setpriv:
        raise RuntimeError("as root the program 'setpriv' is needed too; try: apt install util-linux")
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", bwrap]


def pythons() -> list[str]:
    """Interpreters that may serve in the sandbox, this one first: what lies in a closed home folder will not."""
    wanted = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
    return list(dict.fromkeys(os.path.realpath(path) for path in wanted if path and os.path.exists(path)))


def command(before: list[str], python: str) -> list[str]:
    """The command line up to the scratch folder, for `python`, which is asked for its folders here.

    Raises `RuntimeError` if it does not answer or is older than Python 3.10.
    """
    ask = [python, "-I", "-S", "-B", "-c", _ASK_PYTHON]
    asked = subprocess.run(ask, capture_output=True, text=True, env={}, timeout=LAYOUT_TIMEOUT_SECONDS, check=False)
    if asked.returncode:
        raise RuntimeError(f"{python} does not run: {asked.stderr[-200:].strip()}")
    found = json.loads(asked.stdout)
    if found["version"] < [3, 10]:
        raise RuntimeError(f"{python} is older than Python 3.10")
    folders = sorted({*found["stdlib"], *found["folders"]})
    line = [*before, *_ISOLATION, "--uid", str(NOBODY), "--gid", str(NOBODY)]
    for folder in folders:
        line += ["--ro-bind", folder, folder]
    if not any(found["python"].startswith(folder + "/") for folder in folders):
        line += ["--ro-bind", found["python"], found["python"]]
    for loader in (*glob.glob("/lib/ld-*.so*"), *glob.glob("/lib64/ld-*.so*")):
        folder, name = os.path.split(loader)
        if (folder := os.path.realpath(folder)) not in folders:
            line += ["--ro-bind", os.path.realpath(loader), os.path.join(folder, name)]
    for link in filter(os.path.islink, ("/lib", "/lib64")):
        line += ["--symlink", os.readlink(link), link]
    for masked in (os.path.join(folder, name) for folder in folders for name in _MASKED):
        if os.path.isdir(masked):
            line += ["--size", "4096", "--tmpfs", masked, "--remount-ro", masked]
    return [*line, "--dev-bind", "/dev/null", "/dev/null"]
