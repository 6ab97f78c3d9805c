"""Verifiers by name: each judges one answer against one gold answer and returns a `Verdict`."""

from importlib import import_module
from typing import Any, Final

from r1rl.verify.extraction import answer_tag
from r1rl.verify.verdict import Status, Verdict, Verifier

__all__ = [
    "VERIFIER_OF_TASK",
    "Status",
    "Verdict",
    "Verifier",
    "answer_tag",
    "get",
    "in_processes",
    "module",
    "names",
    "verify_many",
]

# name -> module with verify(answer, gold, meta) and, where a batch is cheaper, verify_many(items)
_MODULES = {
    "choice": "r1rl.verify.choice",
    "code": "r1rl.verify.code",
    "countdown": "r1rl.verify.countdown",
    "exact": "r1rl.verify.exact",
    "gym": "r1rl.verify.gym",
    "math": "r1rl.verify.math",
    "roles": "r1rl.verify.roles",
}
_IN_PROCESSES = frozenset({"code", "gym", "math"})

VERIFIER_OF_TASK: Final = {"countdown": "countdown"}
"""Tasks that only one verifier judges; the oldest rollout stores do not name the verifier."""


def names() -> list[str]:
    """The registered verifiers."""
    return sorted(_MODULES)


def module(name: str) -> Any:
    """The module of the verifier called `name`. Raises `ValueError` for an unknown name."""
    if name not in _MODULES:
        raise ValueError(f"verifier={name!r}: unknown; allowed: {', '.join(names())}")
    return import_module(_MODULES[name])


def get(name: str) -> Verifier:
    """The verifier called `name`. Raises `ValueError` for an unknown name."""
    verifier: Verifier = module(name).verify
    return verifier


def in_processes(name: str) -> bool:
    """Whether the verifier's work is done in processes of its own, so that this one is free meanwhile."""
    return name in _IN_PROCESSES


def verify_many(name: str, items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
    """Verdicts of (answer, gold, meta) triples, in order. Raises `ValueError` for an unknown name."""
    judge = module(name)
    if hasattr(judge, "verify_many"):
        verdicts: list[Verdict] = judge.verify_many(items)
        return verdicts
    return [judge.verify(*item) for item in items]
