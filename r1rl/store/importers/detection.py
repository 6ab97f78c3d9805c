"""Which files of a folder hold rollouts, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from r1rl.store.importers.formats import inspect_logs, openrlhf, plain, skyrl, traces, trl, verifiers_results, verl
from r1rl.store.importers.records import EXECUTABLE, SUFFIXES, records

_KNOWN: Final = (
    trl.FORMAT, verl.FORMAT, traces.FORMAT, verifiers_results.FORMAT, openrlhf.FORMAT, skyrl.FORMAT,
    inspect_logs.FORMAT, plain.FORMAT,
)  # fmt: skip
FORMATS: Final = {each.name: each for each in _KNOWN}
"""By name; in this order they are tried, the plain one, which fits all, at last."""

# Where tools put their files below the folder that a user names; the first that is there.
_PLACES: Final = (
    "completions/*.parquet",  # TRL's output_dir
    *(f"{above}step_*/*/*/traces.jsonl" for above in ("rollouts/", "")),  # prime-rl's run
    *(f"{above}step_*/*_rollouts*.jsonl" for above in ("rollouts/", "")),  # prime-rl's, until 0.6
    *(f"{above}*_evals/*.jsonl" for above in ("dumped_evals/", "")),  # SkyRL's export_path
    "dumped_evals/eval_only/*.jsonl",
    "traces.jsonl",
    "results.jsonl",
    "*",
)
_HEAD: Final = 4096
# Small files beside rollouts, which are none.
_BESIDE: Final = frozenset({"metrics.jsonl", "aggregated_results.jsonl"})


class NoRolloutsError(ValueError):
    """A path where nothing is that could be rollouts."""


def files_of(source: Path) -> list[Path]:
    """The files to read, in order of the numbers in their names; a file is itself.

    Raises:
        NoRolloutsError: there are none.
        ValueError: they are of several kinds, or pickles.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise NoRolloutsError(f"source={str(source)!r}: no such file or folder")
    for place in _PLACES:
        found = [path for path in source.glob(place) if path.suffix in SUFFIXES and path.name not in _BESIDE]
        found = [path for path in found if path.suffix != ".json"] or list(filter(_has_rollouts, found))
        if len({path.suffix for path in found}) > 1:
            several = " and ".join(sorted({path.suffix for path in found}))
            raise ValueError(f"source={str(source)!r}: holds {several} files; name one file")
        if found:
            return _one_of_each(sorted(found, key=lambda path: _order(path.relative_to(source))))
    none = f"source={str(source)!r}: holds no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
    if any(path.suffix in EXECUTABLE for path in (*source.glob("*"), *source.glob("dumped_data/*"))):
        raise ValueError(f"{none}, and its pickles can run code as they are loaded, so they never are")
    raise NoRolloutsError(none)


def _has_rollouts(file: Path) -> bool:
    """Whether a JSON file is a table of W&B or a log of Inspect, among all others that a folder may hold."""
    if file.name.endswith(".table.json"):
        return True
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    return b'"status"' in head and b'"eval"' in head


def guess(files: Iterable[Path]) -> str:
    """The format of files, told from their first record. Raises ValueError as `records`."""
    for file in files:
        for _, record in records(file):
            return next(each.name for each in FORMATS.values() if each.fits(file, record))
    return plain.FORMAT.name


def _one_of_each(files: list[Path]) -> list[Path]:
    """prime-rl writes what a batch used (`effective`) a second time: every rollout is in `all`."""
    every = {path.parent.parent for path in files if path.parent.name == "all"}
    return [path for path in files if not (path.parent.name == "effective" and path.parent.parent in every)]


def _order(path: Path) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", str(path.with_suffix("")))], str(path)
