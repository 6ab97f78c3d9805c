"""The house: few rooms, each named in the contract, imports that never run in a circle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("r1rl", "rewards")
    for path in (ROOT / package).rglob("*.py")
}


def for_types_only(tree: ast.AST) -> set[ast.AST]:
    return {
        inside
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inside in ast.walk(node)
    }


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports anywhere, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = for_types_only(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in FILES:
                    yield full
                elif node.module in FILES:
                    yield node.module


def test_no_import_runs_in_a_circle_deferred_ones_included() -> None:
    graph = networkx.DiGraph((name, other) for name, path in FILES.items() for other in imported(path) if other != name)
    assert len(graph) > 100, "the walk found the modules"
    assert [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1] == []


def test_the_contract_names_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    rooms = {f"r1rl.{path.parent.name}" for path in (ROOT / "r1rl").glob("*/__init__.py")} - {"r1rl.aha"}
    rooms |= {f"r1rl.aha.{path.parent.name}" for path in (ROOT / "r1rl" / "aha").glob("*/__init__.py")}
    assert named == rooms | {"r1rl.cli", "rewards"}


def test_the_house_has_few_rooms() -> None:
    entries = [path.name for path in (ROOT / "r1rl").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20, sorted(entries)


def test_no_file_is_named_for_everything() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [name for name in FILES if vague & set(name.split("."))] == []
