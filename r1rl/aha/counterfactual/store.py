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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

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
SCHEMA: Final = pa.schema(
    [
        pa.field("run", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("arm", pa.string()),
        pa.field("point", pa.int32()),
        pa.field("sample", pa.int32()),
        pa.field("prompt_id", pa.string()),
        pa.field("source_sample_idx", pa.int32()),
        pa.field("completion", pa.string()),
        pa.field("start", pa.int32()),  # characters; the continuation is completion[start:]
        pa.field("kept_tokens", pa.int32()),  # of the source
        pa.field("stretch_tokens", pa.int32()),  # of the source, from the cut to the end of the stretch
        pa.field("n_tokens", pa.int32()),  # of the continuation
        pa.field("finish_reason", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("verdict_reason", pa.string()),
        pa.field("marked", pa.bool_()),  # the continuation holds a marker
        pa.field("hits", pa.bool_()),  # corruption test, null elsewhere: the true value is the target
        pa.field("value", pa.int64()),
        pa.field("written", pa.int64()),
        pa.field("said", pa.bool_()),  # the next goal test's word, null without one
        pa.field("recomputed", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Settings:
    """What decides what is sampled; `inject` and `answer` None: chosen by the vocabulary and the rollouts."""

    points: int = 200
    samples: int = 2
    seed: int = 0
    lexicon: str = "strict"
    inject: str | None = None
    answer: str | None = None

    @property
    def digest(self) -> str:
        """Names the folder."""
        return _digest(json.dumps(self.as_dict(), sort_keys=True))

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "detector_version": DETECTOR_VERSION, "version": _VERSION}


@dataclass(frozen=True)
class Part:
    """Points or claims `first` to `end` of a step, and where their rows belong."""

    what: str
    first: int
    end: int
    path: Path


def usable(run_dir: Path | str) -> list[int]:
    """Steps with a kept policy and held-out rollouts with token ids, ascending. Raises ValueError for no run."""
    found = store.query(
        run_dir,
        f"SELECT DISTINCT step FROM rollouts WHERE kind = 'eval' AND {SAMPLED_SQL} AND token_ids IS NOT NULL "
        "ORDER BY step",
    )
    sampled = set(found["step"].to_pylist())
    return [step for step in kept(run_dir) if step in sampled]


def check(run_dir: Path | str, settings: Settings, steps: Sequence[int] | None) -> list[int]:
    """The steps to go on from: those asked for, else the first and the last usable one.

    Raises ValueError for settings out of range or a step that is not usable.
    """
    for name, least in (("points", 1), ("samples", 1), ("seed", 0)):
        if getattr(settings, name) < least:
            raise ValueError(f"{name}={getattr(settings, name)}: need >= {least}")
    possible = usable(run_dir)
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


def compute(
    run_dir: Path | str,
    step: int,
    settings: Settings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """All rows of a step, those that are missing sampled first.

    Args:
        progress: called with the points that are done and their number, at first and after every part.
    """
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
    place = Path(run_dir) / FOLDER / settings.digest
    name = f"step-{step:06d}-{_digest(*(str(row['token_ids']) for row in sources))}"
    parts = [
        Part(what, first, min(first + PART, len(of)), place / f"{name}.{what}.{i + 1}-of-{-(-len(of) // PART)}.parquet")
        for what, of in chosen.items()
        for i, first in enumerate(range(0, len(of), PART))
    ]
    missing = [part for part in parts if not part.path.is_file()]
    total = sum(part.end - part.first for part in parts)
    done = total - sum(part.end - part.first for part in missing)
    if progress is not None:
        progress(done, total)
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        whole_files.write_json(place / "settings.json", settings.as_dict())
        policy = load(run_dir, kept(run_dir)[step])
        run = Path(run_dir).resolve().name
        for part in missing:
            rows = _sampled(part.what, policy, chosen[part.what][part.first : part.end], sources, settings)
            _write([{"run": run, "step": step, **row} for row in rows], part.path)
            done += part.end - part.first
            if progress is not None:
                progress(done, total)
    return [row for part in parts for row in pq.read_table(part.path).to_pylist()]


def _sampled(
    what: str, policy: Policy, chosen: Sequence[Any], sources: Sequence[Row], settings: Settings
) -> list[dict[str, Any]]:
    """The rows of some points, or claims: every branch of theirs sampled."""
    from r1rl.aha.counterfactual import arms, continuations, corruption

    tokens = continuations.TokenCuts(policy.tokenizer)
    if what == "points":
        texts = arms.Texts(
            answer=arms.forced_answer(sources, policy.extraction) if settings.answer is None else settings.answer,
            inject=arms.injected(policy.tokenizer, settings.inject),
        )
        pairs = [(one, branch) for one in chosen for branch in arms.branches(one, tokens, texts, settings.samples)]
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


def _write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    table = pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | row for row in rows], schema=SCHEMA)
    with whole_files.replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _digest(*texts: str) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(f"{len(text)}:{text}".encode())
    return found.hexdigest()[:10]
