"""Gold preflight: before the first step every gold answer must be judged correct against itself.

What the check is, by verifier: `check_gold(gold, meta) -> Verdict` where the verifier's module has one (a Countdown
target is no answer, so there it is whether the target can be made), `check_golds([(gold, meta), ...])` where rows are
tried with one another's answers, else `verify(gold, gold, meta)`. `correct` passes.
A module's `require()`, if any, is called first and raises `RuntimeError` where the verifier cannot work at all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from r1rl import verify
from r1rl.ground import whole_files
from r1rl.ground.cache import cache_dir
from r1rl.ground.errors import RecipeError
from r1rl.ground.machine import usable_cores
from r1rl.tasks import Row, Task
from r1rl.verify.verdict import Verdict

logger = logging.getLogger(__name__)

FILE_NAME = "bad_gold.jsonl"  # the list of bad rows in the run folder: split, prompt_id, gold, reason
CACHE_FROM_SECONDS = 1.0  # a check that took less is not worth a file
_BATCH = 512  # items a call, so that the bar moves
_LIBRARIES = ("mpmath", "sympy", "reasoning-gym")


def check_task(task: Task, rows: Sequence[Row], *, progress: bool = False) -> list[str]:
    """`check` of rows that may name verifiers of their own."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.verifier or task.verifier, []).append(place)
    reasons = [""] * len(rows)
    for verifier, its in places.items():
        found = check(verifier, [rows[place] for place in its], progress=progress)
        for place, reason in zip(its, found, strict=True):
            reasons[place] = reason
    return reasons


def check(verifier: str, rows: Sequence[Row], *, progress: bool = False) -> list[str]:
    """Why each row's gold answer is unusable, "" where it is usable. Cached on disk by content.

    Args:
        verifier: the name of the rows' verifier.
        rows: problems; equal (gold, meta) are judged once.
        progress: show a bar once a second has passed.

    Raises:
        RecipeError: the verifier cannot work here, for want of a package or of the sandbox.
        RuntimeError: the verifier's processes cannot be started.
    """
    started = time.monotonic()
    try:
        getattr(verify.module(verifier), "require", lambda: None)()  # a cached result must not hide this
    except RuntimeError as error:
        raise RecipeError(f"verifier={verifier!r}: {error}") from error
    keys = [json.dumps([row.gold, row.meta], sort_keys=True, default=str) for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    known = cache_dir() / "gold" / f"{_digest(verifier, distinct)}.json"
    reasons = _cached(known, len(distinct))
    seen = "known from an earlier run"
    if reasons is None:
        try:
            verdicts = _judge_golds(verifier, list(distinct.values()), progress=progress)
        except ImportError as error:
            raise RecipeError(f"verifier={verifier!r}: {error}") from error
        reasons = [_why(verdict) for verdict in verdicts]
        seconds = time.monotonic() - started
        seen = f"{seconds:.1f} s"
        # a timeout may be the machine's load, not the gold's fault
        if seconds >= CACHE_FROM_SECONDS and not any(verdict.status == "timeout" for verdict in verdicts):
            _keep(known, reasons)
    by_key = dict(zip(distinct, reasons, strict=True))
    found = [by_key[key] for key in keys]
    logger.info("gold check: %d of %d gold answers are usable (%s)", found.count(""), len(found), seen)
    return found


def sort_out(
    train: Sequence[Row],
    heldout: Sequence[Row],
    reasons: Sequence[str],
    *,
    policy: str,
    prompts_per_step: int,
    path: Path,
    write: bool = True,
) -> tuple[list[Row], list[Row]]:
    """The usable training and held-out rows. Bad ones are listed in `path`, which is removed if there are none.

    Args:
        train, heldout: the rows that were checked.
        reasons: `check` of train, then heldout.
        policy: "drop": warn and go on without them; "stop": raise.
        prompts_per_step: training rows that must be left.
        path: the list, one JSON object a line.
        write: whether this process writes the list; every process must decide the same.

    Raises:
        RecipeError: the policy says so, or too few rows are left.
    """
    splits = ["train"] * len(train) + ["heldout"] * len(heldout)
    judged = list(zip(splits, [*train, *heldout], reasons, strict=True))
    bad = [
        {"split": split, "prompt_id": row.prompt_id, "gold": row.gold, "reason": reason}
        for split, row, reason in judged
        if reason
    ]
    if write and bad:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in bad)
        path.write_bytes(text.encode("utf-8", "backslashreplace"))  # a lone surrogate's escape is JSON's own
    elif write:
        path.unlink(missing_ok=True)  # of the run that is resumed
    kept_train, kept_heldout = (
        [row for of, row, reason in judged if of == split and not reason] for split in ("train", "heldout")
    )
    if not bad:
        return kept_train, kept_heldout
    reason, count = most_common([row["reason"] for row in bad])
    summary = f"{len(bad)} of {len(judged)} gold answers are unusable, most often ({count}): {reason}; listed in {path}"
    repair = "correct them, or check task_options.answer_column, task_options.answer_pattern and the verifier"
    if len(bad) == len(judged):
        raise RecipeError(f"task: all {summary}; {repair}")
    if policy == "stop":
        raise RecipeError(f"bad_gold='stop': {summary}; {repair}; bad_gold: drop goes on without them")
    if len(kept_train) < prompts_per_step:
        raise RecipeError(
            f"prompts_per_step={prompts_per_step}: only {len(kept_train)} of {len(train)} training problems have a "
            f"usable gold answer; {summary}; {repair}"
        )
    if not kept_heldout:
        raise RecipeError(f"heldout_size={len(heldout)}: no held-out problem is usable; {summary}; {repair}")
    logger.warning("left out: %s", summary)
    return kept_train, kept_heldout


def most_common(reasons: Iterable[str]) -> tuple[str, int]:
    """The most frequent kind of reason, by its first example, and how often; quotations and numbers do not count."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = re.sub(r"[0-9]+", "0", re.sub(r"'.*'(?:\.\.\.)?|\".*\"(?:\.\.\.)?", "''", reason))
        first.setdefault(kind, reason)
        counts[kind] += 1
    kind, count = counts.most_common(1)[0]
    return first[kind], count


def _judge_golds(verifier: str, rows: list[Row], *, progress: bool) -> list[Verdict]:
    check_gold = getattr(verify.module(verifier), "check_gold", None)
    check_golds = getattr(verify.module(verifier), "check_golds", None)
    verdicts: list[Verdict] = []
    for batch in batches(rows, len(rows), "checking gold answers", progress=progress):
        if check_golds is not None:
            verdicts += check_golds([(row.gold, row.meta) for row in batch])
        elif check_gold is None:
            verdicts += verify.verify_many(verifier, [(row.gold, row.gold, row.meta) for row in batch])
        else:
            with ThreadPoolExecutor(usable_cores()) as pool:  # for those that wait for processes of their own
                verdicts += pool.map(lambda row: check_gold(row.gold, row.meta), batch)
    return verdicts


def batches(items: Iterable[Any], total: int, what: str, *, progress: bool) -> Iterator[list[Any]]:
    """`items` in lists of a size that suits `verify_many`, with a bar for many."""
    from tqdm.auto import tqdm

    iterator = iter(items)
    with tqdm(total=total, desc=what, leave=False, delay=1, disable=not progress) as bar:
        while batch := list(islice(iterator, _BATCH)):
            yield batch
            bar.update(len(batch))


def _why(verdict: Verdict) -> str:
    if verdict.status == "correct":
        return ""
    reason = verdict.reason or "no reason given"
    return reason if verdict.status == "bad_gold" else f"judged {verdict.status} against itself: {reason}"


def _digest(verifier: str, keys: Iterable[str]) -> str:
    """Hash of everything that the result depends on: this package's source, its libraries, the rows."""
    content = hashlib.sha256(f"{verifier}|{platform.python_version()}".encode())
    for source in sorted(Path(verify.__file__).parent.rglob("*.py")):
        content.update(source.name.encode() + source.read_bytes())
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            content.update(f"{name}=={importlib.metadata.version(name)}".encode())
    for key in keys:
        content.update(key.encode() + b"\n")
    return content.hexdigest()[:32]


def _cached(path: Path, count: int) -> list[str] | None:
    reasons = (whole_files.read_json(path) or {}).get("reasons")
    fits = isinstance(reasons, list) and len(reasons) == count and all(isinstance(reason, str) for reason in reasons)
    return reasons if fits else None


def _keep(path: Path, reasons: list[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_files.write_json(path, {"reasons": reasons})
    except OSError as error:  # a read-only home costs time, not the run
        logger.warning("gold check: not cached: %s", error)
