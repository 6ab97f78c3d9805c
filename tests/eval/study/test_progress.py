"""What a study shows while it trains, on a terminal and in a file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from r1rl.eval.study.progress import Progress
from r1rl.eval.study.work import Job, jobs
from tests.eval.study.made_up_study import load


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def finish(job: Job) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text('{"finished": true, "steps": 50, "wall_seconds": 120}')


@pytest.mark.parametrize("out", [pytest.param(io.StringIO(), id="a file"), pytest.param(Terminal(), id="a terminal")])
def test_what_ends_is_said_with_what_is_left(out: io.StringIO, tmp_path: Path) -> None:
    study = load(tmp_path)
    every = jobs(study)
    with Progress(study, every, 2, out) as progress:
        progress.tell(every[0], "begun")
        finish(every[0])
        progress.tell(every[0], "done")
        progress.tell(every[1], "failed")
        progress.tick()
    shown = out.getvalue()
    assert "paid-seed0: done, 1 of 4 done, about 3 min left" in shown
    assert "coin-seed0: failed, 1 of 4 done" in shown
    # Steps of the one that is done, of 4 x 50.
    assert ("50/200" in shown) == out.isatty()
