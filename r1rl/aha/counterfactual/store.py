"""What was asked on disk, made a part at a time: RUN/counterfactual/<settings>/*.parquet.

`step-000100-<sources>.points.2-of-8.parquet` holds every continuation of one part of the points (or `.claims.` of the
corruption test, or of another measure). <settings> and <sources> are digests of the settings, which settings.json
spells out, and of the source rollouts: what was made otherwise, or of a step that was sampled again, is not taken for
this. A file is whole or not there, so what was cut off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from r1rl.aha.counterfactual import policies
from r1rl.aha.counterfactual.checkpoints import kept
from r1rl.aha.counterfactual.ratios import Measured
from r1rl.aha.counterfactual.settings import Settings
from r1rl.aha.counterfactual.writers import Writer, sources
from r1rl.ground import whole_files
from r1rl.ground.endpoints import Limits
from r1rl.run.folder import RunFolder
from r1rl.store import store
from r1rl.store.schema import SAMPLED_SQL

logger = logging.getLogger(__name__)

FOLDER: Final = "counterfactual"
PART: Final = 20
"""Items a file: what a Ctrl-C loses at most, some seconds of the tiny model."""

MEASURES: Final[Mapping[str, tuple[str, ...]]] = {
    "arms": ("points", "claims"),
    "entropy": ("entropy",),
    "thinking": ("thinking",),
    "errors": ("errors",),
    "verification": ("verification",),
}
"""Measure -> the kinds of items that it asks about."""


def module(kind: str) -> ModuleType:
    """The module of a kind: SCHEMA, `chosen` and `asked`, and of all but points and claims ABOUT and `figures`."""
    # torch and transformers are wanted only where something is to be asked.
    from r1rl.aha.counterfactual import arms, corruption, entropy, errors, thinking, verification

    return {
        "points": arms,
        "claims": corruption,
        "entropy": entropy,
        "thinking": thinking,
        "errors": errors,
        "verification": verification,
    }[kind]


def check(run_dir: Path | str, settings: Settings, steps: Sequence[int] | None) -> list[int]:
    """The steps to go on from: those asked for, else the first and the last that can be (of another model the last).

    Such a step has sampled rollouts, and without `settings.model` a kept policy and token ids of held-out ones. Raises
    ValueError for no run, no model, or another step.
    """
    policies.check(settings.model)
    if settings.model is not None:
        possible = sorted(_sampled(run_dir, _kind(run_dir)))
        if not possible:
            raise ValueError(f"run={str(run_dir)!r}: no sampled rollouts to go on from")
        missing = "no sampled rollouts"
    else:
        if not RunFolder(Path(run_dir)).recipe.is_file() and _sampled(run_dir, _kind(run_dir)):
            raise ValueError(f"run={str(run_dir)!r}: it has no policies; name who is to go on: --model")
        possible = sorted(set(kept(run_dir)) & _sampled(run_dir, "eval", "AND token_ids IS NOT NULL"))
        missing = "no kept policy with held-out rollouts"
        if not possible:
            raise ValueError(
                f"run={str(run_dir)!r}: no step has a kept policy and held-out rollouts; train with eval_steps, or "
                "name who is to go on: --model"
            )
    if steps is None:
        return sorted({possible[0], possible[-1]} if settings.model is None else {possible[-1]})
    for step in steps:
        if step not in possible:
            more = " (more with --save_steps equal to --eval_steps and no --save_total_limit)" * (not settings.model)
            raise ValueError(f"steps={step}: {missing}; this run has {', '.join(map(str, possible))}{more}")
    return sorted(set(steps))


def _sampled(run_dir: Path | str, kind: str, where: str = "") -> set[int]:
    found = store.query(run_dir, f"SELECT DISTINCT step FROM rollouts WHERE kind = '{kind}' AND {SAMPLED_SQL} {where}")
    return set(found["step"].to_pylist())


def _kind(run_dir: Path | str) -> str:
    """Held-out rollouts where there are any."""
    return "eval" if _sampled(run_dir, "eval") else "train"


def compute(
    run_dir: Path | str,
    step: int,
    settings: Settings,
    measure: str = "arms",
    *,
    limits: Limits | None = None,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """All rows of a measure at a step, those that are missing asked first."""
    run_dir = Path(run_dir)
    kind = "eval" if settings.model is None else _kind(run_dir)
    read = [row for row in store.read(run_dir, kind=kind, steps=[step]).to_pylist() if row["temperature"] != 0]
    if settings.extraction is None:
        settings = replace(settings, extraction=policies.extraction_of(run_dir, read))
    if settings.model is not None:
        read = _with_verdicts(read, str(settings.extraction))
    tokens, longest = policies.tokens_of(settings.model)
    rows = sources(read, tokens, most=settings.max_rollouts, seed=settings.seed, longest=longest)
    if len(rows) < min(len(read), settings.max_rollouts):
        left = min(len(read), settings.max_rollouts) - len(rows)
        logger.warning("step %d: %d rollouts are left out: no token ids, or the model cannot spell them", step, left)
    stamp = json.dumps(settings.as_dict(), sort_keys=True)
    place = run_dir / FOLDER / _digest(stamp, policies.identity(settings.model))
    name = f"step-{step:06d}-{_digest(*(str(row['token_ids']) for row in rows))}"
    parts: dict[Path, tuple[str, Sequence[Any]]] = {}
    for what in MEASURES[measure]:
        items = module(what).chosen(rows, settings)
        for first in range(0, len(items), PART):
            path = place / f"{name}.{what}.{first // PART + 1}-of-{-(-len(items) // PART)}.parquet"
            parts[path] = what, items[first : first + PART]
    missing = {path: part for path, part in parts.items() if not path.is_file()}
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        whole_files.write_json(place / "settings.json", settings.as_dict())
        writer = policies.writer(run_dir, step, settings, read, limits or Limits())
        total = sum(len(some) for _, some in parts.values())
        done = total - sum(len(some) for _, some in missing.values())
        with tqdm(desc=f"step {step}, {measure}", unit="item", total=total, initial=done, disable=not progress,
                  leave=False) as bar:  # fmt: skip
            for path, (what, some) in missing.items():
                _write(path, module(what), writer, some, rows, settings, {"run": run_dir.resolve().name, "step": step})
                bar.update(len(some))
    return [row for path in parts for row in pq.read_table(path).to_pylist()]


def _with_verdicts(rows: Sequence[Mapping[str, Any]], extraction: str) -> list[dict[str, Any]]:
    """Other tools may not say which rollouts were right. Raises ValueError where nothing does."""
    from r1rl.aha.counterfactual.continuations import judged

    if not any(row["gold"] for row in rows):
        raise ValueError("rollouts: they have no gold answers, so right and wrong cannot be told")
    unjudged = [row for row in rows if row["verdict"] is None and row["gold"]]
    found = judged(extraction, unjudged, [row["completion"] or "" for row in unjudged])
    told = {id(row): verdict.status for row, verdict in zip(unjudged, found, strict=True)}
    return [{**row, "verdict": told.get(id(row), row["verdict"])} for row in rows if row["gold"]]


def _write(
    path: Path, of: ModuleType, writer: Writer, some: Sequence[Any], rows: Sequence[Any], settings: Settings,
    key: Mapping[str, Any],
) -> None:  # fmt: skip
    found = [{**dict.fromkeys(of.SCHEMA.names), **key, **row} for row in of.asked(writer, some, rows, settings)]
    with whole_files.replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(found, schema=of.SCHEMA), temporary, compression="zstd")


def figures(measure: str) -> Callable[[Sequence[str], int, Sequence[Sequence[Mapping[str, Any]]]], Measured]:
    """What makes a measure's figures of its rows, for all but `arms`."""
    made: Callable[[Sequence[str], int, Sequence[Sequence[Mapping[str, Any]]]], Measured] = module(measure).figures
    return made


def _digest(*texts: str) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(f"{len(text)}:{text}".encode())
    return found.hexdigest()[:10]
