"""What a study shows while it trains: one bar over all steps with an estimate, or in a file a line an event."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, TextIO

from r1rl.eval.study.arms import Study
from r1rl.eval.study.work import Job, clock, minutes_left


class Progress:
    """A context manager whose `tell` and `tick` `running.run` calls."""

    def __init__(self, study: Study, jobs: list[Job], at_once: int, out: TextIO | None = None) -> None:
        self.study, self.jobs, self.at_once, self.out = study, jobs, at_once, out or sys.stderr
        self.names: list[str] = []
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.out.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Bar(*columns, console=Console(file=self.out), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.study.name, total=sum(job.steps for job in self.jobs), left="")
            self.tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, job: Job, event: str) -> None:
        """A job has begun or ended."""
        if event == "begun":
            self.names.append(job.name)
        elif job.name in self.names:
            self.names.remove(job.name)
        done = sum(one.done() for one in self.jobs)
        line = f"{job.name}: {event}, {done} of {len(self.jobs)} done{self._left()}"
        if self._bar is not None:
            if event != "begun":
                self._bar.console.print(line, highlight=False)
            self.tick()
        else:
            self.out.write(line + "\n")
            self.out.flush()

    def tick(self) -> None:
        """Bring the bar up to date."""
        if self._bar is not None:
            made = sum(job.made_steps() for job in self.jobs)
            self._bar.update(
                self._task, completed=made, description=", ".join(self.names) or self.study.name, left=self._left()
            )

    def _left(self) -> str:
        left = minutes_left(self.jobs, self.study.minutes, self.at_once)
        return "" if left is None else f", about {clock(left)} left"
