"""What a study has to do: bases to build and runs to train, what is done of it, and how long the rest may take."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Literal

from r1rl.eval.study.arms import BASE, Study
from r1rl.ground import whole_files
from r1rl.models import base
from r1rl.run import overview

_SPENT = "seconds.json"  # what a base took to build


@dataclass(frozen=True)
class Job:
    """One base to build or one run to train.

    Args:
        name: of the base, or of the run's folder.
        words: what stands behind `r1rl`.
        folder: where its result is.
        steps: it takes, 1 for a base; a progress bar counts them.
        needs: the base it is trained from, if the study builds that.
    """

    kind: Literal["base", "run"]
    name: str
    words: tuple[str, ...] = field(repr=False)
    folder: Path
    steps: int = 1
    needs: Path | None = None

    @property
    def command(self) -> str:
        """For people to repeat."""
        return shlex.join(["r1rl", *self.words])

    def done(self) -> bool:
        """Whether nothing is left to do."""
        if self.kind == "base":
            return (self.folder / base.MANIFEST).is_file()
        result = whole_files.read_json(self.folder / "result.json") or {}
        return bool(result.get("finished")) and int(result.get("steps") or 0) >= self.steps

    def made_steps(self) -> int:
        """How many of its steps are made."""
        if self.done():
            return self.steps
        return 0 if self.kind == "base" else min(self.steps, overview.overview(self.folder).step or 0)

    def seconds(self) -> float | None:
        """How long it took, once done."""
        name = _SPENT if self.kind == "base" else "result.json"
        content = (whole_files.read_json(self.folder / name) or {}) if self.done() else {}
        found = content.get("wall_seconds")
        return None if found is None else float(found)


def jobs(study: Study) -> list[Job]:
    """Everything, in the order in which it is begun: bases first, then seed after seed through all arms."""
    bases: dict[Path, Job] = {}
    for arm in study.arms:
        if arm.built is not None and arm.built not in bases:
            words = base.rebuild_words(BASE, base.configured(BASE, arm.base or {}), may_lack=True)
            bases[arm.built] = Job("base", arm.built.name, (*words, "--out", str(arm.built)), arm.built)
    found = [*bases.values()]
    for arm, seed in study.cells():
        folder = study.folder(arm, seed)
        train = ("train", str(study.recipe), *study.words(arm, seed))
        found.append(Job("run", folder.name, train, folder.path, arm.steps, arm.built))
    return found


def note_seconds(job: Job, seconds: float) -> None:
    """Remember how long a base took; a run says it itself."""
    if job.kind == "base":
        whole_files.write_json(job.folder / _SPENT, {"wall_seconds": seconds})


def minutes(all_jobs: Iterable[Job], expected: Mapping[str, float]) -> dict[str, float]:
    """Minutes that one job of a kind takes: the mean of those done here, else what the study's file says."""
    found = dict(expected)
    for kind in ("base", "run"):
        known = [seconds for job in all_jobs if job.kind == kind and (seconds := job.seconds()) is not None]
        if known:
            found[kind] = mean(known) / 60
    return found


def minutes_left(all_jobs: list[Job], expected: Mapping[str, float], at_once: int) -> float | None:
    """How long the rest takes with so many processes; None where a kind's time is not known yet."""
    each = minutes(all_jobs, expected)
    left = [(job.kind, 1 - job.made_steps() / job.steps) for job in all_jobs if not job.done()]
    if any(kind not in each for kind, _ in left):
        return None
    return sum(each[kind] * share for kind, share in left) / min(at_once, max(1, len(left)))


def told(study: Study, all_jobs: list[Job], at_once: int) -> Iterator[str]:
    """What would be done, for people: each job's command, and how long all takes."""
    left = [job for job in all_jobs if not job.done()]
    for job in left:
        begun = job.made_steps()
        yield (f"# goes on after step {begun} of {job.steps}\n" if begun else "") + job.command
    runs = f"{len(study.arms)} arms x {len(study.seeds)} seeds"
    needed = minutes_left(all_jobs, study.minutes, at_once)
    how_long = "; how long is not known before one is finished" if needed is None else f": about {clock(needed)}"
    done = f"{len(all_jobs) - len(left)} of {len(all_jobs)} jobs done"
    yield f"# {runs}, {done}; {len(left)} to do, {at_once} at once{how_long}"
    yield f"# then the report, into {study.out}"


def clock(minutes_: float) -> str:
    """`75` -> `1 h 15 min`."""
    hours, rest = divmod(round(minutes_), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min" if rest else "less than a minute"
