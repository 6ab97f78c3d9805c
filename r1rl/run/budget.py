"""RUN/budget.json: what a run has spent over all its starts, lost work too, and how much it may.

Hours are wall-clock hours; cost counts a process for each, as clusters and clouds do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError

FILE_NAME = "budget.json"


@dataclass(frozen=True)
class Limits:
    """What a recipe allows; None: any. `price` is that of one hour of one process, on a GPU or a CPU."""

    max_hours: float | None = None
    max_tokens: float | None = None
    max_cost: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and self.price is None:
            raise RecipeError(f"max_cost={self.max_cost:g}: needs the price of an hour of one GPU (or CPU); give price")

    @property
    def stated(self) -> bool:
        """Whether anything is limited."""
        return any(limit is not None for limit in (self.max_hours, self.max_tokens, self.max_cost))

    def reached(self, hours: float | None, tokens: float | None, cost: float | None) -> Iterator[str]:
        """Which limits such amounts reach: `max_hours=2: 2.01`."""
        for name, spent in (("max_hours", hours), ("max_tokens", tokens), ("max_cost", cost)):
            limit = getattr(self, name)
            if limit is not None and spent is not None and spent >= limit:
                yield f"{name}={limit:g}: {spent:.4g}"


@dataclass(frozen=True)
class Spent:
    """What a run has spent.

    Args:
        hours, process_hours: on the clock, and times the processes.
        tokens: prompts and completions of the training rollouts.
        flops: of sampling and update, counted from tokens and parameters; attention and evaluations left out.
    """

    hours: float = 0.0
    process_hours: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0

    def cost(self, price: float | None) -> float | None:
        """In the price's currency; None without a price."""
        return None if price is None else self.process_hours * price

    def reached(self, limits: Limits) -> list[str]:
        """The limits that are reached."""
        return list(limits.reached(self.hours, self.tokens, self.cost(limits.price)))

    def told(self, price: float | None) -> str:
        """For people: `1.25 process-hours, 184,260 tokens, 3.2e+14 FLOPs, cost 2.50`."""
        cost = self.cost(price)
        return f"{self.process_hours:.3g} process-hours, {self.tokens:,.0f} tokens, {self.flops:.2g} FLOPs" + (
            "" if cost is None else f", cost {cost:.2f}"
        )


def read(run: Path) -> Spent:
    """What a run has spent so far."""
    content = whole_files.read_json(run / FILE_NAME) or {}
    return Spent(**{name: float(content.get(name) or 0.0) for name in Spent.__dataclass_fields__})


def check(run: Path, limits: Limits) -> None:
    """Raise RecipeError where a run that is to be resumed has spent what it may."""
    reached = read(run).reached(limits)
    if reached:
        raise RecipeError(f"the budget of {run} is spent ({', '.join(reached)}); raise it to go on")


class Meter:
    """Counts what one start of a run spends on top of the others, and writes it down."""

    def __init__(self, run: Path, processes: int, *, since: float) -> None:
        self.run, self.processes, self.since = run, processes, since
        self.before = read(run)
        self.tokens = self.flops = 0.0

    def add(self, tokens: float, flops: float) -> Spent:
        """Take a step; what the run has spent by now."""
        self.tokens += tokens
        self.flops += flops
        hours = (time.time() - self.since) / 3600
        spent = Spent(
            self.before.hours + hours,
            self.before.process_hours + hours * self.processes,
            self.before.tokens + self.tokens,
            self.before.flops + self.flops,
        )
        whole_files.write_json(self.run / FILE_NAME, asdict(spent), durable=False)
        return spent


def shown(run: Path, price: object) -> str | None:
    """What a run has spent, for people, at its recipe's price; None where it was not counted."""
    if not (run / FILE_NAME).is_file():
        return None
    return read(run).told(float(price) if isinstance(price, int | float) else None)
