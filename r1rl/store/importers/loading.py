"""A file, or a folder of files, of another tool as a run folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from r1rl.store import schema, shards
from r1rl.store.importers import missing
from r1rl.store.importers.detection import FORMATS, files_of, guess
from r1rl.store.importers.formats.base import MODEL, Settings
from r1rl.store.importers.reading import Reading
from r1rl.store.importers.records import records
from r1rl.store.importers.sink import Sink


@dataclass(frozen=True)
class Imported:
    """Rollouts and steps, the columns of theirs that have no place in the store, and what cannot be computed."""

    rollouts: int
    steps: int
    left_out: tuple[str, ...]
    format: str
    notes: tuple[str, ...]


def load(
    source: str | os.PathLike[str],
    run_dir: str | os.PathLike[str],
    *,
    format: str | None = None,
    settings: Settings | None = None,
    progress: bool = False,
    result: Mapping[str, Any] | None = None,
) -> Imported:
    """Make the run folder `run_dir` from a file, or a folder of files, of another tool.

    The folder appears when everything is in it; nothing stays of an import that fails, and what a killed one left is
    removed by the next. `result` is written into the run's result.json besides.

    Raises:
        ValueError: no such files, a line or file that cannot be read, a row that does not fit, or a taken name.
    """
    files, run = files_of(Path(source)), Path(run_dir)
    how = settings or Settings()
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format!r}: need one of {', '.join(FORMATS)}")
    if how.kind not in (None, *schema.KINDS):
        raise ValueError(f"kind={how.kind!r}: need one of {', '.join(schema.KINDS)}")
    if run.exists():
        raise ValueError(f"run={str(run)!r}: exists; give another folder, or remove it")
    known = FORMATS[format or guess(files)]
    reading = Reading(known, how, run.name, how.kind or known.kind(files))
    partial = run.with_name(f".{run.name}.importing")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / shards.FOLDER).mkdir(parents=True)
        done = _write(files, partial, reading, how, progress=progress)
        content = {"finished": True, "imported": known.name, "notes": done.notes, **(result or {})}
        (partial / "result.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.rename(partial, run)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return done


def _write(files: Sequence[Path], run: Path, reading: Reading, how: Settings, *, progress: bool) -> Imported:
    sink = Sink(run, how)
    for file in files:
        for where, record in tqdm(records(file), desc=file.name, unit=" records", disable=not progress, leave=False):
            for row in reading.rows(record, file, where):
                sink.add(row)
    sink.close()
    if not sink.rollouts:
        raise ValueError(f"{files[0]}: no rollout in it{' nor in the files beside it' if len(files) > 1 else ''}")
    models = sorted(name.removeprefix(MODEL) for name in reading.told.seen if name.startswith(MODEL))
    if len(models) > 1:
        raise ValueError(f"{files[0].parent}: several models ({', '.join(models)}) and no steps; name one file")
    notes = missing.notes(reading.told, sink.parts.keys(), sink.largest_group, judged=how.verifier is not None)
    steps = len({step for _, step in sink.parts})
    return Imported(sink.rollouts, steps, tuple(sorted(reading.left_out)), reading.format.name, tuple(notes))
