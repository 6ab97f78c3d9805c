"""The counterfactuals of a run on disk, made a part at a time: RUN/counterfactual/<settings>/*.parquet.

`step-000100-<sources>.points.2-of-8.parquet` holds every continuation of one part of the points (or `.claims.` of the
corruption test). <settings> and <sources> are digests of the settings, which settings.json spells out, and of the
source rollouts: what was made otherwise, or of a step that was sampled again, is not taken for this. A file is whole
or not there, so what was cut off goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from r1rl.aha.counterfactual.checkpoints import kept, load
from r1rl.aha.detect.annotation import DETECTOR_VERSION
from r1rl.ground import whole_files
from r1rl.store import store
from r1rl.store.schema import SAMPLED_SQL

if TYPE_CHECKING:
    from r1rl.aha.counterfactual.checkpoints import Policy
    from r1rl.aha.counterfactual.continuations import Continued, Row

FOLDER: Final = "counterfactual"
PART: Final = 20
"""Points a file: what a Ctrl-C loses at most, some seconds of the tiny model."""

_VERSION: Final = 1
SCHEMA: Final = pa.schema({
    "run": pa.string(), "step": pa.int64(), "arm": pa.string(), "point": pa.int32(), "sample": pa.int32(),
    "prompt_id": pa.string(), "source_sample_idx": pa.int32(),
    "completion": pa.string(), "start": pa.int32(),  # characters; the continuation is completion[start:]
    "kept_tokens": pa.int32(), "stretch_tokens": pa.int32(),  # of the source: before the cut, and from it on
    "n_tokens": pa.int32(), "finish_reason": pa.string(),  # of the continuation
    "verdict": pa.string(), "verdict_reason": pa.string(), "marked": pa.bool_(),  # the continuation holds a marker
    # Of the corruption test: the true value is the target; the next goal test's word, null without one.
    "hits": pa.bool_(), "value": pa.int64(), "written": pa.int64(), "said": pa.bool_(), "recomputed": pa.bool_(),
})  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What decides what is sampled; `inject` and `answer` None: chosen by the vocabulary and the rollouts."""

    points: int = 200
    samples: int = 2
    seed: int = 0
    lexicon: str = "strict"
    inject: str | None = None
    answer: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "detector_version": DETECTOR_VERSION, "version": _VERSION}


def check(run_dir: Path | str, settings: Settings, steps: Sequence[int] | None) -> list[int]:
    """The steps to go on from: those asked for, else the first and the last that can be.

    Such a step has a kept policy and held-out rollouts with token ids. Raises ValueError for no run, settings out of
    range, or another step.
    """
    for name, least in (("points", 1), ("samples", 1), ("seed", 0)):
        if getattr(settings, name) < least:
            raise ValueError(f"{name}={getattr(settings, name)}: need >= {least}")
    found = store.query(
        run_dir,
        f"SELECT DISTINCT step FROM rollouts WHERE kind = 'eval' AND {SAMPLED_SQL} AND token_ids IS NOT NULL",
    )
    possible = sorted(set(kept(run_dir)) & set(found["step"].to_pylist()))
    if not possible:
        raise ValueError(
            f"run={str(run_dir)!r}: no step has a kept policy and held-out rollouts; train with eval_steps"
        )
    if steps is None:
        return sorted({possible[0], possible[-1]})
    for step in steps:
        if step not in possible:
            raise ValueError(
                f"steps={step}: no kept policy with held-out rollouts; this run has {', '.join(map(str, possible))} "
                "(more with --save_steps equal to --eval_steps and no --save_total_limit)"
            )
    return sorted(set(steps))


def compute(run_dir: Path | str, step: int, settings: Settings, *, progress: bool = False) -> list[dict[str, Any]]:
    """All rows of a step, those that are missing sampled first."""
    # torch and transformers are wanted only where something is to be sampled.
    from r1rl.aha.counterfactual import arms, corruption

    sources = sorted(
        (row for row in store.read(run_dir, kind="eval", steps=[step]).to_pylist() if row["temperature"] != 0),
        key=lambda row: (row["prompt_id"], row["sample_idx"]),
    )
    chosen: dict[str, Sequence[Any]] = {
        "points": arms.points(sources, most=settings.points, seed=settings.seed, lexicon=settings.lexicon),
        "claims": corruption.claims(sources, most=settings.points, seed=settings.seed),
    }
    place = Path(run_dir) / FOLDER / _digest(json.dumps(settings.as_dict(), sort_keys=True))
    name = f"step-{step:06d}-{_digest(*(str(row['token_ids']) for row in sources))}"
    parts = {
        place / f"{name}.{what}.{first // PART + 1}-of-{-(-len(of) // PART)}.parquet": (what, of[first : first + PART])
        for what, of in chosen.items()
        for first in range(0, len(of), PART)
    }
    missing = {path: part for path, part in parts.items() if not path.is_file()}
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        whole_files.write_json(place / "settings.json", settings.as_dict())
        policy = load(run_dir, kept(run_dir)[step])
        run = Path(run_dir).resolve().name
        total = sum(len(some) for _, some in parts.values())
        done = total - sum(len(some) for _, some in missing.values())
        with tqdm(
            desc=f"step {step}", unit="point", total=total, initial=done, disable=not progress, leave=False
        ) as bar:
            for path, (what, some) in missing.items():
                rows = _sampled(what, policy, some, sources, settings)
                rows = [{**dict.fromkeys(SCHEMA.names), "run": run, "step": step, **row} for row in rows]
                with whole_files.replacing(path) as temporary:
                    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
                bar.update(len(some))
    return [row for path in parts for row in pq.read_table(path).to_pylist()]


def _sampled(
    what: str, policy: Policy, chosen: Sequence[Any], sources: Sequence[Row], settings: Settings
) -> list[dict[str, Any]]:
    """The rows of some points, or claims: every branch of theirs sampled."""
    from r1rl.aha.counterfactual import arms, continuations, corruption

    tokens = continuations.TokenCuts(policy.tokenizer, policy.engine.eos_token_ids)
    if what == "points":
        answer = arms.forced_answer(sources, policy.extraction) if settings.answer is None else settings.answer
        inject = arms.injected(policy.tokenizer, settings.inject)
        pairs = [
            (one, branch)
            for one in chosen
            for branch in arms.branches(one, tokens, answer=answer, inject=inject, samples=settings.samples)
        ]
    else:
        pairs = [(one, branch) for one in chosen for branch in corruption.branches(one, tokens, settings.samples)]
    done = continuations.sample(policy, [b for _, b in pairs], seed=settings.seed, lexicon=settings.lexicon)
    return [
        _row(one, settings.lexicon) | ({} if what == "points" else corruption.outcome(source, one))
        for (source, _), one in zip(pairs, done, strict=True)
    ]


def _row(done: Continued, lexicon: str) -> dict[str, Any]:
    from r1rl.aha.counterfactual.continuations import first_marker

    branch = done.branch
    prefill = branch.row.get("prefill") or ""
    return {
        "arm": branch.arm,
        "point": branch.point,
        "sample": branch.sample,
        "prompt_id": branch.row["prompt_id"],
        "source_sample_idx": branch.row["sample_idx"],
        "completion": done.completion.encode("utf-8", "replace").decode(),
        "start": done.start,
        "kept_tokens": branch.kept,
        "stretch_tokens": branch.stretch,
        "n_tokens": len(done.token_ids),
        "finish_reason": done.finish_reason,
        "verdict": done.verdict.status,
        "verdict_reason": done.verdict.reason,
        "marked": first_marker(done.completion, done.start, prefill, lexicon) is not None,
    }


def _digest(*texts: str) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(f"{len(text)}:{text}".encode())
    return found.hexdigest()[:10]
