"""The runs that are looked at, as they were when they were last read: measured figures, and the index of rollouts.

Pages show what is here and never wait for a run that is being written. A thread of its own follows the folders.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from r1rl.aha.figures.annotations import compute
from r1rl.aha.figures.figures import MATCHED
from r1rl.aha.figures.suite import Result, measure
from r1rl.inspect.compare import NO_SETTING
from r1rl.inspect.reader.charts import Shown
from r1rl.inspect.reader.index import Index
from r1rl.inspect.run_data import RunData, flat, load
from r1rl.run.overview import overview
from r1rl.store import shards

EVERY_SECONDS: Final = 2.0
"""How often the folders are looked at."""

_LAST_SECONDS: Final = 2.0
MEASURING: Final = "being measured"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunState:
    """A run as it was last read.

    Args:
        name: on the page.
        data: what was measured; None where nothing can be yet, and `problem` says why.
        matched: accuracy with and without reflection at matched length.
        control: its reward does not depend on the answer.
        progress: how far it has come: running, finished, stopped …, and its steps.
    """

    name: str
    path: Path
    data: RunData | None
    problem: str
    matched: Result | None
    control: bool
    progress: str
    steps: int | None


class State:
    """Some runs, read once or followed. `version` grows whenever something a page shows has changed.

    Args:
        runs: their folders.
        controls: names of those whose reward does not depend on the answer.
    """

    def __init__(self, runs: Sequence[Path], controls: Sequence[str] = ()) -> None:
        self.index = Index(runs)
        if unknown := [name for name in controls if name not in self.index.names]:
            raise ValueError(f"control={unknown[0]!r}: no run here; need one of {', '.join(self.index.names)}")
        self.runs: list[RunState] = []
        self.together: list[Result] = []
        self.version = 0
        self.busy = False  # reading or measuring
        self.done = (0, 0)  # shards read, of how many, at the beginning
        self._controls = frozenset(controls)
        self._seen: list[Any] = [None] * len(self.index.runs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether rollouts can be looked at."""
        return bool(self.runs)

    @property
    def names(self) -> list[str]:
        """The runs' names, in the order of their colours."""
        return self.index.names

    def run(self, name: str) -> RunState:
        """Raises LookupError for no such run."""
        for one in self.runs:
            if one.name == name:
                return one
        raise LookupError(f"run={name[:80]!r}: not among the runs that were opened: {', '.join(self.names)}")

    def shown(self, names: Sequence[str] = ()) -> list[Shown]:
        """The runs that can be drawn, all of them or some, each in its own colour."""
        return [
            Shown(run.name, run.data, colour, run.control)
            for colour, run in enumerate(self.runs)
            if run.data is not None and (not names or run.name in names)
        ]

    def refresh(self) -> bool:
        """Read what has changed; returns whether anything had.

        Rollouts can be looked at before anything is measured, and each run's figures as soon as they are.
        """
        fingerprints = [_fingerprint(run) for run in self.index.runs]
        changed = [i for i, one in enumerate(fingerprints) if one != self._seen[i]]
        if not changed:
            return self._looked_on()
        self.busy = True
        for i in changed:
            self._annotate(self.index.runs[i])
        self.index.refresh(self._progressed)
        if not self.runs:
            self.runs = [
                RunState(name, path, None, MEASURING, None, name in self._controls, overview(path).state, None)
                for name, path in zip(self.names, self.index.runs, strict=True)
            ]
        self.version += 1
        evaluated = False
        for i in changed:
            same = self.runs[i].data is not None and _evaluations(self._seen[i]) == _evaluations(fingerprints[i])
            found = self._read(i, self.runs[i] if same else None)
            self.runs = [found if j == i else run for j, run in enumerate(self.runs)]
            self.version += 1
            evaluated = evaluated or not same
        if evaluated:
            self.together = _together(self.runs)
            self.version += 1
        self._seen = fingerprints
        self.busy = False
        return True

    def _looked_on(self) -> bool:
        """Note of runs that write nothing whether they still run; returns whether that has changed for any."""
        states = [overview(run.path).state if run.progress == "running" else run.progress for run in self.runs]
        if states == [run.progress for run in self.runs]:
            return False
        self.runs = [replace(run, progress=state) for run, state in zip(self.runs, states, strict=True)]
        self.version += 1
        return True

    def follow(self) -> None:
        """Refresh again and again in a thread, until `close`."""
        self._thread = threading.Thread(target=self._follow, name="follows runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following. What is being measured is left alone: Ctrl-C does not wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_LAST_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self.index.close()

    def _follow(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:  # a file that is being written; the next look may succeed
                logger.exception("the runs could not be read")
                self.busy = False
            if self._stop.wait(EVERY_SECONDS):
                return

    def _progressed(self, done: int, of: int) -> None:
        self.done = (done, of)

    def _annotate(self, run: Path) -> None:
        if not (run / shards.FOLDER).is_dir():
            return
        try:
            compute(run, workers=os.cpu_count() or 1 if not self.ready else 1)
        except OSError as error:
            logger.warning(
                "%s: annotations cannot be written (%s); rollouts without any are shown as they are", run, error
            )

    def _read(self, number: int, before: RunState | None) -> RunState:
        path, name = self.index.runs[number], self.names[number]
        try:
            data = load(path, measured=before.data if before is not None else None)
            problem = ""
        except ValueError as error:
            data, problem = None, str(error)
        come = overview(path)
        matched = None
        if data is not None:
            matched = before.matched if before is not None else _matched(path, data)
        return RunState(name, path, data, problem, matched, name in self._controls, come.state, come.steps)


def _matched(path: Path, data: RunData) -> Result | None:
    try:
        return measure([path], data.measured.selection, figures=MATCHED)[0]
    except ValueError:  # rollouts that nobody judged, or that are being written
        return None


def _fingerprint(run: Path) -> tuple[tuple[tuple[str, int, int], ...], ...]:
    """What tells whether a run has changed: its shards, and its small files."""
    places = [run / name for name in ("metrics.jsonl", "events.jsonl", "result.json", "recipe.yaml")]
    stored = [shard.path for shard in shards.listing(run / shards.FOLDER)] if (run / shards.FOLDER).is_dir() else []
    evaluations = [path for path in stored if not path.name.startswith("train")]
    rest = [path for path in stored if path.name.startswith("train")]
    return tuple(tuple(_stamps(paths)) for paths in (evaluations or rest, rest, places))


def _evaluations(fingerprint: Any) -> Any:
    """Of a fingerprint, what measured figures depend on."""
    return None if fingerprint is None else fingerprint[0]


def _stamps(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, status.st_size, status.st_mtime_ns))
    return found


def _together(runs: Sequence[RunState]) -> list[Result]:
    """The figures over seeds, for each recipe that two runs or more have in common."""
    groups: dict[Any, list[RunState]] = {}
    for run in runs:
        if run.data is not None and run.data.recipe and not run.data.training_only:
            groups.setdefault(_setting(run.data), []).append(run)
    found = []
    for group in groups.values():
        if len(group) > 1:
            selection = group[0].data.measured.selection if group[0].data else None
            try:
                found.append(measure([run.path for run in group], selection)[-1])
            except ValueError as error:  # no step in common
                logger.warning("%s", error)
    return found


def _setting(data: RunData) -> tuple[tuple[str, str], ...]:
    """A recipe but for its seed and names."""
    return tuple(
        sorted(
            (key, str(value)) for key, value in flat(data.recipe) if key.partition(".")[0] not in {*NO_SETTING, "seed"}
        )
    )
