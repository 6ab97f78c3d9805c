"""What runs inside the sandbox. Standard library only: its source is handed to a bare Python.

Three roles, each in a sandbox of its own:

- `program`: run the source as `__main__` on stdin and stdout.
- `solution`: load the source as a module and answer calls over a socket. The source rules this process, so
  whatever it says is data and nothing more.
- `tests`: run assert statements; each name that they take from the solution is fetched over that socket. Values
  come back as plain data (JSON) and are rebuilt here, so `==` is Python's own. The expected values never leave
  this process, and what it reports goes out on a descriptor that only it holds.
"""

import builtins
import collections
import contextlib
import decimal
import fractions
import importlib
import json
import operator
import os
import resource
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

MAX_MESSAGE_BYTES = 4 << 20
MAX_ITEMS = 100_000
MAX_REASON_CHARS = 300
_SMALL = 1 << 53
_GROUPS: dict[str, Any] = {kind.__name__: kind for kind in (list, tuple, set, frozenset, collections.deque)}
_NUMBERS: dict[str, Any] = {kind.__name__: kind for kind in (complex, fractions.Fraction, decimal.Decimal)}
_ACTIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, args, kwargs: target(*args, **kwargs),
    "attribute": getattr,
    "item": operator.getitem,
    "iterate": lambda target: [item for item, _ in zip(target, range(MAX_ITEMS), strict=False)],
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
}
"""What the tests may ask of an object of the solution."""
_NOT_RAISED = (UnicodeError, StopIteration, StopAsyncIteration)
"""The first takes more arguments; the others would end a `map` or `all` of the test early, and let it pass."""


class Lost(BaseException):
    """The solution cannot be asked any more. No `except Exception` in a test may swallow it."""


class Opaque:
    """An object of the solution, seen from the tests: may be called, read and iterated, never compared."""

    def __init__(self, wire: "Wire", ref: int, kind: str) -> None:
        self.__dict__.update(_wire=wire, _ref=ref, _kind=kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wire.ask("call", self._ref, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._wire.ask("attribute", self._ref, name)

    def __getitem__(self, key: Any) -> Any:
        return self._wire.ask("item", self._ref, key)

    def __iter__(self) -> Any:
        return iter(self._plain("iterate", list))

    def __len__(self) -> int:
        return int(self._plain("len", int))

    def __bool__(self) -> bool:
        return bool(self._plain("bool", bool))

    def __str__(self) -> str:
        return str(self._plain("str", str))

    def __repr__(self) -> str:
        return str(self._plain("repr", str))

    def __eq__(self, other: object) -> bool:
        raise TypeError(f"the solution's {self._kind} object cannot be compared: its own rule would decide")

    __ne__ = __eq__

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"attributes of the solution's {self._kind} object cannot be set from a test")

    __hash__ = object.__hash__

    def _plain(self, action: str, kind: type) -> Any:
        value = self._wire.ask(action, self._ref)
        if type(value) is not kind:
            raise TypeError(f"{action}() of the solution's {self._kind} object is no {kind.__name__}")
        return value


class Wire:
    """Plain data over a socket: a length, then JSON. Each side refers to the solution's objects by number."""

    def __init__(self, fd: int, objects: list[Any] | None = None) -> None:
        self.socket = socket.socket(fileno=fd)
        self.replies = self.socket.makefile("rb")
        self.objects = objects  # what the other side may refer to; None on the tests' side: nothing

    def send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        if len(data) > MAX_MESSAGE_BYTES:
            raise ValueError(f"value too large to pass on: {len(data)} bytes")
        self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def receive(self) -> Any:
        size = int.from_bytes(self._read(4), "big")
        if size > MAX_MESSAGE_BYTES:
            raise Lost("the solution's reply is too large")
        return json.loads(self._read(size))

    def _read(self, size: int) -> bytes:
        data = self.replies.read(size)
        if len(data) < size:
            raise Lost("the solution's process ended")
        return data

    def encode(self, value: Any) -> Any:
        """`value` as JSON; what is not plain data goes as a number that stands for it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int(value) if -_SMALL < value < _SMALL else {"int": hex(value)}
        if isinstance(value, float):
            return float(value)
        for name, number in _NUMBERS.items():
            if isinstance(value, number):
                return {name: str(value)}
        if isinstance(value, (bytes, bytearray)):
            return {type(value).__name__: value.hex()}
        for name, group in _GROUPS.items():
            if isinstance(value, group):
                return {name: [self.encode(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        if isinstance(value, Opaque):
            return {"ref": value._ref}
        if self.objects is None:
            raise TypeError(f"a {type(value).__name__} cannot be passed to the solution, only plain data can")
        self.objects.append(value)
        return {"new": [len(self.objects) - 1, type(value).__name__[:50]]}

    def decode(self, value: Any) -> Any:
        """The plain data that `value` stands for. Raises `ValueError`, `TypeError` or such for anything else."""
        if not isinstance(value, dict):
            return value
        ((tag, content),) = value.items()
        if tag in _GROUPS:
            return _GROUPS[tag]([self.decode(item) for item in content])
        if tag == "dict":
            return {self.decode(key): self.decode(item) for key, item in content}
        if tag == "int":
            return int(content, 16)
        if tag in ("bytes", "bytearray"):
            return getattr(builtins, tag).fromhex(content)
        if tag == "new":
            return Opaque(self, int(content[0]), str(content[1]))
        if tag == "ref":
            return (self.objects or [])[content]
        return _NUMBERS[tag](content)

    def ask(self, action: str, ref: int, *args: Any) -> Any:
        """The tests' side: what the solution answers. Its exceptions are raised here under a built-in name."""
        try:
            self.send([action, ref, *(self.encode(arg) for arg in args)])
            reply = self.receive()
            if "error" not in reply:
                return self.decode(reply["value"])
            name, text = map(str, reply["error"])
        except OSError:
            raise Lost("the solution's process ended") from None
        except Exception as error:  # a reply that is none: the test must not go on
            raise Lost(f"{type(error).__name__}: {error}") from None
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _NOT_RAISED):
            raise kind(text)
        raise RuntimeError(f"{name}: {text}")


def serve(wire: Wire, module: types.ModuleType, failure: str) -> None:
    """The solution's side: answer until the tests hang up."""
    while True:
        action, ref, *args = wire.receive()
        try:
            values = [wire.decode(arg) for arg in args]
            if action == "name":
                if failure:
                    raise RuntimeError(failure)
                if not hasattr(module, values[0]):
                    raise NameError(f"{values[0]} is not defined")
                value = getattr(module, values[0])
            else:
                value = _ACTIONS[action]((wire.objects or [])[ref], *values)
            reply = {"value": wire.encode(value)}
        except BaseException as error:  # SystemExit too: it is this call that failed
            reply = {"error": [type(error).__name__, str(error)[:MAX_REASON_CHARS]]}
        wire.send(reply)


def run_tests(wire: Wire, tests: list[dict[str, Any]], report_fd: int) -> None:
    """Run each test in a fresh namespace and report {"ok", "why"} as one line of JSON; stop once `Lost`."""
    for test in tests:
        why, lost = "", False
        try:
            space: dict[str, Any] = {"__name__": "tests"}
            for name in test["modules"]:
                space[name] = importlib.import_module(name)
            for name in test["names"]:
                space[name] = wire.ask("name", 0, name)
            exec(compile(test["code"], "test", "exec"), space)
        except Lost as error:
            why, lost = str(error) or "lost", True
        except AssertionError as error:
            why = "the assertion does not hold" + (f": {error}" if str(error) else "")
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
        line = json.dumps({"ok": not why, "why": why[:MAX_REASON_CHARS]}) + "\n"
        os.write(report_fd, line.encode())
        if lost:
            return


def limit(limits: dict[str, int]) -> None:
    """Lower this process's limits, hard ones too: nothing in here can raise them again."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def silence() -> None:
    """Standard input and outputs to nowhere: what these processes say there has no meaning."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)


def main() -> None:
    """Arguments: role, limits as JSON, descriptors of the source and of the status, then the role's own."""
    role, limits, source_fd, status_fd, *fds = sys.argv[1:]
    limit(json.loads(limits))
    os.environ.clear()
    with open(int(source_fd), "rb") as file:
        source = file.read()
    sys.argv[1:] = []
    if role == "tests":
        os.write(int(status_fd), b"ready")
        os.close(int(status_fd))
        silence()
        run_tests(Wire(int(fds[0])), json.loads(source), int(fds[1]))
        return
    try:
        code = compile(source.decode(), "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        os.write(int(status_fd), f"{type(error).__name__}: {where}{getattr(error, 'msg', error)}".encode()[:200])
        os._exit(1)
    os.write(int(status_fd), b"ready")
    os.close(int(status_fd))
    module = types.ModuleType("__main__" if role == "program" else "solution")
    sys.modules[module.__name__] = module
    if role == "program":
        sys.argv[:] = ["solution.py"]
        exec(code, module.__dict__)
        return
    silence()
    failure = ""
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        failure = f"{type(error).__name__}: {str(error)[:MAX_REASON_CHARS]}"
    with contextlib.suppress(Lost, OSError):
        serve(Wire(int(fds[0]), [module]), module, failure)


if __name__ == "__main__":
    main()
